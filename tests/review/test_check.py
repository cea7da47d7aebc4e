"""What `remediator check` finds beyond shape: each number, its near miss, and its silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remediator.actions.catalog import load_catalog
from remediator.errors import Problem
from remediator.forms.access import Access
from remediator.review.check import Checked, check, check_configuration, strict
from remediator.review.codes import Code
from remediator.review.findings import View, findings
from remediator.review.modes import idle_entries
from remediator.review.source import Source, read_source
from remediator.rules.load import load_rules
from remediator.rules.rule import Rule

NOW = 1_795_000_000.0  # November 2026

GOOD = """\
rules:
  - name: restart
    summary: Restart what is down.
    match: '{alertname="Down", app=~"[a-z]+"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 10m}
    steps:
      - uses: exec.run
        with: {argv: [/opt/restart, '{{ labels.app }}']}
    verify:
      within: 10m
      checks:
        - uses: exec.probe
          with: {argv: [/opt/healthy, '{{ labels.app }}']}
    on_failure:
      - uses: log
        with: {message: '{{ target }} is still down'}
"""
MATCH = """'{alertname="Down", app=~"[a-z]+"}'"""
VERIFY = GOOD[GOOD.index("    verify:") : GOOD.index("    on_failure:")]
ON_FAILURE = GOOD[GOOD.index("    on_failure:") :]
PROBE = "- uses: exec.probe\n          with: {argv: [/opt/healthy, '{{ labels.app }}']}"
GET = "- uses: http.get\n          with: {url: 'http://web/health'}"


def look(
    folder: Path, *texts: str, settings: dict[str, Any] | None = None, windows: dict[str, Any] | None = None
) -> Checked:
    """Check some texts as files a.yml, b.yml, …"""
    for name, text in zip("abcdef", texts, strict=False):
        (folder / f"{name}.yml").write_text(text)
    loaded = load_rules([folder], load_catalog(), settings=settings)
    return check(loaded, View(NOW, settings, windows or {}), read_source)


def changed(*pairs: tuple[str, str]) -> str:
    """Give the good rule with some parts of it changed."""
    text = GOOD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def codes(checked: Checked) -> list[str]:
    """Give the numbers found, in the order of their places."""
    return [problem.code for problem in checked.problems]


def places(checked: Checked) -> list[tuple[int, int, str | None, str]]:
    """Give place, key and number of all that was found."""
    return [(each.line, each.column, each.key, each.code) for each in checked.problems]


def test_a_good_rule_gives_no_warning(tmp_path: Path) -> None:
    """What the tests below change one thing of."""
    assert look(tmp_path, GOOD) == Checked((), 0)


# What is changed, where the warning stands, what earns it, and what does not.
CASES = [
    (
        Code.NEVER_MATCHES, MATCH, (4, 12, "match"),
        """'{alertname="Down", app=~"[a-z]+", app="4"}'""", """'{alertname="Down", app=~"[a-z]+", app="a"}'""",
    ),
    (
        Code.NO_ALERTNAME, MATCH, (4, 12, "match"),
        """'{alertname=~"Do.*", app=~".+"}'""", """'{alertname=~"Down|Gone", app=~".+"}'""",
    ),
    (
        Code.REFUSES_ITSELF, "{cooldown: 10m}", (6, 40, "guard.unless_firing[1]"),
        """{unless_firing: ['app="x"', 'alertname=~"Down|Up"']}""", """{unless_firing: ['alertname="Down", app="x"']}""",
    ),
    (
        Code.NEVER_IN_TURN, "    guard:", (6, 26, "mode[1]"),
        "    mode: [{mode: auto}, {during: freeze, mode: off}]\n    guard:",
        "    mode: [{during: freeze, mode: off}, {mode: auto}]\n    guard:",
    ),
    (Code.NO_VERIFY, VERIFY, (2, 5, "verify"), "", VERIFY),
    (Code.NO_ON_FAILURE, ON_FAILURE, (2, 5, "on_failure"), "", ON_FAILURE),
    (
        Code.RESOLVED_ALONE, VERIFY, (10, 24, "verify.resolved"),
        "    verify: {resolved: true, within: 10m}\n", VERIFY + "      resolved: true\n",
    ),
    (
        Code.RESOLVED_TOO_SOON, "within: 10m", (11, 7, "verify.within"),
        "resolved: true", "resolved: true\n      within: 6m",
    ),
    (
        Code.NO_EXPECT, PROBE, (13, 11, "verify.checks[0]"),
        GET, GET + "\n          expect: result.status == 200",
    ),
    (Code.NO_COOLDOWN, "{cooldown: 10m}", (6, 23, "guard.cooldown"), "{cooldown: 0s}", "{patience: 1m}"),
    (Code.DEADLINE_FIRST, "within: 10m", (11, 15, "verify.within"), "within: 1h", "within: 59m"),
    (
        Code.DEADLINE_FIRST, "    steps:\n", (8, 28, "steps[0].with"),
        "    steps:\n      - {uses: wait, with: {for: 1h}}\n", "    steps:\n      - {uses: wait, with: {for: 59m}}\n",
    ),
    (
        Code.UNSURE_LABEL, "'{{ target }} is", (17, 25, "on_failure[0].with.message"),
        "'{{ labels.host }} is", "'{{ labels.host | default(target) }} is",
    ),
    (
        Code.UNSURE_LABEL, "'{{ target }} is", (17, 25, "on_failure[0].with.message"),
        "'{{ group.labels.app }} is", "'{{ alerts[0].labels.app }} is",
    ),
    (
        Code.REVIEW_OVERDUE, "    guard:", (6, 15, "reviewed"),
        "    reviewed: 2026-08-01\n    guard:", "    reviewed: 2026-08-30\n    guard:",
    ),
    (Code.NO_EFFECT, "exec.run\n", (6, 19, "guard.lock"), "exec.probe\n", "exec.run\n"),
]  # fmt: skip


def of_case(code: Code, old: str, new: str) -> str:
    """Give the good rule as a case changes it."""
    return changed((old, new), *([("cooldown: 10m", "lock: x")] if code is Code.NO_EFFECT else []))


@pytest.mark.parametrize(("code", "old", "place", "bad", "near"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_number_is_found_at_its_place_and_not_in_the_near_miss(
    tmp_path: Path, code: Code, old: str, place: tuple[int, int, str], bad: str, near: str
) -> None:
    """Exactly this one, and nothing where the rule is right."""
    found = look(tmp_path, of_case(code, old, bad))
    assert places(found) == [(*place, code)]
    assert [(each.severity, each.rule) for each in found.problems] == [("warning", "restart")]
    assert places(look(tmp_path, of_case(code, old, near))) == []


@pytest.mark.parametrize(("code", "old", "place", "bad", "near"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_comment_with_a_reason_silences_it(
    tmp_path: Path, code: Code, old: str, place: tuple[int, int, str], bad: str, near: str
) -> None:
    """In the lines of the rule, or right above it; another number does not."""
    text = of_case(code, old, bad)
    inside = text.replace("    summary:", f"    # remediator: allow {code} because of a test\n    summary:")
    assert look(tmp_path, inside) == Checked((), 1)
    above = text.replace("  - name:", f"  # remediator: allow {code} because of a test\n  - name:")
    assert look(tmp_path, above) == Checked((), 1)
    other = Code.NO_VERIFY if code is Code.NO_COOLDOWN else Code.NO_COOLDOWN
    assert set(codes(look(tmp_path, inside.replace(code, other)))) == {code, Code.STALE_COMMENT}


def test_a_label_that_is_nearly_one_of_the_matchers_is_asked_about(tmp_path: Path) -> None:
    """Bound in `match` as it stands, a slip of the pen would make a rule that nothing matches."""
    (slip,) = look(tmp_path, changed(("'{{ target }} is", "'{{ labels.ap }} is"))).problems
    (other,) = look(tmp_path, changed(("'{{ target }} is", "'{{ labels.zone }} is"))).problems
    assert slip.message.endswith("; did you mean `app`?")
    assert "did you mean" not in other.message


@pytest.mark.parametrize(
    ("guard", "match", "says"),
    [
        ("{cooldown: 10m}", """'{alertname=Down, app=~''[a-z]+''}'""", 'write double quotes, app=~"[a-z]+"'),
        ("{cooldown: 10m}", """'{alertname="{{ vars.name }}", app=~".+"}'""", "`match` has no templates"),
        ("""{unless_firing: ["alertname='Moving'"]}""", MATCH, "write double quotes, alertname="),
    ],
)
def test_what_a_matcher_reads_as_part_of_the_value_is_told(tmp_path: Path, guard: str, match: str, says: str) -> None:
    """Alertmanager takes single quotes and braces for the value itself, and so does this daemon: nothing would match."""
    (problem,) = look(tmp_path, changed(("{cooldown: 10m}", guard), (MATCH, match))).problems
    assert (problem.code, says in problem.message) == (Code.NEVER_MATCHES, True)


@pytest.mark.parametrize(
    ("match", "bad"),
    [
        ("""['{alertname="Down", app=~".+"}', 'alertname="Up"']""", True),
        ("""'alertname="Down", app=~".+", app!="x", app="x"'""", True),
        ("""'alertname="Down", app=~"a|b", app=~"b|c"'""", False),
        ("""'alertname="Down", app=~"a|b", app=~"c|d"'""", True),
        ("""'alertname="Down", app=~".+", app=""'""", True),
        ("""'alertname="Down", app=~".+", app=~"x.*", app!~"x.*"'""", True),
        ("""'alertname="Down", app=~"x.*", app=~"y.*"'""", False),  # true, and not to be told from the outside
        ("""'alertname="Down", app=~".+", zone=""'""", False),
    ],
)
def test_a_contradiction_is_told_only_where_it_is_certain(tmp_path: Path, match: str, bad: bool) -> None:
    """Literals against each other, against expressions, and an expression against its own opposite."""
    assert codes(look(tmp_path, changed((MATCH, match)))) == ([Code.NEVER_MATCHES] if bad else [])


def test_resolved_needs_no_patience_where_the_api_is_asked(tmp_path: Path) -> None:
    """With an `alertmanager` section word comes at once; with a configuration that has none it doesn't."""
    text = changed(("within: 10m", "within: 1m\n      resolved: true"))
    exec_section = {"exec": {"allow": ["/opt/*"]}}
    with_api = {**exec_section, "alertmanager": {"url": "http://am"}}
    assert codes(look(tmp_path, text, settings=exec_section)) == [Code.RESOLVED_TOO_SOON]
    assert codes(look(tmp_path, text, settings=with_api)) == []


