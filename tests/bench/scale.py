"""What must not matter: how many rules there are, and how long the history is."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from daemon import Server, remediator, rules
from history import NAME, RULE
from load import alert, body, fresh
from table import Row, at_most, middle

from remediator.actions.catalog import load_catalog
from remediator.engine.intake import Portion, take_in
from remediator.match import Index
from remediator.model.books import Allowance
from remediator.receive import Limits, decode
from remediator.rules.load import Loaded, load_rules
from remediator.rules.standing import Standing
from remediator.rules.windows import Modes
from remediator.store.protocol import Transaction
from remediator.store.sqlite import SqliteStore, open_store

_STANDING = Standing(modes=Modes.of("auto"), max_running=None, allowances=(Allowance(count=30, per=3600.0),))
_STRIDE = 150.0  # seconds between two decisions, so that no limit is reached


def _rules(folder: Path, text: str) -> Loaded:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rules.yml"
    file.write_text(text)
    loaded = load_rules([file], load_catalog(), vars={})
    if not loaded.ok:
        raise RuntimeError("\n".join(map(str, loaded.problems)))
    return loaded


def _alternate(one: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Take samples of both in turns; gives the medians."""
    both = [(one(), other()) for _ in range(rounds)]
    return middle([mine for mine, _ in both]), middle([its for _, its in both])


def of_rules(folder: Path, *, quick: bool) -> list[Row]:
    """Measure one alert against 10,000 rules and against 10: finding those that match, and the whole webhook."""
    many, few, rounds = (1000, 10, 100) if quick else (10_000, 10, 1000)
    indexes = [Index(_rules(folder / f"index{count}", rules(count)).rules.rules) for count in (many, few)]
    labels = alert(0, "Alert7")["labels"]
    if len(indexes[0].match(labels)) != 1:
        raise RuntimeError("the alert of the bench matches no rule")
    match = _alternate(partial(_time_match, indexes[0], labels), partial(_time_match, indexes[1], labels), 100)
    with remediator(folder / "many", rules(many)) as one, remediator(folder / "few", rules(few)) as other:
        webhook = _webhooks(one, other, rounds, lambda: body(fresh(1)))
    return [
        at_most(f"{many:,} rules against {few}: matching one alert", *match, 1.2),
        at_most(f"{many:,} rules against {few}: the whole webhook", *webhook, 1.2),
    ]


def _time_match(index: Index, labels: dict[str, str]) -> float:
    began = time.perf_counter()
    for _ in range(100):
        index.match(labels)
    return (time.perf_counter() - began) / 100


def _webhooks(one: Server, other: Server, rounds: int, content: Callable[[], bytes]) -> tuple[float, float]:
    with one.client() as first, other.client() as second:
        return _alternate(lambda: first.post(content()), lambda: second.post(content()), rounds)


def of_history(folder: Path, past: Path, rows: int, *, quick: bool) -> list[Row]:
    """Measure one decision with `rows` rows of history in the store of the folder `past`, and with none."""
    rounds = 30 if quick else 300
    shutil.copytree(past, folder / "long")
    decision = asyncio.run(_decisions(folder, rounds))
    guard = "{limit: off, max_running: off}"
    with (
        remediator(folder / "long", "rules:" + RULE, guard=guard) as one,
        remediator(folder / "none", "rules:" + RULE, guard=guard) as other,
    ):
        webhook = _webhooks(one, other, rounds, lambda: body(fresh(1, NAME)))
    return [
        at_most(f"{rows:,} rows of history against none: one decision", *decision, 1.2),
        at_most(f"{rows:,} rows of history against none: the whole webhook", *webhook, 1.2),
    ]


async def _decisions(folder: Path, rounds: int) -> tuple[float, float]:
    """Time the script that takes an alert in, admits its run and writes its first step's start; commits left out."""
    index = Index(_rules(folder / "rules", "rules:" + RULE).rules.rules)
    stores = [open_store(folder / name / "store.db") for name in ("long", "none")]
    samples: list[list[float]] = [[], []]
    now = time.time()
    for _ in range(rounds):
        now += _STRIDE
        for store, found in zip(stores, samples, strict=True):
            found.append(await _decide(store, index, now))
    for store in stores:
        await store.close()
    return middle(samples[0]), middle(samples[1])


async def _decide(store: SqliteStore, index: Index, now: float) -> float:
    notification = decode(body(fresh(1, NAME)), now, Limits())
    portions: Sequence[Portion] = [Portion(notification, notification.alerts)]

    async def script(tx: Transaction) -> float:
        began = time.perf_counter()
        taken = await take_in(tx, portions, index, _STANDING, now)
        if not taken.begun:
            raise RuntimeError(f"no run was begun: {taken.stories}")
        return time.perf_counter() - began

    return await store.transact(script)
