"""The code blocks of the documents, and somebody who types them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon import eventually

DEFAULT_PORT = "127.0.0.1:9095"
KNOWN = {
    "yaml": {"rules", "tests", "steps", "config", "alertmanager", "prometheus"},
    "sh": {"make", "syntax", "offline", "daemon", "tour", "serve"},
    "console": {"daemon", "tour"},
    "json": {""}, "toml": {""}, "python": {""}, "ini": {""}, "text": {""}, "mermaid": {""},
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        """Give how it is tried."""
        return self.words[0] if self.words and "=" not in self.words[0] else ""

    def word(self, name: str) -> str | None:
        """Give VALUE of a word NAME=VALUE of its info string."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)

    def __str__(self) -> str:
        """Name its place."""
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Read the fenced blocks of a document."""
    begun: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if begun is None and line.startswith("```"):
            begun, inside = (number, line.removeprefix("```")), []
        elif begun is not None and line == "```":
            language, *words = begun[1].split() or [""]
            yield Block(page, begun[0], language, tuple(words), "\n".join(inside) + "\n")
            begun = None
        else:
            inside.append(line)
    assert begun is None, f"{page.name}:{begun[0] if begun else 0}: this block has no end"


class Reader:
    """Somebody who types what a page says, in one folder."""

    def __init__(self, folder: Path, address: str = DEFAULT_PORT) -> None:
        self.folder = folder
        self.address = address
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith("REMEDIATOR_")}
        self.environ["PATH"] = f"{Path(sys.executable).parent}:{self.environ['PATH']}"

    def type(self, text: str, run: str = "RUN") -> subprocess.CompletedProcess[str]:
        """Run commands, each of which has to succeed."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._mine(re.sub(r"\bRUN\b", run, text))],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def write(self, name: str, text: str) -> None:
        """Write a file that a page tells to write."""
        (self.folder / name).write_text(self._mine(text))

    def _mine(self, text: str) -> str:
        return text.replace(DEFAULT_PORT, self.address)

    def try_script(self, block: Block, run: str = "RUN") -> None:
        """Run a block of commands."""
        done = self.type(block.text, run)
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"

    def try_session(self, block: Block, newest: str = "RUN") -> None:
        """Run a block of commands, and compare what they say."""
        for command, expected in _exchanges(block):
            said = self._say(block, command, newest)
            if command.startswith(("remediator runs", "remediator show", "wc ")):  # looks only: may be asked again
                with suppress(AssertionError):
                    eventually(lambda: _alike(self._say(block, command, newest), expected), command, within=10.0)  # noqa: B023
                said = self._say(block, command, newest)
            assert _alike(said, expected), f"{block}: {command} is to say\n{expected}and says\n{said}"

    def _say(self, block: Block, command: str, newest: str) -> str:
        done = self.type(command, newest)
        assert done.returncode == 0, f"{block}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.replace(self.address, DEFAULT_PORT)


def _exchanges(block: Block) -> Iterator[tuple[str, str]]:
    """Give each command of a session with what it is said to print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _plain(text: str) -> str:
    """Make ids, times, hashes and spans alike, and columns independent of their widths."""
    for pattern, word in (
        (r"\b[0-9a-hjkmnp-tv-z]{26}\b", "ID"), (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"), (r"\b[0-9a-f]{16,64}\b", "HASH"),
        (r"after \d+m?s", "after SPAN"), (r"[ \t]+", " "), (r" $", ""),
    ):  # fmt: skip
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def _alike(said: str, expected: str) -> bool:
    lines = ("(?:.*\n)*?" if line == "…" else re.escape(line) + "\n" for line in _plain(expected).splitlines())
    return re.fullmatch("".join(lines), _plain(said)) is not None