def test_waiting_for_an_alert_to_resolve_is_fine_where_nothing_is_written(tmp_path: Path) -> None:
    """A rule that pages if the alert has not gone by itself proves nothing by it."""
    text = changed(("exec.run", "exec.probe"), (VERIFY, "    verify: {resolved: true, within: 10m}\n"))
    assert codes(look(tmp_path, text)) == []


def test_what_a_variable_names_may_be_forbidden_by_the_configuration(tmp_path: Path) -> None:
    """As a literal it is an error; without a configuration it is assumed to be met."""
    text = "vars: {program: /opt/restart}\n" + changed(("[/opt/restart", "['{{ vars.program }}'"))
    allowed, forbidden = {"exec": {"allow": ["/opt/*"]}}, {"exec": {"allow": ["/opt/healthy"]}}
    assert places(look(tmp_path, text, settings=forbidden)) == [(10, 15, "steps[0].with", Code.FORBIDDEN)]
    assert codes(look(tmp_path, text, settings=allowed)) == codes(look(tmp_path, text)) == []
    assert codes(look(tmp_path, GOOD, settings=forbidden)) == ["not-allowed"]
    silenced = text.replace("    summary:", f"    # remediator: allow {Code.FORBIDDEN} because of a test\n    summary:")
    assert look(tmp_path, silenced, settings=forbidden) == Checked((), 1)
    assert look(tmp_path, silenced) == Checked((), 0)  # not stale: another configuration forbids it


