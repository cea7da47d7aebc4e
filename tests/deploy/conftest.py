"""What the tests of deployments share: a daemon's view of a configuration that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from remediator.actions.catalog import load_catalog
from remediator.app import read_rules
from remediator.config import LoadedConfig, load_config
from remediator.rules.configured import standing_of

Take = Callable[[Path], LoadedConfig]


@pytest.fixture
def take() -> Take:
    """Load a configuration as the daemon does at its start, with all that only the catalog can find wrong."""

    def loaded(path: Path) -> LoadedConfig:
        found, catalog = load_config(path, {}), load_catalog()
        standing_of(found, catalog)
        rules = read_rules(found, catalog)
        assert rules.ok, rules.problems
        assert rules.rules.rules
        return found

    return loaded
