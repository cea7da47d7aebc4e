"""Starts every fake on its own port, and says what to write into the configuration: `python deploy/fakes`."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.fake import Fake


def fakes() -> list[Fake]:
    """Make one of each."""
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        importlib.import_module(f"fakes.{file.stem}")
    return [kind() for kind in Fake.__subclasses__()]


async def main() -> None:
    """Serve until interrupted."""
    for fake in fakes():
        print(f"{fake.name:12} {await fake.start(fake.port)}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
