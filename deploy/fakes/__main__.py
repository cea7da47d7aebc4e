"""Starts every fake on its own port, and writes a configuration that leads to them: `python deploy/fakes [FOLDER]`.

In the folder, `.fakes` by default, stand `remediator.yml` and the files that it names.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from fakes.fake import Fake

# What is no secret among their files: the section names it by its path.
PLAIN = {"kubeconfig"}


def fakes() -> list[Fake]:
    """Make one of each."""
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        importlib.import_module(f"fakes.{file.stem}")
    return [kind() for kind in Fake.__subclasses__()]


def write_configuration(started: list[Fake], folder: Path) -> Path:
    """Write the configuration that leads to them, and its files; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets: dict[str, Any] = {}
    for fake in started:
        for name, text in fake.files.items():
            (folder / name).write_text(text, encoding="utf-8")
            if name not in PLAIN:
                secrets[name] = {"file": name}
    sections = {fake.name: dict(fake.section) for fake in started}
    path = folder / "remediator.yml"
    path.write_text(yaml.safe_dump({"secrets": secrets, **sections}, sort_keys=False), encoding="utf-8")
    return path


async def main(folder: Path) -> None:
    """Serve until interrupted."""
    started = fakes()
    for fake in started:
        await fake.start(fake.port)
    path = write_configuration(started, folder)
    for fake in started:
        print(f"{fake.name:12} {fake.url}", flush=True)
    print(f"{path} leads to them: add `rules`, then `remediator serve --config {path}`", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".fakes")))
    except KeyboardInterrupt:
        sys.exit(0)
