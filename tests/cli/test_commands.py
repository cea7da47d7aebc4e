"""The command line: text and JSON, exit statuses, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cli.keyboard import RULE, ask, run
from stage import Stage

DEPLOY = Path(__file__).parents[2] / "deploy"
GOOD = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down", app=~".+"}'
    target: 't/{{ labels.app }}'
    steps: [{uses: exec.run, with: {argv: [/bin/true, '{{ labels.app }}']}}]
    verify: {checks: [{uses: exec.probe, with: {argv: [/bin/true]}}]}
    on_failure: [{uses: log, with: {message: 'still down'}}]
"""
BODY = {"alerts": [{"status": "firing", "labels": {"alertname": "Down", "app": "web"}}]}


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


# -- without a daemon --


def test_check_finds_nothing_wrong_with_a_good_rule() -> None:
    """Exit 0, and it says what it assumed."""
    result = run("check", write("rules.yml", GOOD))
    assert result.exit_code == 0
    assert result.stdout == "1 rule; no configuration: what depends on one is assumed to be met: 0 errors, 0 warnings\n"
    assert json.loads(run("check", "rules.yml", "-o", "json").stdout) == {"ok": True, "problems": []}


def test_check_names_the_place_and_the_nearest_word() -> None:
    """Exit 1: what was asked found fault."""
    write("rules.yml", RULE.replace("summary:", "sumary:").replace("exec.run", "exec.rum"))
    result = run("check", "rules.yml")
    assert result.exit_code == 1
    assert "rules.yml:4:5: error: rule mend:" in result.stdout
    assert "summary" in result.stdout
    assert "exec.run" in result.stdout
    document = json.loads(run("check", "rules.yml", "-o", "json").stdout)
    assert not document["ok"]
    keys = {"file", "line", "column", "rule", "key", "severity", "code", "message"}
    assert all(problem.keys() == keys for problem in document["problems"])


def test_check_warns_with_numbers_and_strict_makes_errors_of_them() -> None:
    """A warning keeps nothing from running, so exit 0 is right unless it is asked for more."""
    write("rules.yml", GOOD.replace("    on_failure: [{uses: log, with: {message: 'still down'}}]\n", ""))
    result = run("check", "rules.yml")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("rules.yml:3:5: warning: rule mend: on_failure: this rule writes")
    assert result.stdout.splitlines()[0].endswith("[W202]")
    assert result.stdout.endswith(": 0 errors, 1 warning\n")
    strict = run("check", "rules.yml", "--strict")
    assert (strict.exit_code, strict.stdout.endswith(": 1 error, 0 warnings\n")) == (1, True)
    for options, ok, severity in ([], True, "warning"), (["--strict"], False, "error"):
        document = json.loads(run("check", "rules.yml", "-o", "json", *options).stdout)
        [problem] = document["problems"]
        assert (document["ok"], problem["severity"], problem["code"]) == (ok, severity, "W202")
        assert (problem["line"], problem["column"], problem["rule"], problem["key"]) == (3, 5, "mend", "on_failure")


def test_check_counts_what_a_comment_silences() -> None:
    """It isn't reported, with `--strict` neither."""
    write(
        "rules.yml",
        GOOD.replace("    verify:", "    # remediator: allow W206 because x\n    guard: {cooldown: 0s}\n    verify:"),
    )
    result = run("check", "rules.yml", "--strict")
    assert (result.exit_code, result.stdout.endswith(": 0 errors, 0 warnings, 1 silenced\n")) == (0, True)
    assert json.loads(run("check", "rules.yml", "-o", "json").stdout) == {"ok": True, "problems": []}


def test_check_looks_at_the_configuration_too() -> None:
    """A program that isn't allowed, and a key that isn't known."""
    write("rules.yml", RULE)
    write("remediator.yml", "rules: [rules.yml]\nexec: {allow: [/bin/false]}\n")
    result = run("check")
    assert (result.exit_code, "exec.allow" in result.stdout) == (1, True)
    write("remediator.yml", "rulez: [rules.yml]\n")
    result = run("check")
    assert (result.exit_code, "remediator.yml:1:1" in result.stdout, "rules" in result.stdout) == (1, True, True)


