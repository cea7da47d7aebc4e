"""The simulation can fail: broken in one place at a time, the daemon is found out."""

from __future__ import annotations

from itertools import count, islice

import pytest
from simulation.mutants import MUTANTS, Mutant
from simulation.world import book_of, run, small

_MOST = 2400  # worlds


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_daemon_is_found_out(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the very promise that it breaks, in one of the worlds in which it can be."""
    mutant.apply(monkeypatch)
    seeds = list(islice((seed for seed in count() if mutant.where(book_of(seed))), _MOST))
    seeds.sort(key=lambda seed: seed != mutant.seed)  # the one that it was found in is tried before the others
    with small():
        found = any(mutant.shows(each) for seed in seeds for each in run(seed).violations)
    assert found, f"not found in {_MOST} worlds: {mutant.name}"
