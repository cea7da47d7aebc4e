"""What the tests of `kubernetes.*` share: a fake cluster, and a way to use an action there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.kubernetes import FakeKubernetes

from remediator.actions.kubernetes import ACTIONS
from remediator.actions.protocol import Outcome


@pytest.fixture
async def cluster() -> AsyncIterator[FakeKubernetes]:
    """Start the fake."""
    async with FakeKubernetes() as fake:
        yield fake


@pytest.fixture
def use(cluster: FakeKubernetes, context, tmp_path: Path):
    """Use an action there."""
    file = tmp_path / "kubeconfig"
    file.write_text(cluster.kubeconfig())
    actions = {action.name.partition(".")[2]: action for action in ACTIONS}

    async def go(verb: str, seconds: float = 10.0, allow: list[str] | None = None, **given: Any) -> Outcome:
        action = actions[verb]
        settings = {"kubernetes": {"kubeconfig": str(file), "context": None, "patch": allow or []}}
        return await action.run(action.parameters.model_validate(given), context(settings, seconds=seconds))

    return go


@pytest.fixture
def writes(cluster: FakeKubernetes):
    """Give the writing requests that have come."""
    return lambda: [f"{each.method} {each.path}" for each in cluster.seen if each.method != "GET"]