def test_check_tells_all_for_which_the_daemon_would_not_start() -> None:
    """What the catalog and the templates find in the configuration, each with its place."""
    write("rules.yml", GOOD)
    write(
        "remediator.yml",
        """\
rules: [rules.yml]
exec: {allow: ['/bin/*']}
notices:
  to: [{uses: log, with: {text: x}}]
  second: {to: [{uses: exec.run, with: {argv: [/bin/true]}}]}
report: {schedule: '0 8 30 2 *', to: [{uses: lgo}]}
guard: {blast_radius: {fraction: 0.5, of: 'alerts |', per: 1h}}
""",
    )
    document = json.loads(run("check", "-o", "json").stdout)
    assert [(each["line"], each["key"], each["code"]) for each in document["problems"]] == [
        (4, "notices.to[0].with.message", "bad-parameter"),
        (4, "notices.to[0].with.text", "bad-parameter"),
        (5, "notices.second.to", "wrong-effect"),
        (6, "report.schedule", "bad-value"),
        (6, "report.to[0].uses", "unknown-action"),
        (7, "guard.blast_radius.of", "bad-template"),
    ]  # fmt: skip
    serving = run("serve")
    assert (serving.exit_code, "remediator.yml:7:43: error: guard.blast_radius.of" in serving.stderr) == (2, True)


def test_check_says_that_a_report_has_nobody_to_tell() -> None:
    """Neither by itself nor by `notices`."""
    write("rules.yml", GOOD)
    write("remediator.yml", "rules: [rules.yml]\nexec: {allow: ['/bin/*']}\nreport: {schedule: '@daily'}\n")
    assert (run("check").exit_code, "remediator.yml:3:9" in run("check").stdout) == (1, True)


def test_check_looks_at_the_modes_of_the_configuration() -> None:
    """A window on 30 February, and what stands behind an entry that always holds."""
    write("rules.yml", GOOD)
    modes = "mode: [{during: never, mode: auto}, {mode: approve}, {during: never, mode: off}]\n"
    window = "windows: {never: [{months: [february], days_of_month: [30]}]}\n"
    write("remediator.yml", f"rules: [rules.yml]\nexec: {{allow: ['/bin/*']}}\n{modes}{window}")
    document = json.loads(run("check", "-o", "json").stdout)
    assert [(each["file"], each["line"], each["key"], each["code"]) for each in document["problems"]] == [
        ("remediator.yml", 3, "mode[0].during", "W105"), ("remediator.yml", 3, "mode[2]", "W107"),
    ]  # fmt: skip
    assert run("check", "--strict").exit_code == 1


def test_the_shipped_rules_are_clean() -> None:
    """What everybody begins with."""
    result = run("check", "--strict", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["problems"]) == (0, [])


def test_the_shipped_rules_are_clean_under_the_configuration_for_the_runbooks() -> None:
    """Every platform that they use has its section there; who the two are that some of them ask, only the user knows."""
    result = run("check", "--config", str(DEPLOY / "runbooks.yml"), "-o", "json")
    problems = json.loads(result.stdout)["problems"]
    assert (result.exit_code, [(each["rule"], each["code"]) for each in problems]) == (
        0,
        [
            (rule, "W108")
            for rule in ("restore-database", "restore-to-point-in-time", "contain-data-breach", "stop-application")
        ],
    )


def test_explain_works_without_a_daemon_and_says_what_it_cannot_know() -> None:
    """From a file or from standard input."""
    write("rules.yml", RULE)
    write("body.json", json.dumps(BODY))
    result = run("explain", "--rules", "rules.yml", "body.json")
    assert result.exit_code == 0
    assert "+ mend: planned on t/web" in result.stdout
    assert "write: run /bin/true web" in result.stdout
    assert "Without the daemon" in result.stdout
    document = json.loads(run("explain", "--rules", "rules.yml", "-o", "json", "-", input=json.dumps(BODY)).stdout)
    (rule,) = document["alerts"][0]["rules"]
    assert rule.keys() == {"rule", "matches", "outcome", "reason", "because", "target", "plan"}