def test_a_folder_without_rules_has_a_number(tmp_path: Path) -> None:
    """It is a warning of the loader's."""
    assert codes(look(tmp_path)) == [Code.NO_RULES]


# --- by the clock ---


class Window:
    """A window that opens again, or doesn't."""

    def __init__(self, opens: bool) -> None:
        self.opens = opens

    def opens_after(self, now: float) -> bool:
        """Say so."""
        assert now == NOW
        return self.opens


class Calendar:
    """A schedule that is due again, or isn't."""

    text = "0 3 30 2 *"

    def __init__(self, due: float | None) -> None:
        self.due = due

    def next_after(self, now: float) -> float | None:
        """Say when."""
        assert now == NOW
        return self.due


def good_rule(folder: Path) -> Rule:
    (folder / "a.yml").write_text(GOOD)
    [rule] = load_rules([folder], load_catalog()).rules.rules
    return rule


def test_a_window_that_never_opens_again_is_found_where_a_mode_names_it(tmp_path: Path) -> None:
    """In the rule or on a rung; a window that the configuration hasn't got is for the loader to tell."""
    modes = [{"during": "freeze", "mode": "dry-run"}, {"during": "night", "mode": "auto"}, {"mode": "approve"}]
    rule = good_rule(tmp_path)
    ours = replace(rule, definition={**rule.definition, "mode": modes})
    laddered = replace(rule, definition={**rule.definition, "ladder": [{}, {"mode": modes}]})
    view = View(NOW, windows={"freeze": Window(False), "night": Window(True)})
    assert [(each.path, each.code) for each in findings(ours, view)] == [(("mode", 0, "during"), Code.NEVER_OPEN)]
    assert [each.path for each in findings(laddered, view)] == [("ladder", 1, "mode", 0, "during")]
    assert list(findings(ours, View(NOW))) == []


