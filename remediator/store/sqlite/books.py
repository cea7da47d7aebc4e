"""The SQL of the books: what guards count.

Runs are counted by `admitted_at`, which reverts and notices never have: they use nothing up. Where another column is asked,
they are left out by their origin. Each query walks an index that ends with the time, from the newest back.
"""

from __future__ import annotations

from typing import Any

from remediator.model.books import Allowance, Books, Ending, Question, Touched
from remediator.model.run import Book, State
from remediator.model.time import Timestamp
from remediator.store.columns import COUNTED, SEEN, SEES
from remediator.store.sqlite.alerts import AlertRows


class BookRows(AlertRows):
    """What was admitted, how it ended, and who stands in the way now."""

    async def books(self, question: Question) -> Books:
        seen = SEEN[question.book]
        last = self._newest_ending(question)
        holder = self._one(  # NULL, for a run that needs no lock, is equal to none
            f"SELECT id FROM runs WHERE lock = ? AND ended_at IS NULL AND id != ? AND {seen}",  # noqa: S608
            question.lock, question.run,
        )  # fmt: skip
        (at_work,) = self._one(
            "SELECT count(*) FROM runs WHERE ended_at IS NULL AND state IN ('running', 'verifying') "  # noqa: S608
            f"AND {seen} AND {COUNTED}"
        )
        (in_line,) = self._one(
            "SELECT count(*) FROM runs WHERE ended_at IS NULL AND state = 'waiting' AND reason = 'max_running' "  # noqa: S608
            f"AND (priority < ? OR (priority = ? AND id < ?)) AND {seen} AND {COUNTED}",
            question.priority, question.priority, question.run,
        )  # fmt: skip
        firing = [await self.firing(name) for name in question.firing]
        return Books(
            last=last,
            last_good=last if last is None or last.good else self._newest_ending(question, good=True),
            full_since=tuple(self._full_since(each, question.book) for each in question.allowances),
            touched=tuple(self._touched(each, question) for each in question.touched),
            episodes=0 if question.episodes_since is None else self._episodes_begun(question, question.episodes_since),
            lock_holder=None if holder is None else holder[0],
            at_work=at_work,
            in_line=in_line,
            firing=tuple(episode.labels for some in firing for episode in some),
        )

    async def failures(self, since: Timestamp, rule: str | None, book: Book) -> int:
        of, values = ("", ()) if rule is None else ("AND rule = ?", (rule,))
        (count,) = self._one(
            f"SELECT count(*) FROM runs WHERE failed_at > ? AND {SEEN[book]} AND {COUNTED} {of}",  # noqa: S608
            since, *values,
        )  # fmt: skip
        return int(count)

    def _newest_ending(self, question: Question, *, good: bool = False) -> Ending | None:
        # The runs of one rule and target follow one another, so the last that was admitted is the last that ended.
        # That it didn't fail stands in the index: a long row of failures is passed over there.
        only = "AND failed_at IS NULL AND state IN ('succeeded', 'planned')" if good else ""
        row = self._newest(
            "admitted_at, ended_at, state, rung",
            f"rule = ? AND target = ? AND started_at IS NOT NULL AND ended_at IS NOT NULL {only}",
            [question.rule, question.target],
            question.book,
        )
        if row is None:
            return None
        _, ended_at, state, rung = row
        return Ending(at=ended_at, good=state in {State.SUCCEEDED, State.PLANNED}, rung=rung)

    def _full_since(self, allowance: Allowance, book: Book) -> Timestamp | None:
        where = "1"
        values: list[Any] = []
        for column, value in (("rule", allowance.rule), ("target", allowance.target)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        row = self._newest("admitted_at", where, values, book, passing=allowance.count - 1)
        return None if row is None else row[0]

    def _newest(self, columns: str, where: str, values: list[Any], book: Book, *, passing: int = 0) -> Any:
        """Give the newest admission that the book sees, after passing over some."""
        # One walk by index for each book, merged: `book IN (…)` would sort all of history.
        walks = [
            f"SELECT {columns} FROM runs WHERE admitted_at IS NOT NULL AND book = '{each}' AND {where}"  # noqa: S608
            for each in SEES[book]
        ]
        return self._one(
            f"{' UNION ALL '.join(walks)} ORDER BY admitted_at DESC LIMIT 1 OFFSET ?", *values * len(walks), passing
        )

    def _touched(self, touched: Touched, question: Question) -> frozenset[str]:
        # The index is named: left to itself, SQLite may walk all targets of the rule that there ever were.
        of, values = ("", ()) if touched.rule is None else ("_by_rule", (touched.rule,))
        rows = self._all(
            f"SELECT target FROM runs INDEXED BY admissions{of} WHERE admitted_at > ? AND target != ? "  # noqa: S608
            f"AND {SEEN[question.book]} {'AND rule = ?' if values else ''}",
            touched.since, question.target, *values,
        )  # fmt: skip
        return frozenset(target for (target,) in rows)

    def _episodes_begun(self, question: Question, since: Timestamp) -> int:
        # Ids of episodes grow with `first_seen`: the walk back ends where the span begins.
        rows = self.connection.execute(
            "SELECT first_seen FROM decisions CROSS JOIN episodes ON episodes.id = decisions.episode "
            "WHERE decisions.rule = ? AND decisions.target = ? ORDER BY decisions.episode DESC",
            (question.rule, question.target),
        )
        count = 0
        for (first_seen,) in rows:
            if first_seen <= since:
                break
            count += 1
        return count
