"""The commands by which people answer, propose and hold back: what they show, what they send, how they exit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from pathlib import Path

import pytest
import yaml
from cli.keyboard import ask, run, type_in_terminal, typed
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.cli import by_hand
from remediator.config import load_config
from remediator.forms.access import Access

ASKS = """
vars: {host: real, drill: {host: spare}}
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    facts: [{id: release, uses: test.probe}]
    target: 't/{{ labels.app }}'
    mode: approve
    approval: {quorum: 1}
    guard: {cooldown: 0s}
    steps: [{uses: test.write, with: {says: '{{ vars.host }} {{ facts.release.n }}'}}]
"""
ACTS = ASKS.replace("mode: approve", "mode: auto")


def people(**roles: str) -> Access:
    """Give each a role, and the token `NAME's token`."""
    hashed = {name: hashlib.sha256(f"{name}'s token".encode()).hexdigest() for name in roles}
    return Access.model_validate({"users": {name: {"role": roles[name], "token": hashed[name]} for name in roles}})


async def asking(stage: Stage, rule: str = ASKS) -> str:
    """Give the id of a run that awaits approval."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(rule)
    await stage.fires(app="web")
    run = await stage.run()
    assert run["state"] == "awaiting_approval"
    return str(run["id"])


# -- approve, reject --


async def test_p12_at_a_terminal_the_plan_is_shown_and_asked_about(stage: Stage) -> None:
    """`y` approves the very plan that stands there."""
    run_id = await asking(stage)
    status, shown = await type_in_terminal(["approve", run_id], "y\n")
    assert status == 0, shown
    plan_hash = (await stage.run())["plan_hash"]
    for words in (
        f"Plan {plan_hash}:",
        "write: test.write real 1",
        'alertname="Down", app="web"',
        "target t/web",
        "Approve this plan? [y/N]:",
        f"Approved. Run {run_id}: ",
    ):
        assert words in shown
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04"])
async def test_p12_anything_but_yes_approves_nothing(stage: Stage, typed: str) -> None:
    """Not the mere Enter, nor the end of input."""
    run_id = await asking(stage)
    status, _ = await type_in_terminal(["approve", run_id], typed)
    assert status == 1
    assert await stage.states() == [("awaiting_approval", "approval")]


async def test_p12_in_a_pipe_nothing_is_approved_unseen(stage: Stage) -> None:
    """Exit 2, unless it is said that this plan, or whatever it is now, is meant."""
    run_id = await asking(stage)
    assert (await ask("approve", "", "--yes")).exit_code == 1  # a variable that was empty
    for arguments in (["approve", run_id], ["approve", run_id, "-o", "json"]):
        refused = await ask(*arguments, input="y\n")
        assert (refused.exit_code, "--plan-hash" in refused.stderr) == (2, True)
    wrong = await ask("approve", run_id, "--plan-hash", "0" * 64)
    assert (wrong.exit_code, "not the plan" in wrong.stderr) == (1, True)
    assert await stage.states() == [("awaiting_approval", "approval")]
    approved = await ask("approve", run_id[-8:], "--plan-hash", (await stage.run())["plan_hash"], "-o", "json")
    assert (approved.exit_code, json.loads(approved.stdout)["id"]) == (0, run_id)


async def test_approve_with_yes_says_what_became_of_it(stage: Stage) -> None:
    """And a second time there is nobody to answer."""
    run_id = await asking(stage)
    approved = await ask("approve", run_id, "--yes", "--reason", "looked at it")
    assert (approved.exit_code, f"Approved. Run {run_id}: " in approved.stdout) == (0, True), approved.stderr
    again = await ask("approve", run_id, "--yes")
    assert (again.exit_code, "asks nobody: it is succeeded" in again.stderr) == (1, True)
    story = (await ask("show", run_id)).stdout
    assert "asked whoever may operate the daemon till 20" in story
    assert "approved by local: looked at it" in story


async def test_an_approval_that_needs_others_too_says_how_many(stage: Stage, access: list[Access]) -> None:
    """In the name that the token proves."""
    run_id = await asking(stage, ASKS.replace("quorum: 1", "quorum: 2, approvers: [ann, bob]"))
    access[0] = people(ann="operator", bob="operator")
    first = await ask("approve", run_id, "--yes", "--token", "ann's token")
    assert (first.exit_code, "Asks 2 of ann, bob till 20" in first.stdout) == (0, True)
    assert "Approved: 1 of 2. " in first.stdout
    assert "; so far ann" in (await ask("show", run_id)).stdout
    refused = await ask("approve", run_id, "--yes")
    assert (refused.exit_code, "local is not among the approvers of mend" in refused.stderr) == (1, True)
    assert (await ask("approve", run_id, "--yes", "--token", "bob's token")).exit_code == 0