def test_an_entry_behind_one_for_the_same_window_never_has_its_turn(tmp_path: Path) -> None:
    """On a rung too; whether its window opens matters no more, and each entry is told of once."""
    modes = [{"during": "night", "mode": "off"}, {"during": "night", "mode": "auto"}, {"mode": "approve"}]
    rule = good_rule(tmp_path)
    laddered = replace(rule, definition={**rule.definition, "ladder": [{"mode": modes}]})
    view = View(NOW, windows={"night": Window(True)})
    found = list(findings(laddered, view))
    assert [(each.path, each.code) for each in found] == [(("ladder", 0, "mode", 1), Code.NEVER_IN_TURN)]
    assert "whenever `night` does" in found[0].message
    last = [(None, "auto"), ("gone", "off")]
    [idle] = idle_entries(last, {"gone": Window(False)}, NOW)
    assert (idle.path, idle.code) == ((1,), Code.NEVER_IN_TURN)


def test_the_modes_of_the_daemon_are_looked_at_and_silenced_too(tmp_path: Path) -> None:
    """With their places in the configuration; a comment there is about the whole of it."""
    text = "mode:\n  - {during: never, mode: auto}\n  - {mode: approve}\n  - {during: night, mode: off}\n"
    modes = [("never", "auto"), (None, "approve"), ("night", "off")]
    view = View(NOW, windows={"never": Window(False), "night": Window(True)})
    found = check_configuration(modes, view, Source.of(text, "remediator.yml"))
    assert places(found) == [
        (2, 14, "mode[0].during", Code.NEVER_OPEN),
        (4, 5, "mode[2]", Code.NEVER_IN_TURN),
    ]
    assert [(each.file, each.severity, each.rule) for each in found.problems] == [
        ("remediator.yml", "warning", None)
    ] * 2
    silenced = text + "# remediator: allow W105 because next year's days are not known\n# remediator: allow W107\n"
    found = check_configuration(modes, view, Source.of(silenced, "remediator.yml"))
    assert (codes(found), found.silenced) == ([Code.NEVER_IN_TURN, Code.UNCLEAR_COMMENT], 1)
    assert check_configuration([], view, Source.of("mode: auto\n", "remediator.yml")) == Checked((), 0)


def test_a_schedule_that_never_comes_is_found(tmp_path: Path) -> None:
    """It says when it is due next, or never."""
    rule = good_rule(tmp_path)
    for due, expected in ((None, [Code.NEVER_DUE]), (NOW + 60, [])):
        object.__setattr__(rule, "schedule", Calendar(due))
        assert [each.code for each in findings(rule, View(NOW))] == expected


@pytest.mark.parametrize(
    ("approval", "operators", "can"),
    [
        ("{approvers: [ann, ben], quorum: 2}", {"ann"}, "2 of ann, ben must approve, and ann can"),
        ("{approvers: [ann]}", {"ben"}, "1 of ann must approve, and nobody can"),
        ("{quorum: 2}", set(), "2 of those who may operate the daemon must approve, and local can"),
        ("{approvers: [ann, ben], quorum: 2}", {"ann", "ben"}, None),
        ("{quorum: 2}", {"ann"}, None),
        ("{timeout: 5m}", set(), None),
        ("{approvers: [ann]}", None, None),
    ],
)
def test_an_approval_that_nobody_can_give_is_found(
    tmp_path: Path, approval: str, operators: set[str] | None, can: str | None
) -> None:
    """Of the rule, or of a rung; with nothing known of people, nothing is said."""
    (tmp_path / "a.yml").write_text(changed(("    steps:\n", f"    approval: {approval}\n    steps:\n")))
    loaded = load_rules([tmp_path], load_catalog())
    assert loaded.ok, loaded.problems
    view = View(NOW, operators=None if operators is None else frozenset(operators))
    found = check(loaded, view, read_source).problems
    assert [(each.key, each.code, each.message.partition(": ")[0]) for each in found] == (
        [] if can is None else [("approval", Code.NOBODY_APPROVES, can)]
    )


