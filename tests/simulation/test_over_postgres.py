"""The same worlds over PostgreSQL: the promises hold there too, and a seed goes the same way over either store.

`REMEDIATOR_POSTGRES_SEEDS=2000` runs more of them.
"""

from __future__ import annotations

import os

import pytest
from simulation import seeds
from simulation.shared import SharedStore
from simulation.world import run

_SEEDS = int(os.environ.get("REMEDIATOR_POSTGRES_SEEDS", "80"))
# Of runs that are due at one instant each store claims first which it likes; these seeds have none in which that shows.
_ALIKE = range(40)


@pytest.mark.slow
def test_p2_p4_p5_p6_p7_p12_hold_over_postgresql() -> None:
    """Crashes, frozen replicas, lost answers and all."""
    began = 0
    for seed in range(_SEEDS):
        ended = run(seed, SharedStore())
        assert not ended.violations, seeds.tell(ended)
        began += ended.actions
    assert began > 3 * _SEEDS, "next to nothing is begun in these worlds: they prove nothing"


@pytest.mark.slow
@pytest.mark.parametrize("seed", _ALIKE)
def test_a_seed_goes_the_same_way_over_either_store(seed: int) -> None:
    """Every question to the store is answered alike, whatever has happened before."""
    assert run(seed, SharedStore()).trace == run(seed).trace