async def test_an_approval_of_what_has_changed_meanwhile_says_that_it_asks_again(stage: Stage) -> None:
    """Exit 1: what was approved is not done."""
    run_id = await asking(stage)
    stage.outcomes["test.probe"] = [{"n": 2}]
    stage.clock.time += 1
    again = await ask("approve", run_id, "--yes")
    assert (again.exit_code, "it asks again" in again.stdout) == (1, True)
    assert stage.used("test.write") == 0


async def test_an_approval_under_a_pause_says_that_it_counts_and_what_holds_it(stage: Stage) -> None:
    """Nothing has changed, and nobody has to answer again: it goes on with `resume`."""
    run_id = await asking(stage)
    assert (await ask("pause", "--reason", "look at it")).exit_code == 0
    await stage.settle()
    approved = await ask("approve", run_id, "--yes")
    assert (approved.exit_code, "Approved, and not begun: it is held" in approved.stdout) == (0, True)
    assert "paused by" in approved.stdout
    assert (await ask("resume")).exit_code == 0
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


async def test_reject_ends_what_asks(stage: Stage) -> None:
    """With a reason."""
    run_id = await asking(stage)
    assert (await ask("reject", run_id)).exit_code == 2
    rejected = await ask("reject", run_id, "--reason", "not tonight")
    assert (rejected.exit_code, rejected.stdout) == (0, f"Rejected. Run {run_id}: cancelled\n")
    assert "cancelled: rejected by local: not tonight" in (await ask("show", run_id)).stdout


async def test_who_may_only_look_is_told_so(stage: Stage, access: list[Access]) -> None:
    """Exit 1: the daemon was asked, and says no."""
    run_id = await asking(stage, ASKS.replace("summary:", "confidential: true\n    summary:"))
    access[0] = people(vic="viewer")
    for arguments in (
        ["pause", "--reason", "x"],
        ["run", "mend", "--reason", "x"],
        ["reject", run_id, "--reason", "x"],
    ):
        refused = await ask(*arguments, "--token", "vic's token")
        assert (refused.exit_code, "vic is a viewer" in refused.stderr) == (1, True)
    refused = await ask("approve", run_id, "--yes", "--token", "vic's token")
    assert (refused.exit_code, "is confidential" in refused.stderr) == (1, True)
    story = (await ask("show", run_id, "--token", "vic's token")).stdout
    assert ("confidential, an operator may see the rest" in story, "web" in story) == (True, False)
    assert "awaiting_approval" in (await ask("runs", "--token", "vic's token")).stdout


# -- run, drill --


async def test_run_proposes_by_hand_and_says_what_became_of_it(stage: Stage) -> None:
    """With who and why in its story, and a mark in the list."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS)
    done = await ask("run", "mend", "--label", "app=web=1", "--reason", "it looks ill")
    run_id = (await stage.run())["id"]
    assert done.stdout == f"Run {run_id} of mend on t/web=1 is proposed, mode auto\nRun {run_id}: succeeded\n"
    assert done.exit_code == 0
    story = (await ask("show", run_id)).stdout
    assert "proposed, by hand, by " in story
    assert ", for it looks ill: rule mend, mode auto" in story
    assert "mend (by hand)" in (await ask("runs")).stdout
    assert (
        json.loads((await ask("run", "mend", "--label", "app=db", "--reason", "x", "-o", "json")).stdout)["drill"]
        is False
    )


async def test_run_exits_by_what_became_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 where it succeeded, still waits or asks; 1 where it was refused or failed, or nothing was proposed; 2 misused."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS.replace("cooldown: 0s", "cooldown: 1h"))
    command = ("run", "mend", "--label", "app=web", "--reason", "x")
    assert (await ask(*command)).exit_code == 0
    blocked = await ask(*command)
    assert (blocked.exit_code, ": blocked: " in blocked.stdout) == (1, True)
    unknown = await ask("run", "mnd", "--reason", "x")
    assert (unknown.exit_code, "did you mean `mend`?" in unknown.stderr) == (1, True)
    assert (await ask("run", "mend", "--label", "app", "--reason", "x")).exit_code == 2
    assert (await ask("run", "mend")).exit_code == 2
    await ask("pause", "--reason", "deploy")
    monkeypatch.setattr(by_hand, "PATIENCE", 0.0)
    waits = await ask("run", "mend", "--label", "app=db", "--reason", "x")
    assert (waits.exit_code, ": waiting: " in waits.stdout) == (0, True)


async def test_show_says_that_a_target_is_not_known(stage: Stage) -> None:
    """As of a run whose target could not be named."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS)
    blocked = json.loads((await ask("run", "mend", "--reason", "x", "-o", "json")).stdout)
    assert ", target not known, mode auto" in (await ask("show", blocked["id"])).stdout