def test_who_may_approve_is_known_unless_a_proxy_may_bring_anyone() -> None:
    """A person of the proxy's is a viewer, unless it says otherwise; without it, who has no token can't say who they are."""
    token = "0" * 64
    users = {
        "ann": {"role": "operator", "token": token}, "ben": {"role": "viewer", "token": token}, "eve": {"role": "admin"},
    }  # fmt: skip
    for role, expected in ((None, {"ann"}), ("viewer", {"ann", "eve"}), ("operator", None)):
        proxy = {} if role is None else {"proxy": {"header": "X-User", "addresses": ["10.0.0.1"], "role": role}}
        assert Access.model_validate({"users": users, **proxy}).operators == expected


# --- two rules ---


def second(*pairs: tuple[str, str]) -> str:
    """Give the good rule once more under another name, changed."""
    return changed(("name: restart", "name: other"), *pairs)


def test_two_rules_that_act_on_one_target_are_told_with_an_alert_that_both_take_up(tmp_path: Path) -> None:
    """At the later one, whichever file it is in; silenced there."""
    text = second(("{{ labels.app }}'\n    guard", "{{  labels.app  }}'\n    guard"), ("[a-z]+", "web|db"))
    found = look(tmp_path, GOOD, text)
    assert places(found) == [(4, 12, "match", Code.SAME_TARGET)]
    [problem] = found.problems
    assert (Path(problem.file).name, problem.rule) == ("b.yml", "other")
    assert f"restart ({tmp_path}/a.yml:2)" in problem.message
    assert '{alertname="Down", app="db"}' in problem.message
    silenced = text.replace(
        "    summary:", f"    # remediator: allow {Code.SAME_TARGET} because of a test\n    summary:"
    )
    assert look(tmp_path, GOOD, silenced) == Checked((), 1)
    (tmp_path / "a.yml").unlink()
    assert look(tmp_path) == Checked((), 0)  # alone, it is not stale


@pytest.mark.parametrize(
    "apart",
    [
        [("Down", "Up")],
        [("[a-z]+", "[0-9]+")],
        [("{alert", '{severity="info", alert')],
        [("app/{{", "host/{{")],
        [("    guard", "    mode: dry-run\n    guard")],
        [("exec.run", "exec.probe"), ("guard: {cooldown: 10m}", "for: 1s")],
        [("{cooldown: 10m}", "{only_firing: ['alertname=\"D\"']}")],
    ],
)
def test_two_rules_are_let_be_where_they_may_not_meet(tmp_path: Path, apart: list[tuple[str, str]]) -> None:
    """Other alerts, other targets, nothing written, or a guard of both between them."""
    first = changed(("{alert", '{severity="page", alert'), ("{cooldown: 10m}", "{unless_firing: ['alertname=\"D\"']}"))
    assert Code.SAME_TARGET in codes(look(tmp_path, first, second()))
    assert codes(look(tmp_path, first, second(*apart))) == []


def test_targets_are_the_same_where_their_variables_are(tmp_path: Path) -> None:
    """Files have variables of their own."""
    first, other = (
        changed(("{{ labels.app }}'\n", "{{ vars.env }}'\n")),
        second(("{{ labels.app }}'\n    guard", "live'\n    guard")),
    )
    assert codes(look(tmp_path, "vars: {env: live}\n" + first, other)) == [Code.SAME_TARGET]
    assert codes(look(tmp_path, "vars: {env: test}\n" + first, other)) == []


# --- comments ---


def test_a_comment_needs_a_reason_and_a_number_that_is(tmp_path: Path) -> None:
    """Such a comment silences nothing, and is told of with its place."""
    for says, code in (
        ("allow W206", Code.UNCLEAR_COMMENT),
        ("allow W206 because", Code.UNCLEAR_COMMENT),
        ("allow", Code.UNCLEAR_COMMENT),
        ("allow W206 for now", Code.UNCLEAR_COMMENT),
        ("allow W999 because of a test", Code.UNKNOWN_NUMBER),
        ("allow W903 because of a test", Code.UNKNOWN_NUMBER),
        ("ignore W206 because of a test", Code.UNKNOWN_WORD),
        ("allows W206 because of a test", Code.UNKNOWN_WORD),
        ("Allow W206 because of a test", Code.UNKNOWN_WORD),
        ("W206", Code.UNKNOWN_WORD),
        ("", Code.UNKNOWN_WORD),
    ):
        text = changed(("{cooldown: 10m}", f"{{cooldown: 0s}} # remediator: {says}"))
        assert places(look(tmp_path, text)) == [
            (6, 23, "guard.cooldown", Code.NO_COOLDOWN),
            (6, 27, None, code),
        ], says


