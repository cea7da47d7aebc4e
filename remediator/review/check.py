"""Check: more than shape. Everything that is wrong with some rules, with its place, less what a comment silences.

`docs/warnings.md` describes every number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from remediator.document import Fault, dotted, nearest
from remediator.errors import Problem
from remediator.review.clashes import clashes
from remediator.review.codes import ABOUT, Code
from remediator.review.findings import Finding, View, findings
from remediator.review.modes import Entry, idle_entries
from remediator.review.source import ALLOW, DEFAULTS, Comment, Source
from remediator.rules.load import Loaded
from remediator.rules.rule import Rule

_SILENCEABLE = frozenset(code for code in Code if not code.startswith("W9"))
_OF_THE_LOADER = {"no-effect": Code.NO_EFFECT, "not-yet": Code.NO_EFFECT, "no-rules": Code.NO_RULES}


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking."""

    problems: tuple[Problem, ...]  # by file and line
    silenced: int  # warnings that a comment silences


def check(loaded: Loaded, view: View, read: Callable[[str], Source]) -> Checked:
    """Look at rules that were loaded, all of them together; `read` gives a rule file as it was written.

    Rules with errors are not looked at further. Errors stay as they are: nothing silences one.
    """
    rules = loaded.rules.rules
    sources = {file: read(file) for file in dict.fromkeys(rule.file for rule in rules)}
    errors = [problem for problem in loaded.problems if problem.severity == "error"]
    warnings = [_numbered(problem) for problem in loaded.problems if problem.severity == "warning"]
    warnings += [_problem(finding, sources[finding.rule.file]) for finding in _all(rules, view)]
    kept, used = _unsilenced(warnings, sources)
    broken = {problem.file for problem in errors}
    about_comments = [
        problem for file, source in sources.items() for problem in _comments(source, used, whole=file not in broken)
    ]
    told: dict[tuple[str, int, int, str, str], Problem] = {}  # what is wrong with `defaults` shows in every rule
    for problem in (*errors, *kept, *about_comments):
        told.setdefault((problem.file, problem.line, problem.column, problem.code, problem.message), problem)
    return Checked(tuple(told[place] for place in sorted(told)), len(warnings) - len(kept))


def check_configuration(modes: Sequence[Entry], view: View, source: Source) -> Checked:
    """Look at a configuration that was read, which `source` is as it was written; `modes` is its list of them, if any.

    A comment anywhere in it silences a number for the whole of it.
    """
    found = list(idle_entries(modes, view.windows, view.now))
    used = [each for each in source.comments if each.reason and each.number in {idle.code for idle in found}]
    kept = [idle for idle in found if idle.code not in {comment.number for comment in used}]
    warnings = (Fault(("mode", *idle.path), idle.code.value, idle.message, severity="warning") for idle in kept)
    problems = (*map(source.document.problem, warnings), *_comments(source, used, whole=True))
    return Checked(tuple(sorted(problems, key=lambda each: (each.line, each.column))), len(found) - len(kept))


def strict(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Make errors of warnings."""
    return tuple(replace(problem, severity="error") for problem in problems)


def _all(rules: Sequence[Rule], view: View) -> Iterator[Finding]:
    for rule in rules:
        yield from findings(rule, view)
    for clash in clashes(rules):
        labels = ", ".join(f'{name}="{value}"' for name, value in clash.labels.items())
        message = (
            f"{clash.first.name} ({clash.first.file}:{clash.first.line}) would act on the same target for the same "
            f"alert, such as {{{labels}}}: let only one of them match it"
        )
        yield Finding(clash.second, ("match",), Code.SAME_TARGET, message)


def _numbered(problem: Problem) -> Problem:
    code = _OF_THE_LOADER.get(problem.code)
    return problem if code is None else replace(problem, code=code.value)


def _problem(finding: Finding, source: Source) -> Problem:
    rule = finding.rule
    line, column = source.place(rule.name, finding.path)
    return Problem(
        rule.file, line, column, rule.name, dotted(finding.path), "warning", finding.code.value, finding.message
    )


# --- silence ---


def _unsilenced(warnings: Iterable[Problem], sources: Mapping[str, Source]) -> tuple[list[Problem], frozenset[Comment]]:
    """Give the warnings that no comment silences, and the comments that silence one."""
    kept: list[Problem] = []
    used: set[Comment] = set()
    for problem in warnings:
        source = sources.get(problem.file)
        by = [] if source is None else [each for each in source.comments if _silences(each, problem, source)]
        used.update(by)
        if not by:
            kept.append(problem)
    return kept, frozenset(used)


def _silences(comment: Comment, problem: Problem, source: Source) -> bool:
    owners = (problem.rule, source.owner(problem.line))
    return bool(comment.reason) and comment.number == problem.code and comment.owner in owners and bool(comment.owner)


def _comments(source: Source, used: Collection[Comment], *, whole: bool) -> Iterator[Problem]:
    """Give what is wrong with the comments of a file; `whole`: all of its rules were looked at."""
    for comment in source.comments:
        wrong = _wrong(comment, used, whole=whole)
        if wrong is not None:
            code, message = wrong
            rule = None if comment.owner == DEFAULTS else comment.owner
            line, column = comment.place
            yield Problem(source.document.file, line, column, rule, None, "warning", code.value, message)


def _wrong(comment: Comment, used: Collection[Comment], *, whole: bool) -> tuple[Code, str] | None:
    if comment.word != ALLOW:
        message = (
            f"`{comment.word[:40]}` asks for nothing: to silence a warning, write `# remediator: allow W201 because …`"
        )
        return Code.UNKNOWN_WORD, message
    if comment.number and comment.number not in _SILENCEABLE:
        near = nearest(comment.number, _SILENCEABLE)
        return Code.UNKNOWN_NUMBER, f"there is no warning `{comment.number[:40]}` that a comment could silence{near}"
    if not comment.reason:
        example = f"# remediator: allow {comment.number or 'W201'} because …"
        return Code.UNCLEAR_COMMENT, f"this silences nothing without a reason: write `{example}`"
    if comment in used or not whole or ABOUT[Code(comment.number)].elsewhere:
        return None
    where = "here" if comment.owner else "outside of every rule"
    return Code.STALE_COMMENT, f"{comment.number} is not found {where}, so that this silences nothing: take it out"