async def test_drill_follows_to_the_end_and_tells_the_story(stage: Stage) -> None:
    """With `vars.drill` over `vars`."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS)
    told = await ask("drill", "mend", "--label", "app=web")
    assert told.exit_code == 0
    for words in (
        ": succeeded\n",
        "  drill\n",
        "write: test.write spare 1",
        "proposed, a drill, by ",
        "What happened:",
    ):
        assert words in told.stdout
    assert "mend (drill)" in (await ask("runs")).stdout
    document = json.loads((await ask("drill", "mend", "--label", "app=web", "-o", "json")).stdout)
    assert (document["drill"], document["state"]) == (True, "succeeded")


async def test_what_was_drilled_when_is_listed_and_the_report_names_what_was_not(stage: Stage) -> None:
    """For a quarter."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS)
    assert "Not drilled for 90d" in (await ask("report")).stdout
    await ask("run", "mend", "--label", "app=web", "--reason", "x")
    await stage.settle()
    assert json.loads((await ask("runs", "--drills", "-o", "json")).stdout) == []
    await ask("drill", "mend", "--label", "app=web")
    assert [run["drill"] for run in json.loads((await ask("runs", "--drills", "-o", "json")).stdout)] == [True]
    assert "Not drilled for 90d" not in (await ask("report")).stdout
    stage.clock.time += 89 * 86_400
    assert "Not drilled for 90d" not in (await ask("report")).stdout
    stage.clock.time += 2 * 86_400
    assert "Not drilled for 90d" in (await ask("report")).stdout


async def test_a_drill_that_does_not_succeed_is_exit_1(stage: Stage) -> None:
    """That is what it is for."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    stage.outcomes["test.write"] = [Outcome(Result.ERROR, error="no such host")]
    await stage.rules(ACTS)
    told = await ask("drill", "mend", "--label", "app=web")
    assert (told.exit_code, ": failed (step)" in told.stdout, "no such host" in told.stdout) == (1, True, True)


async def test_a_drill_that_asks_says_so_while_it_waits(stage: Stage) -> None:
    """And goes on when somebody has answered."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ASKS)
    with typed("drill", "mend", "--label", "app=web") as drill:
        assert "`remediator approve" in await asyncio.to_thread(drill.stderr.readline)
        assert (await ask("approve", (await stage.run())["id"], "--yes")).exit_code == 0
        told, _ = await asyncio.to_thread(drill.communicate)
    assert (drill.returncode, ": succeeded\n" in told) == (0, True)


async def test_a_drill_is_not_followed_for_ever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the rule's deadline it is told as it is then."""
    monkeypatch.setattr(by_hand, "_GRACE", -3600.0)
    await stage.rules(ACTS)
    await ask("pause", "--reason", "deploy")
    told = await ask("drill", "mend", "--label", "app=web")
    assert (told.exit_code, "not over yet" in told.stderr, ": waiting" in told.stdout) == (1, True, True)


async def test_ctrl_c_leaves_a_drill_alone(stage: Stage) -> None:
    """It goes on, and the message says how to look and how to end it."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(ACTS)
    stage.blocked["test.write"] = asyncio.Event()
    with typed("drill", "mend", "--label", "app=web") as drill:
        assert "is proposed" in await asyncio.to_thread(drill.stdout.readline)
        drill.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(drill.communicate)
    assert (drill.returncode, "it goes on: `remediator show" in said) == (1, True), said
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


# -- mode, controls, resume --


async def test_p7_what_is_laid_is_listed_and_lifted_one_by_one(stage: Stage) -> None:
    """With the command that lifts it."""
    assert (await ask("controls")).exit_code == 0
    laid = await ask("mode", "dry-run", "--rule", "mend", "--for", "2h", "--reason", "watch it first")
    (control,) = json.loads((await ask("controls", "-o", "json")).stdout)
    assert laid.stdout == f"At most dry-run on rule mend until {control['until']}: watch it first\n"
    await ask("pause", "--target", "t/web", "--reason", "disk")
    table = (await ask("controls")).stdout
    assert "mode dry-run" in table
    assert "remediator resume --control CONTROL" in table
    lifted = await ask("resume", "--control", control["id"][-8:], "--reason", "fine")
    assert (lifted.exit_code, lifted.stdout) == (0, "Lifted: mode dry-run on rule mend\n")
    assert (await ask("resume", "--control", control["id"])).exit_code == 1
    assert (await ask("resume", "--control", control["id"], "--rule", "mend")).exit_code == 2
    assert (await ask("resume", "--control", "")).exit_code == 1
    assert [each["kind"] for each in json.loads((await ask("controls", "-o", "json")).stdout)] == ["pause"]


async def test_p7_resume_says_what_else_holds(stage: Stage) -> None:
    """Pauses are lifted by it; a breaker by its id alone."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    stage.outcomes["test.write"] = [Outcome(Result.ERROR, error="no"), {}]
    breaks = ACTS.replace("cooldown: 0s", "cooldown: 0s, breaker: {failures: 1, per: 1h, reset: manual}")
    await stage.rules(breaks)
    await stage.fires(app="web")
    await ask("pause", "--reason", "look")
    (breaker, _) = json.loads((await ask("controls", "-o", "json")).stdout)
    told = await ask("resume")
    assert told.stdout.splitlines()[0] == "Resumed everything: 1 pause lifted"
    assert told.stdout.splitlines()[1].startswith("Still laid: breaker on rule mend (1 runs of mend ended failed")
    assert told.stdout.endswith(f", until `remediator resume --control {breaker['id']}`\n")
    assert (await ask("resume", "--control", breaker["id"], "--reason", "mended")).exit_code == 0
    await stage.fires(app="db")
    assert (await stage.runs())[-1]["state"] == "succeeded"


