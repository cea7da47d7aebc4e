"""Locks and places among `max_running` against a plain reference, over random histories of runs that overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

from guards.test_against_reference import run
from guards.world import Decision, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES, TARGETS = ("aa", "bb", "cc", "dd"), ("t0", "t1", "t2")
Pair = tuple[str, str]


@dataclass
class Places:
    """Who is at work and who waits: the first free place is for the most urgent, then for the oldest.

    Dry runs count live and dry ones alike; live ones don't see them. Which of two runs that are due at one instant is looked
    at first is nobody's promise where they are of different books: the model follows the order in which it hears.
    """

    priorities: dict[str, str]
    locks: dict[str, str]  # by rule; empty: the target
    dry: frozenset[str]  # rules
    most: int
    at_work: list[Pair] = field(default_factory=list)
    waiting: list[Pair] = field(default_factory=list)  # in the order in which they came

    def proposed(self, pairs: list[Pair]) -> list[Pair]:
        """Give those of a notification that are new, in the order in which they are decided."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.at_work + self.waiting]
        return sorted(new, key=lambda pair: (self.priorities[pair[0]], NAMES.index(pair[0]), new.index(pair)))

    def decides(self, pair: Pair) -> Decision:
        """Let one that waits begin, be refused, or wait on; gives what is to be heard of that."""
        held = self.held(pair)
        if held or self.has_place(pair):
            self.waiting.remove(pair)
            self.at_work += [] if held else [pair]
        return *pair, "dry" if pair[0] in self.dry else "live", frozenset({"lock"} if held else ())

    def held(self, pair: Pair) -> bool:
        """Tell whether another one holds its lock."""
        return self._lock(pair) in map(self._lock, self._seen(pair, self.at_work))

    def has_place(self, pair: Pair) -> bool:
        """Tell whether a place is left for it once those that wait before it have theirs."""
        before = [other for other in self._seen(pair, self.waiting) if self._urgency(other) < self._urgency(pair)]
        return len(self._seen(pair, self.at_work)) + len(before) < self.most

    def _lock(self, pair: Pair) -> str:
        return self.locks[pair[0]] or pair[1]

    def _seen(self, pair: Pair, among: list[Pair]) -> list[Pair]:
        return [other for other in among if pair[0] in self.dry or other[0] not in self.dry]

    def _urgency(self, pair: Pair) -> tuple[str, int]:
        return self.priorities[pair[0]], self.waiting.index(pair)


def rules(places: Places) -> str:
    return "rules:\n" + "".join(
        f"""
  - name: {name}
    summary: Mends.
    match: '{{alertname="{name}"}}'
    target: '{{{{ labels.t }}}}'
    priority: {places.priorities[name]}
    mode: {"dry-run" if name in places.dry else "auto"}
    guard: {{cooldown: 0s, lock: '{places.locks[name] or "{{ target }}"}'}}
    steps: [{{uses: test.read, with: {{says: '{name} {{{{ labels.t }}}}'}}}}, {{uses: test.write}}]
"""
        for name in NAMES
    )


async def live(places: Places, history: list[list[Pair] | int]) -> None:
    world = World()
    await world.start()
    try:
        await world.rules_from(rules(places), max_running=places.most)
        world.fates = {f"{name} {target}": "lingers" for name in NAMES for target in TARGETS}
        for number, operation in enumerate(history):
            world.clock.time += 1
            new: list[Pair] = []
            if isinstance(operation, int):
                if operation < len(places.at_work):
                    world.released.pop(" ".join(places.at_work.pop(operation))).set()
                    await world.settle()
            elif new := places.proposed(operation):
                places.waiting += new
                await world.notify(*(world.alert(name, t=target, n=str(number)) for name, target in new))
            heard = world.heard()
            assert [decision[:2] for decision in heard[: len(new)]] == new
            assert heard == [places.decides(decision[:2]) for decision in heard]
            assert sorted(world.released) == sorted(" ".join(pair) for pair in places.at_work)
            assert [pair for pair in places.waiting if places.has_place(pair)] == []
    finally:
        await world.stop()


fires = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TARGETS)), min_size=1, max_size=5)
histories = st.lists(st.one_of(fires, st.integers(0, 3), st.integers(0, 3)), min_size=10, max_size=40)
kinds = st.lists(
    st.tuples(st.sampled_from(["P0", "P1", "P2", "P3"]), st.sampled_from(["", "", "one"]), st.booleans()),
    min_size=4,
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds, st.integers(1, 4), histories)
def test_locks_and_places_are_given_as_the_rule_language_says(
    kinds: list[tuple[str, str, bool]], most: int, history: list[list[Pair] | int]
) -> None:
    """One at a time holds a lock; no more than so many are at work; P0 goes first; dry runs stand in nobody's way."""
    by_name = dict(zip(NAMES, kinds, strict=True))
    priorities = {name: priority for name, (priority, _, _) in by_name.items()}
    locks = {name: lock for name, (_, lock, _) in by_name.items()}
    dry = frozenset(name for name, (_, _, dry) in by_name.items() if dry)
    run(live(Places(priorities, locks, dry, most), history))