def test_a_comment_that_silences_nothing_is_told_of(tmp_path: Path) -> None:
    """In a rule that is right, and outside of every rule; not in a file with errors, which is not looked at to its end."""
    comment = "# remediator: allow W206 because of a test\n"
    assert places(look(tmp_path, GOOD + "    " + comment)) == [(18, 5, None, Code.STALE_COMMENT)]
    assert places(look(tmp_path, comment + GOOD)) == [(1, 1, None, Code.STALE_COMMENT)]
    broken = GOOD + "    colour: red\n" + second().removeprefix("rules:\n") + "    " + comment
    assert codes(look(tmp_path, broken)) == ["unknown-key"]


def test_a_text_that_reads_like_a_comment_is_none(tmp_path: Path) -> None:
    """As in a script, or in quotes; and one that names us in another way is for people."""
    script = "with:\n          argv: [/opt/restart]\n          stdin: |\n            # remediator: allow W206 because of a test\n"
    text = changed(
        ("with: {argv: [/opt/restart, '{{ labels.app }}']}\n", script), ("{cooldown: 10m}", "{cooldown: 0s}")
    )
    assert codes(look(tmp_path, text)) == [Code.NO_COOLDOWN]
    text = changed(("Restart what is down.", "'it says # remediator: allow W206 because'"))
    assert codes(look(tmp_path, text + "# Remediator: these are the shop's rules\n# the remediator: ours\n")) == []


def test_a_comment_is_about_its_own_rule_alone(tmp_path: Path) -> None:
    """One right above a rule is that rule's, though the lines of the one before reach there."""
    bad = ("{cooldown: 10m}", "{cooldown: 0s}")
    comment = "  # remediator: allow W206 because of a test\n"
    other = second(bad, ('"Down"', '"Up"')).removeprefix("rules:\n")
    found = look(tmp_path, changed(bad) + comment + other)
    assert ([each.rule for each in found.problems], found.silenced) == (["restart"], 1)
    found = look(tmp_path, changed(bad) + "    " + comment + other)  # further in: a part of the rule before
    assert ([each.rule for each in found.problems], found.silenced) == (["other"], 1)


def test_what_stands_under_defaults_is_told_once_and_silenced_there(tmp_path: Path) -> None:
    """It is wrong in every rule, and one rule may silence it for itself."""
    stripped = changed(("    guard: {cooldown: 10m}\n", ""))
    rules = stripped + stripped.replace("restart\n", "other\n").replace("Down", "Up").removeprefix("rules:\n")
    text = "defaults:\n  guard: {cooldown: 0s}\n" + rules
    assert places(look(tmp_path, text)) == [(2, 21, "guard.cooldown", Code.NO_COOLDOWN)]
    comment = "# remediator: allow W206 because of a test\n"
    assert look(tmp_path, text.replace("rules:\n", f"  {comment}rules:\n")) == Checked((), 2)
    found = look(tmp_path, text.replace("  - name: restart\n", f"  - name: restart\n    {comment}"))
    assert ([each.rule for each in found.problems], found.silenced) == (["other"], 1)


def test_errors_stay_what_they_are_and_come_in_the_order_of_places(tmp_path: Path) -> None:
    """Rules without errors are looked at beside those that have some."""
    text = changed(("    guard: {cooldown: 10m}", "    guard: {cooldown: 0s}\n    colour: red"))
    found = look(tmp_path, text, second(("{cooldown: 10m}", "{cooldown: 0s}")))
    assert [(Path(each.file).name, each.severity, each.code) for each in found.problems] == [
        ("a.yml", "error", "unknown-key"),
        ("b.yml", "warning", Code.NO_COOLDOWN),
    ]


def test_strict_makes_errors_of_warnings() -> None:
    """And changes nothing else of them."""
    warning = Problem("a.yml", 1, 1, "x", None, "warning", Code.NO_VERIFY, "it writes")
    [problem] = strict([warning])
    assert str(problem) == str(warning).replace("warning", "error")
