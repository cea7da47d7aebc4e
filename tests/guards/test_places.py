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

    Dry runs count live and dry ones alike; live ones don't see them.
    """

    priorities: dict[str, str]
    locks: dict[str, str]  # by rule; empty: the target
    dry: frozenset[str]  # rules
    most: int
    at_work: list[Pair] = field(default_factory=list)
    waiting: list[Pair] = field(default_factory=list)  # in the order in which they came
    heard: list[Decision] = field(default_factory=list)

    def lock(self, pair: Pair) -> str:
        return self.locks[pair[0]] or pair[1]

    def seen(self, pair: Pair, among: list[Pair]) -> list[Pair]:
        """Give those that count for one."""
        return [other for other in among if pair[0] in self.dry or other[0] not in self.dry]

    def urgency(self, pair: Pair) -> tuple[str, int]:
        """Order those that wait."""
        return self.priorities[pair[0]], self.waiting.index(pair)

    def propose(self, pair: Pair) -> None:
        """Decide one that is new: it comes after those that wait and are as urgent."""
        self.waiting.append(pair)
        self.decide(pair)

    def decide(self, pair: Pair) -> bool:
        """Let one that waits begin, be refused, or wait on. Tells whether it was refused."""
        held = self.lock(pair) in map(self.lock, self.seen(pair, self.at_work))
        self.heard.append((*pair, "dry" if pair[0] in self.dry else "live", frozenset({"lock"} if held else ())))
        before = [other for other in self.seen(pair, self.waiting) if self.urgency(other) < self.urgency(pair)]
        if held:
            self.waiting.remove(pair)
        elif len(self.seen(pair, self.at_work)) + len(before) < self.most:
            self.waiting.remove(pair)
            self.at_work.append(pair)
        return held

    def release(self, pair: Pair) -> None:
        """Let one end: its place is free, which may be of use to one of each book; so is that of one that is refused."""
        self.at_work.remove(pair)
        looking = self.first_of_each_book([])
        while looking:
            first = min(looking, key=self.urgency)
            looking.remove(first)
            if self.decide(first):
                looking += self.first_of_each_book(looking)

    def first_of_each_book(self, looking: list[Pair]) -> list[Pair]:
        others = [pair for pair in self.waiting if pair not in looking]
        books = [[pair for pair in others if (pair[0] in self.dry) is dry] for dry in (False, True)]
        return [min(book, key=self.urgency) for book in books if book]


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
            if isinstance(operation, int):
                if operation < len(places.at_work):
                    ends = places.at_work[operation]
                    places.release(ends)
                    world.released.pop(" ".join(ends)).set()
                    await world.settle()
            else:
                busy = [*places.at_work, *places.waiting]
                new = [pair for pair in dict.fromkeys(operation) if pair not in busy]
                for pair in sorted(
                    new, key=lambda each: (places.priorities[each[0]], NAMES.index(each[0]), new.index(each))
                ):
                    places.propose(pair)
                if new:
                    await world.notify(*(world.alert(name, t=target, n=str(number)) for name, target in new))
            assert world.heard() == places.heard
            assert sorted(world.released) == sorted(" ".join(pair) for pair in places.at_work)
            places.heard.clear()
    finally:
        await world.stop()


fires = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TARGETS)), min_size=1, max_size=5)
histories = st.lists(st.one_of(fires, st.integers(0, 3), st.integers(0, 3)), min_size=10, max_size=40)
kinds = st.lists(
    st.tuples(st.sampled_from(["P0", "P1", "P2", "P3"]), st.sampled_from(["", "", "one"]), st.booleans()),
    min_size=4,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
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
