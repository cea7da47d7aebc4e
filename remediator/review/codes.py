"""The numbers of warnings: what each finds, and why it matters. `docs/warnings.md` has a section for every one.

A number is for ever: one that is no longer found is left out, and never given to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The number of a warning, by what it is about."""

    # W1: what starts a rule, and what keeps it from starting
    NEVER_MATCHES = "W101"
    NO_ALERTNAME = "W102"
    SAME_TARGET = "W103"
    REFUSES_ITSELF = "W104"
    NEVER_OPEN = "W105"
    NEVER_DUE = "W106"
    NEVER_IN_TURN = "W107"
    NOBODY_APPROVES = "W108"
    # W2: what is done, and how it is proved
    NO_VERIFY = "W201"
    NO_ON_FAILURE = "W202"
    RESOLVED_ALONE = "W203"
    RESOLVED_TOO_SOON = "W204"
    NO_EXPECT = "W205"
    NO_COOLDOWN = "W206"
    DEADLINE_FIRST = "W207"
    # W3: what templates name
    UNSURE_LABEL = "W301"
    # W4: what is kept up
    REVIEW_OVERDUE = "W401"
    FORBIDDEN = "W402"
    NO_EFFECT = "W403"
    NO_RULES = "W404"
    # W9: the comments that silence
    UNCLEAR_COMMENT = "W901"
    UNKNOWN_NUMBER = "W902"
    STALE_COMMENT = "W903"
    UNKNOWN_WORD = "W904"


@dataclass(frozen=True, slots=True)
class About:
    """What a warning says in general."""

    title: str
    why: str  # what it comes to at night
    elsewhere: bool = False  # whether it is found depends on more than its file: a comment for it is never stale


ABOUT: Mapping[Code, About] = {
    Code.NEVER_MATCHES: About(
        "A rule that can never match",
        "It looks like cover, and nothing will ever be done.",
    ),
    Code.NO_ALERTNAME: About(
        "A rule that writes and binds no alertname",
        "The next alert that somebody invents with the same labels is acted on, whatever it means.",
    ),
    Code.SAME_TARGET: About(
        "Two rules that act on one target for one alert",
        "Each undoes or doubles what the other does, and neither's cooldown knows of the other.",
        elsewhere=True,
    ),
    Code.REFUSES_ITSELF: About(
        "A rule that its own alert holds back",
        "Every run is blocked by `unless_firing`.",
    ),
    Code.NEVER_OPEN: About(
        "A window that never opens again",
        "The mode beside it never comes into force.",
        elsewhere=True,
    ),
    Code.NEVER_DUE: About(
        "A schedule that never comes",
        "No run is ever started.",
    ),
    Code.NEVER_IN_TURN: About(
        "A mode that never has its turn",
        "A freeze that was to hold is without effect, and the rule acts in the middle of it.",
    ),
    Code.NOBODY_APPROVES: About(
        "An approval that nobody can give",
        "Every run that asks for it waits till it expires, and nothing is done.",
        elsewhere=True,
    ),
    Code.NO_VERIFY: About(
        "A write without `verify`",
        "A program that ends well is called a success, whether or not it helped.",
    ),
    Code.NO_ON_FAILURE: About(
        "A rule that writes and has no `on_failure`",
        "A remedy that did not help ends in silence.",
    ),
    Code.RESOLVED_ALONE: About(
        "`resolved: true` as the only proof",
        "A remedy may silence its own alert, as when the target that was scraped is gone.",
    ),
    Code.RESOLVED_TOO_SOON: About(
        "`resolved: true` with less time than Alertmanager takes",
        "A remedy that helped is called a failure, and undone.",
        elsewhere=True,
    ),
    Code.NO_EXPECT: About(
        "A check that can't say no",
        "Any answer holds, an error page too.",
    ),
    Code.NO_COOLDOWN: About(
        "A rule that writes and has no cooldown",
        "An alert that flaps is acted on each time.",
    ),
    Code.DEADLINE_FIRST: About(
        "A deadline before the end of `within`",
        "The run ends by `deadline`, before verification may say no.",
    ),
    Code.UNSURE_LABEL: About(
        "A template that names a label which no matcher guarantees",
        "An alert without the label is blocked as `template_error`, and nothing is done.",
    ),
    Code.REVIEW_OVERDUE: About(
        "A review that is overdue",
        "What the rule assumes may no longer be so.",
    ),
    Code.FORBIDDEN: About(
        "A step that the configuration forbids",
        "The step fails when it is needed.",
        elsewhere=True,
    ),
    Code.NO_EFFECT: About(
        "A key that has no effect",
        "Its author counts on something that isn't there.",
    ),
    Code.NO_RULES: About(
        "A folder without rules",
        "A path that is wrong by a letter loads nothing, and nothing is ever done.",
    ),
    Code.UNCLEAR_COMMENT: About(
        "A comment that silences and gives no reason",
        "Whoever finds it can't tell whether it still holds. It silences nothing.",
    ),
    Code.UNKNOWN_NUMBER: About(
        "A comment that silences what there isn't",
        "It silences nothing.",
    ),
    Code.STALE_COMMENT: About(
        "A comment that silences nothing",
        "It would hide the next mistake of that kind.",
    ),
    Code.UNKNOWN_WORD: About(
        "A comment that asks for what there isn't",
        "It silences nothing.",
    ),
}