async def test_a_control_on_a_rule_that_is_not_there_is_laid_and_said(stage: Stage) -> None:
    """A slip of the pen at night must not pass for a pause."""
    told = await ask("pause", "--rule", "mnd", "--reason", "x")
    [laid] = json.loads((await ask("controls", "-o", "json")).stdout)
    assert told.stdout == f"Paused rule mnd until `remediator resume --control {laid['id']}`: x\n"
    assert (told.exit_code, "no rule `mnd` is in force; did you mean `mend`?" in told.stderr) == (0, True)
    assert "no rule" not in (await ask("mode", "off", "--rule", "mend", "--reason", "x")).stderr


# -- token --


def test_a_token_is_made_with_what_to_write_for_it() -> None:
    """What is printed can be pasted, and fits the token."""
    made = json.loads(run("token", "ann@example.com", "-o", "json").stdout)
    assert hashlib.sha256(made["token"].encode()).hexdigest() == made["sha256"]
    said = run("token", "ann@example.com").stdout
    configuration = said[said.index("access:") :]
    Path("remediator.yml").write_text(configuration)
    (user,) = load_config(None, {}).config.access.users.values()
    assert (user.role, user.token) == (
        "operator",
        yaml.safe_load(configuration)["access"]["users"]["ann@example.com"]["token"],
    )
    assert run("token", "local").exit_code == 2


# -- the story --


async def test_show_tells_climbs_and_reverts(stage: Stage) -> None:
    """In sentences, rung by rung."""
    stage.outcomes["test.check"] = [{"ok": False}, {"ok": False}, {"ok": True}]
    await stage.rules("""
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    guard: {cooldown: 0s}
    revert: {after: 1h, steps: [{uses: test.undo}]}
    ladder:
      - steps: [{uses: test.write, with: {says: restart}}]
        verify: {within: 1s, every: 1s, checks: [{uses: test.check, expect: result.ok}]}
      - steps: [{uses: test.write, with: {says: rebuild}}]
        verify: {within: 1m, checks: [{uses: test.check, expect: result.ok}]}
""")
    await stage.fires(app="web")
    await stage.passes(30)
    mended, revert = await stage.runs()
    story = (await ask("show", mended["id"])).stdout
    assert "climbed to rung 2: " in story
    assert "  on rung 2 of its ladder\n" in story
    assert "rung 2 steps  test.write: succeeded" in story
    await ask("mode", "off", "--reason", "hands off")
    await stage.passes(3700)
    story = (await ask("show", revert["id"])).stdout
    assert f"  takes back what run {mended['id']} did\n" in story
    assert f"the revert of run {mended['id']} is held: the mode in force is `off`" in story
    assert "mend (revert)" in (await ask("runs")).stdout


async def test_p12_nothing_that_an_alert_says_steers_who_is_asked(stage: Stage) -> None:
    """Escape sequences in the plan are shown, not obeyed (P10)."""
    stage.outcomes["test.probe"] = [{"n": "\x1b[2Jharmless"}]
    await stage.rules(ASKS)
    await stage.fires(app="web")
    status, shown = await type_in_terminal(["approve", (await stage.run())["id"]], "n\n")
    assert (status, "harmless" in shown, "\x1b[2J" in shown) == (1, True, False)
