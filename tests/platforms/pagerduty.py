"""The stand of `pagerduty.*`: the fake, on one port for both of its APIs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fakes.pagerduty import ROUTING_KEY, TOKEN, FakePagerDuty
from platforms.stand import Stand

from remediator.forms.pagerduty import PagerDuty

TRIGGER = {
    "summary": "{{ annotations.summary }} on {{ labels.pod }}", "severity": "{{ labels.severity }}",
    "source": "{{ labels.instance }}", "component": "{{ labels.pod }}", "group": "{{ labels.namespace }}",
    "class": "{{ labels.alertname }}", "dedup_key": "web/{{ labels.app }}", "custom_details": {"labels": "{{ labels.node }}"},
    "links": {"Runbook": "https://runbooks.example.com/web?page=1"},
}  # fmt: skip
AGAIN = "a read over a connection that was kept is sent again when that is lost"
MEANT = ({"dedup_key": "{{ labels.app }}"}, {})


def sections(url: str) -> dict[str, Any]:
    """Give the configuration that leads to a URL."""
    form = PagerDuty.model_validate(
        {"routing_key": {"secret": "pd_key"}, "token": {"secret": "pd_token"}, "events_url": url, "api_url": url}
    )
    return {"pagerduty": form.resolved(Path())}


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the fake."""
    fake = FakePagerDuty()
    await stack.enter_async_context(fake)
    return Stand(
        settings=sections(fake.url),
        secrets={"pd_key": ROUTING_KEY, "pd_token": TOKEN},
        samples={
            "pagerduty.trigger": (TRIGGER,), "pagerduty.acknowledge": MEANT, "pagerduty.resolve": MEANT,
            "pagerduty.incident": MEANT,
        },
        fake=fake,
        reach=lambda port: sections(f"http://127.0.0.1:{port}"),
        reset=fake.reset,
        fine=dict.fromkeys((("pagerduty.incident", "cut"), ("pagerduty.incident", "cut-after")), AGAIN),
    )  # fmt: skip