@pytest.mark.parametrize(
    ("guard", "unknown"),
    [
        ("{}", "lock, the daemon's own limit, breaker, storm"),
        (
            "{storm: off, blast_radius: {targets: 3, per: 1h}}",
            "lock, the daemon's own limit, blast_radius, breaker",
        ),
        ("{limit: off, breaker: off, storm: off}", "lock"),
    ],
)
def test_explain_names_the_guards_that_it_could_not_ask(guard: str, unknown: str) -> None:
    """The daemon's own too, as far as they are configured."""
    write("rules.yml", RULE)
    write("remediator.yml", f"exec: {{allow: ['/bin/*']}}\nrules: [rules.yml]\nguard: {guard}\n")
    write("body.json", json.dumps(BODY))
    assert f"unknown without a daemon: {unknown}\n" in run("explain", "body.json").stdout


def test_explain_refuses_what_is_no_notification() -> None:
    """Exit 2: wrong usage."""
    result = run("explain", "-", input="{}")
    assert (result.exit_code, "not a notification" in result.stderr) == (2, True)
    assert run("explain", "--at", "tomorrow", "-", input=json.dumps(BODY)).exit_code == 2


def test_actions_lists_the_catalog_and_describes_one() -> None:
    """With an example to copy."""
    listed = json.loads(run("actions", "-o", "json").stdout)
    names = {each["name"] for each in listed}
    assert names >= {
        "exec.run", "exec.probe", "http.get", "http.request", "prometheus.query", "alertmanager.alerts", "wait", "log",
    }  # fmt: skip
    keys = {"name", "effect", "idempotent", "summary", "parameters", "example"}
    assert all(each.keys() >= keys and each["example"] and each["summary"] for each in listed)
    assert "argv, required" in run("actions", "exec.run").stdout
    wrong = run("actions", "exec.rum")
    assert (wrong.exit_code, "did you mean exec.run?" in wrong.stderr) == (2, True)


def test_schema_is_json_schema_for_both_kinds_of_file() -> None:
    """For editors."""
    assert "rules" in json.loads(run("schema").stdout)["properties"]
    assert "listen" in json.loads(run("schema", "config").stdout)["properties"]
    assert run("schema").stdout == run("schema", "rules").stdout


def test_a_daemon_that_is_not_there_is_exit_3() -> None:
    """And the message says what to do."""
    write("remediator.yml", "listen: 127.0.0.1:1\n")
    for command in (
        ["runs"],
        ["report"],
        ["show", "x" * 26],
        ["pause", "--reason", "x"],
        ["cancel", "x" * 26, "--reason", "x"],
    ):
        result = run(*command)
        assert (result.exit_code, "is `remediator serve` running?" in result.stderr) == (3, True), command


def test_wrong_usage_and_wrong_configuration_are_exit_2() -> None:
    """Nothing on standard output then."""
    write("remediator.yml", "mode: sometimes\n")
    for command in (["runs"], ["serve"], ["nonsense"], ["runs", "--state", "odd"], ["--config", "none.yml", "runs"]):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, ""), command


def test_a_label_that_is_given_twice_is_refused() -> None:
    """The one before would be dropped in silence, and the run would be another."""
    result = run("run", "mend", "--label", "app=web", "--label", "app=api", "--reason", "x")
    assert (result.exit_code, "app is given twice" in result.stderr) == (2, True)


# -- with a daemon --


async def test_runs_and_show_tell_what_happened(stage: Stage) -> None:
    """A list for the eye, a document for programs, a story for one."""
    await stage.fires(app="web")
    await stage.passes(1)
    table = await ask("runs")
    assert table.exit_code == 0
    assert [word for word in table.stdout.splitlines()[1].split() if "/" in word] == ["t/web"]
    (listed,) = json.loads((await ask("runs", "-o", "json")).stdout)
    story = await ask("show", listed["id"])
    assert f"Run {listed['id']}: succeeded" in story.stdout
    assert "steps: test.write started, attempt 1" in story.stdout
    assert json.loads((await ask("show", listed["id"][-8:], "-o", "json")).stdout) == listed
    assert (await ask("show", "nothing")).exit_code == 1
    assert json.loads((await ask("runs", "--state", "failed", "-o", "json")).stdout) == []


async def test_a_run_whose_target_could_not_be_rendered_says_so(stage: Stage) -> None:
    """In words, and not by a word of the program's language."""
    await ask("run", "mend", "--reason", "no label given")
    (blocked,) = json.loads((await ask("runs", "-o", "json")).stdout)
    assert blocked["target"] is None
    assert "target not known, mode auto" in (await ask("show", blocked["id"])).stdout


