"""The demo's patient: a small web shop that falls ill when told to, and is well again once it is started anew.

python shop.py PORT
    GET  /health   200 while it is well, 500 while it is ill
    GET  /metrics  for Prometheus: shop_healthy, shop_requests_total
    POST /break    makes it fall ill
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Shop(BaseHTTPRequestHandler):
    """The shop; its state is the process's, so that only a new process is well again."""

    ill: ClassVar[bool] = False
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        """Answer /health and /metrics."""
        Shop.requests += 1
        if self.path == "/health":
            self._answer(500 if Shop.ill else 200, "out of order\n" if Shop.ill else "open\n")
        elif self.path == "/metrics":
            self._answer(
                200,
                "# HELP shop_healthy Whether the shop can serve its customers.\n"
                "# TYPE shop_healthy gauge\n"
                f"shop_healthy {0 if Shop.ill else 1}\n"
                "# HELP shop_requests_total Requests since the start.\n"
                "# TYPE shop_requests_total counter\n"
                f"shop_requests_total {Shop.requests}\n",
            )
        else:
            self._answer(404, "not here\n")

    def do_POST(self) -> None:
        """Fall ill at /break."""
        if self.path == "/break":
            Shop.ill = True
            self._answer(200, "the shop is ill now\n")
        else:
            self._answer(404, "not here\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop) as server:
        server.serve_forever()
