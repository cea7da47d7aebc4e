"""What all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest
import structlog

# Tests that spin their loop until it is calm would let the store's thread have a turn only every 5 ms, once a statement.
sys.setswitchinterval(0.00005)

# How long an example takes says more of what else the machine does than of us.
hypothesis.settings.register_profile("unhurried", deadline=None)
if hypothesis.settings.get_current_profile_name() == "default":
    hypothesis.settings.load_profile("unhurried")

pytest_plugins = ["faults.plugin"]

# Each takes half a minute or more, the longest first: one that began last would keep the other processes waiting. The
# seeds come before all: they are content with what the others leave of the machine, which wait more than they work.
_LONG = (
    "simulation/test_simulation.py", "e2e/test_scenarios.py", "e2e/test_crash.py", "bench/test_bench.py", "e2e/test_process.py",
    "e2e/test_replicas.py", "platforms/test_faults.py", "e2e/test_end_to_end.py", "cli/test_rule_test_command.py",
    "platforms/test_hostile_labels.py", "docs/test_docs.py", "simulation/test_over_postgres.py",
    "simulation/test_the_simulation_can_fail.py", "store/test_postgres.py", "engine/test_outbox.py", "e2e/test_input_faults.py",
    "docs/test_plug_in.py", "e2e/test_clock.py",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, where several processes share the tests."""
    if not hasattr(config, "workerinput"):
        return
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path, len(_LONG)))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep the daemon's narration out of what commands print, whatever a test before has configured.

    `serve` has loggers keep what they were first given: one that did so would be deaf to every later test.
    """
    structlog.reset_defaults()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
