"""Fuzzing: what is in the corpus, changed here and there, as long as there is time; the CPU that an input takes.

`REMEDIATOR_FUZZ_SECONDS` says how long for each target. What is found belongs into `tests/fuzz/corpus/`, which is tried first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("REMEDIATOR_FUZZ_SECONDS", "5"))
CORPUS = Path(__file__).parent / "corpus"

_LONGEST = 4096
_EDITS = ("leave out", "double", "put in", "exchange", "repeat")


def corpus(kind: str) -> list[Path]:
    """List the files of one kind."""
    found = sorted((CORPUS / kind).iterdir())
    assert found, f"the corpus of {kind} is gone"
    return found


def changed(among: Sequence[bytes], words: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Give what comes of an input when pieces of it are left out, doubled, or exchanged for words or pieces of others."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        made = draw(st.sampled_from(among))
        for _ in range(draw(st.integers(1, 6))):
            begin = draw(st.integers(0, len(made)))
            end = min(len(made), begin + draw(st.sampled_from([0, 1, 2, 5, 20, 100])))
            piece = made[begin:end]
            match draw(st.sampled_from(_EDITS)):
                case "leave out":
                    put = b""
                case "double":
                    put = piece * 2
                case "put in":
                    put = draw(st.sampled_from(words)) + piece
                case "exchange":
                    put = draw(st.sampled_from(words) | st.binary(max_size=8))
                case _:
                    put = (piece or draw(st.sampled_from(words))) * draw(st.integers(2, 200))
            made = (made[:begin] + put + made[end:])[:_LONGEST]
        return made

    return change()


def fuzz(attempt: Callable[[bytes], None], inputs: st.SearchStrategy[bytes]) -> None:
    """Try what is in there, other inputs in each round, till the time is over; hypothesis shrinks what fails and tells it."""
    end, rounds = time.monotonic() + SECONDS, 0
    quiet = settings(
        max_examples=50,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    while time.monotonic() < end:
        seed(rounds)(quiet(given(inputs)(attempt)))()
        rounds += 1
    assert rounds


def grows_no_faster_than_its_input(attempt: Callable[[bytes], None], make: Callable[[int], bytes]) -> None:
    """See that an input eight times as long takes no more than some eight times the CPU, the noise of a machine allowed."""

    def cost(length: int) -> float:
        made = make(length)
        costs = []
        for _ in range(3):
            began = time.thread_time()
            attempt(made)
            costs.append(time.thread_time() - began)
        return min(costs)

    short = max(cost(4_000), 0.002)
    assert cost(32_000) < 8 * 3 * short
