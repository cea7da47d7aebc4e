"""The simulation can fail: broken in one place at a time, the daemon is found out."""

from __future__ import annotations

import pytest
from simulation.mutants import MUTANTS, Mutant
from simulation.world import run, small

_MOST = 1500  # seeds


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_daemon_is_found_out(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the very promise that it breaks."""
    mutant.apply(monkeypatch)
    with small():
        found = any({each.promise for each in run(seed).violations} & mutant.promises for seed in range(_MOST))
    assert found, f"not found in {_MOST} seeds: {mutant.name}"