async def test_all_runs_are_listed_following_pages_unless_limited(stage: Stage) -> None:
    """One document, however many."""
    await stage.notify(*(stage.alert(app=f"a{number}") for number in range(1100)))
    await stage.passes(1)
    assert len(json.loads((await ask("runs", "-o", "json")).stdout)) == 1100
    assert len(json.loads((await ask("runs", "-o", "json", "--limit", "7")).stdout)) == 7


async def test_nothing_that_a_label_holds_steers_the_terminal(stage: Stage) -> None:
    """Escape sequences are shown, not obeyed (P10)."""
    await stage.notify(stage.alert(app="web", evil="\x1b[2Jboo\x07"))
    (listed,) = json.loads((await ask("runs", "-o", "json")).stdout)
    story = (await ask("show", listed["id"])).stdout
    assert "\x1b" not in story
    assert "boo" in story


async def test_p10_a_value_can_not_pass_for_another_label(stage: Stage) -> None:
    """Who approves reads the labels: a quote in a value is shown as one (P10)."""
    await stage.notify(stage.alert(app="web", path='C:\\x", env="staging'))
    (listed,) = json.loads((await ask("runs", "-o", "json")).stdout)
    written = r'app="web", path="C:\\x\", env=\"staging"'
    assert written in (await ask("show", listed["id"])).stdout
    assert written in (await ask("postmortem", listed["id"])).stdout


async def test_pause_resume_and_their_exit_statuses(stage: Stage) -> None:
    """Resuming what isn't paused is exit 1."""
    assert (await ask("pause", "--reason", "deploy", "--for", "2h")).stdout.startswith("Paused everything until 20")
    await stage.fires(app="web")
    assert await stage.states() == [("waiting", "paused")]
    assert (await ask("resume", "--rule", "mend")).exit_code == 1
    assert (await ask("resume")).stdout == "Resumed everything: 1 pause lifted\n"
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]
    assert (await ask("pause", "--reason", "x", "--for", "long")).exit_code == 1


async def test_cancel_waits_until_the_run_has_ended(stage: Stage) -> None:
    """So that a script can go on."""
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    run_id = (await stage.run())["id"]
    result = await ask("cancel", run_id, "--reason", "wrong one")
    assert (result.exit_code, result.stdout) == (0, f"Run {run_id}: cancelled\n"), result.stdout


async def test_resolve_settles_an_unknown_run(stage: Stage) -> None:
    """And refuses any other."""
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    run_id = (await stage.run())["id"]
    refused = await ask("resolve", run_id, "--as", "failed", "--reason", "looked")
    assert (refused.exit_code, "cancel it instead" in refused.stderr) == (1, True)


async def test_a_wrong_token_is_said_to_be_wrong(stage: Stage) -> None:
    """Exit 3: the daemon could not be asked."""
    result = await ask("runs", "--token", "wrong")
    assert (result.exit_code, "token" in result.stderr) == (3, True)


async def test_explain_asks_the_daemon_in_reach(stage: Stage) -> None:
    """For the guards' real figures."""
    Path("body.json").write_text(json.dumps(BODY))
    result = await ask("explain", "body.json")
    assert result.exit_code == 0
    assert "+ mend: admitted on t/web" in result.stdout
    assert "Without the daemon" not in result.stdout


async def test_report_reviews_what_has_happened(stage: Stage) -> None:
    """As text, as Markdown, as a document; nothing in a label steers the terminal."""
    await stage.notify(stage.alert(app="web"), stage.alert(app="\x1b[2J"))
    await stage.settle()
    text = await ask("report")
    assert (text.exit_code, text.stdout.splitlines()[1]) == (0, "2 runs: 1 acted (1 done, not verified), 1 refused.")
    assert "mend on t/web" in text.stdout
    assert "x1b[2J" in text.stdout
    assert "\x1b" not in text.stdout
    assert "# Report from" in (await ask("report", "--markdown", "--since", "1h")).stdout
    document = json.loads((await ask("report", "-o", "json")).stdout)
    assert document["acted"]["entries"][0]["what"] == ["test.write x"]
    assert (await ask("report", "--since", "yesterday")).exit_code == 1
