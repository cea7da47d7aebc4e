"""Locks and places among `max_running` against a plain reference, over random histories of runs that overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

from guards.test_against_reference import run
from guards.world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES, TARGETS = ("aa", "bb", "cc", "dd"), ("t0", "t1", "t2")
Pair = tuple[str, str]


@dataclass
class Places:
    """Who is at work and who waits: the first free place is for the most urgent, then for the oldest."""

    priorities: dict[str, str]
    locks: dict[str, str]  # by rule; empty: the target
    most: int
    at_work: list[Pair] = field(default_factory=list)
    waiting: list[Pair] = field(default_factory=list)  # in the order in which they came
    heard: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)

    def lock(self, pair: Pair) -> str:
        return self.locks[pair[0]] or pair[1]

    def propose(self, pair: Pair) -> None:
        """Decide one that is new: it comes after those that wait and are as urgent."""
        self.decide(pair, sum(self.priorities[other[0]] <= self.priorities[pair[0]] for other in self.waiting))

    def decide(self, pair: Pair, before: int) -> None:
        held = self.lock(pair) in map(self.lock, self.at_work)
        self.heard.append((*pair, frozenset({"lock"} if held else ())))
        if held:
            return
        (self.waiting if len(self.at_work) + before >= self.most else self.at_work).append(pair)

    def release(self, pair: Pair) -> None:
        """Let one end."""
        self.at_work.remove(pair)
        while self.waiting and len(self.at_work) < self.most:
            first = min(self.waiting, key=lambda each: (self.priorities[each[0]], self.waiting.index(each)))
            self.waiting.remove(first)
            self.decide(first, 0)


def rules(places: Places) -> str:
    return "rules:\n" + "".join(
        f"""
  - name: {name}
    summary: Mends.
    match: '{{alertname="{name}"}}'
    target: '{{{{ labels.t }}}}'
    priority: {places.priorities[name]}
    guard: {{cooldown: 0s, lock: '{places.locks[name] or "{{ target }}"}'}}
    steps: [{{uses: test.write, with: {{says: '{name} {{{{ labels.t }}}}'}}}}]
"""
        for name in NAMES
    )


async def live(places: Places, history: list[list[Pair] | int]) -> None:
    world = World()
    await world.start()
    try:
        await world.rules_from(rules(places), max_running=places.most)
        world.fates = {f"{name} {target}": "hangs" for name in NAMES for target in TARGETS}
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
            assert [(name, target, refused) for name, target, _, refused in world.heard()] == places.heard
            assert sorted(world.released) == sorted(" ".join(pair) for pair in places.at_work)
            places.heard.clear()
    finally:
        await world.stop()


fires = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TARGETS)), min_size=1, max_size=5)
histories = st.lists(st.one_of(fires, st.integers(0, 3), st.integers(0, 3)), min_size=10, max_size=40)
kinds = st.lists(
    st.tuples(st.sampled_from(["P0", "P1", "P2", "P3"]), st.sampled_from(["", "", "one"])), min_size=4, max_size=4
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds, st.integers(1, 4), histories)
def test_locks_and_places_are_given_as_the_rule_language_says(
    kinds: list[tuple[str, str]], most: int, history: list[list[Pair] | int]
) -> None:
    """One at a time holds a lock; no more than so many are at work; P0 goes first."""
    priorities = {name: priority for name, (priority, _) in zip(NAMES, kinds, strict=True)}
    locks = {name: lock for name, (_, lock) in zip(NAMES, kinds, strict=True)}
    run(live(Places(priorities, locks, most), history))
