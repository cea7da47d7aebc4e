"""The chains of several replicas: each holds by itself, and is held by what the others have seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import msgspec
import pytest
from samples import NOW, event

from remediator.model.run import Event, EventKind
from remediator.store.chain import GENESIS, Audit, ChainReport, Head, Link, line_of, link_hash


def grown(links: Sequence[Link], name: str, *events: Event) -> tuple[Link, ...]:
    """Give a chain with more events."""
    made = list(links)
    for each in events:
        before = made[-1].hash if made else GENESIS
        line = line_of(each)
        made.append(Link(name, len(made) + 1, each.run, line, link_hash(before, line)))
    return tuple(made)


def seen(link: Link) -> Event:
    """Make the event by which a replica anchors the head of another."""
    return Event(NOW, EventKind.ANCHORED, None, {"chain": link.chain, "number": link.number, "hash": link.hash})


B = grown((), "b", *(event(number, f"run{number}") for number in range(6)))
A = grown((), "a", event(0), seen(B[2]), event(1), seen(B[4]), event(2))


def verified(*chains: Sequence[Link], after: Sequence[Head] = (), expected: str | None = None) -> ChainReport:
    """Verify chains whose events came in turn."""
    audit = Audit(after, expected)
    audit.walk(link for link in chain.from_iterable(zip_longest(*chains)) if link is not None)
    known = {(link.chain, link.number): link.hash for links in chains for link in links}
    return audit.report({at: known[at] for at in audit.anchored()})


def test_p8_chains_that_grow_side_by_side_verify() -> None:
    """In one walk, whichever event of which chain comes next."""
    report = verified(A, B)
    assert (report.ok, report.events, report.problems) == (True, 11, ())
    assert set(report.heads) == {Head("a", 5, A[-1].hash), Head("b", 6, B[-1].hash)}
    assert report.head == B[-1].hash


def test_p8_a_tail_that_another_chain_has_seen_is_missed() -> None:
    """Cutting off the end of one chain leaves one that holds by itself."""
    report = verified(A, B[:4])
    assert report.problems == (
        "event 4 of chain a has seen event 5 of chain b, and chain b ends with event 4: it was cut off",
    )
    assert verified(B[:4]).ok


def test_p8_a_tail_that_no_other_chain_has_seen_yet_is_not_missed() -> None:
    """What came after the last anchor is found against a head that was noted, and only so."""
    assert verified(A, B[:5]).ok
    assert not verified(A, B[:5], expected=B[5].hash).ok


def test_p8_a_chain_written_anew_is_not_the_one_that_was_seen() -> None:
    """Every hash of it is right, and no other chain knows them."""
    anew = grown((), "b", *(event(number, f"run{number + 9}") for number in range(6)))
    report = verified(A, anew)
    assert [problem.rpartition(", and ")[2] for problem in report.problems] == [
        "event 3 of chain b is another one now: that chain was written anew",
        "event 5 of chain b is another one now: that chain was written anew",
    ]


def test_p8_a_chain_that_is_gone_altogether_is_missed() -> None:
    """Nothing of it is left to break."""
    report = verified(A)
    assert report.problems[0] == "event 2 of chain a has seen event 3 of chain b, and nothing is left of chain b"


def test_p8_what_retention_has_pruned_is_not_missed() -> None:
    """The checkpoint says up to where; what another chain has seen after it must still be there."""
    after = (Head("b", 4, B[3].hash),)
    assert verified(A, B[4:], after=after).ok
    assert not verified(A, B[4:4], after=after).ok
    assert verified(A, (), after=(Head("b", 6, B[5].hash),)).ok


def test_p8_an_event_moved_to_another_chain_is_found() -> None:
    """Its hash speaks of the event before it."""
    moved = (*A, msgspec.structs.replace(B[5], chain="a", number=6))
    assert [problem.split(":")[0] for problem in verified(moved, B).problems] == [
        "event 6 of chain a does not follow from the one before it"
    ]


@pytest.mark.parametrize("at", [A[0].hash, A[-1].hash, B[3].hash])
def test_a_head_that_was_noted_may_be_of_any_chain(at: str) -> None:
    """Whoever notes a head need not say which replica it was of."""
    assert verified(A, B, expected=at).ok


def test_a_head_that_was_published_and_pruned_is_told_from_one_that_was_cut_off() -> None:
    """Both can't be compared any more, and only one of them is an attack."""
    gone = Head("b", 2, B[1].hash)
    for after, links, told in (
        (Head("b", 3, B[2].hash), B[3:], "pruned by retention, as all up to event 3 was"),
        (Head("b", 0, GENESIS), B[:1], "cut off or written anew"),
    ):
        audit = Audit([after], gone.hash)
        audit.walk(links)
        (problem,) = audit.report({}, gone).problems
        assert problem.startswith(
            f"no event has the hash {gone.hash}, which event 2 of chain b had when it was published:"
        )
        assert told in problem


def test_an_unknown_head_may_be_older_than_the_checkpoint() -> None:
    """Where nothing was pruned it can't be, and it is not said."""
    after = (Head("b", 3, B[2].hash),)
    assert "or retention has pruned that event" in verified(B[3:], after=after, expected="f" * 64).problems[0]
    assert "retention" not in verified(B, expected="f" * 64).problems[0]


def test_a_line_that_no_daemon_writes_is_found_even_where_its_hash_is_right() -> None:
    """Whoever writes a chain anew may write anything."""
    for line in ("not JSON", "[1]", '[1,"chain.anchored",null,{"chain":3}]'):
        link = Link("a", 1, None, line, link_hash(GENESIS, line))
        assert "is not what a daemon writes" in verified((link,)).problems[0]


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    """A history that is wrong throughout must not fill the memory with words."""
    wrong = tuple(msgspec.structs.replace(link, number=link.number * 2) for link in B * 30)
    report = verified(wrong)
    assert (len(report.problems), report.problems[-1]) == (101, "and 109 more")
