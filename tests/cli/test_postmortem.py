"""`remediator postmortem`: the draft that the record of a run makes, and what it leaves to people."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli.keyboard import ask
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.cli import report
from remediator.forms.access import Access

RULES = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    facts: [{id: seen, uses: test.probe}]
    guard: {cooldown: 1h}
    steps: [{id: look, uses: test.read}, {id: act, uses: test.write, with: {says: '{{ labels.app }}'}}]
    verify: {within: 1m, every: 10s, checks: [{id: well, uses: test.check}]}
"""


@pytest.fixture(autouse=True)
def _known(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's own actions are known to the command line too."""
    monkeypatch.setattr(report, "load_catalog", lambda: stage.catalog)


async def drafted(stage: Stage, *more: str) -> str:
    """Draft a post-mortem of the last run."""
    done = await ask("postmortem", (await stage.runs())[-1]["id"], *more)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def section(text: str, title: str) -> str:
    """Give what stands under a heading."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


async def test_the_record_fills_the_draft_and_people_are_asked_the_rest(stage: Stage) -> None:
    """What happened in its order, what was seen, what was decided, what was done, and whether it helped."""
    stage.outcomes["test.probe"] = [{"disk": "sda"}]
    stage.outcomes["test.check"] = [Outcome(Result.REFUSED, error="it is down")]
    await stage.rules(RULES)
    await stage.fires(app="web")
    await stage.passes(90)
    text = await drafted(stage)
    assert text.startswith("# Post-mortem: mend on t/web\n")
    assert '- Alert: `{alertname="Down", app="web"}`' in text
    happened = section(text, "Timeline")
    order = ["the alert Down begins", "proposed by rule mend", "admitted", "test.write started", "test.write succeeded"]
    assert sorted(order, key=happened.index) == order
    assert '"disk": "sda"' in section(text, "Evidence")
    assert "admitted, mode auto, lock t/web" in section(text, "Decisions")
    assert "test.write" in section(text, "What was done")
    assert "test.read" not in section(text, "What was done")
    assert "well: failed when last looked at: it is down" in section(text, "Did it help?")
    assert "- ? Why did mend not help?" in section(text, "Open questions")


async def test_what_happened_around_it_is_told(stage: Stage) -> None:
    """Other runs on its target; those of another target are not."""
    await stage.rules(RULES)
    for app in ("web", "other", "web"):
        await stage.fires(app=app)
        await stage.passes(60)
        await stage.resolves(app=app)
    around = section(await drafted(stage), "Around it")
    assert ("mend on t/web: succeeded" in around, "t/other" in around) == (True, False)
    assert "the same needed 2 times" in section(await drafted(stage), "Open questions")


async def test_a_revert_is_no_second_need(stage: Stage) -> None:
    """It takes back what the run did, and the draft says so."""
    revert = "    revert: {after: 1h, steps: [{uses: test.undo}]}\n"
    await stage.rules(RULES + revert)
    await stage.fires(app="web")
    await stage.settle()
    run_id = next(each["id"] for each in await stage.runs() if not each["reverts"])
    text = (await ask("postmortem", run_id)).stdout
    assert f"of mend, to take back what run {run_id} did, is proposed" in section(text, "Timeline")
    assert "was the same needed" not in text


async def test_a_run_that_takes_no_lock_is_told_of_none(stage: Stage) -> None:
    """A rule that only reads has none, and `None` is no lock's name."""
    only_reads = RULES.replace("{id: act, uses: test.write", "{id: act, uses: test.probe")
    await stage.rules(only_reads)
    await stage.fires(app="web")
    await stage.settle()
    assert "admitted, mode auto\n" in section(await drafted(stage), "Decisions") + "\n"


async def test_what_an_alert_says_marks_nothing_up(stage: Stage) -> None:
    """Nor does what a platform says end the block that it stands in."""
    stage.outcomes["test.probe"] = [{"said": "``` \n# Not a heading"}]
    await stage.rules(RULES)
    await stage.fires(app="web`|<b>[x](http://evil.example)\n# also none")
    await stage.passes(60)
    text = await drafted(stage)
    assert "<b>" not in text.replace(section(text, "Evidence"), "").replace(text[: text.index("## Impact")], "")
    assert "[x](http" not in section(text, "Timeline") + section(text, "What was done")
    assert [line for line in text.splitlines() if line.startswith("# ")] == [text.splitlines()[0]]
    fence = section(text, "Evidence").splitlines()
    assert any(line.startswith("````") for line in fence)


async def test_a_file_is_written_once(stage: Stage) -> None:
    """One that is there is left as it is."""
    await stage.fires(app="web")
    await stage.passes(1)
    await drafted(stage, "--out", "draft.md")
    written = Path("draft.md").read_text()
    assert written.startswith("# Post-mortem")
    again = await ask("postmortem", (await stage.runs())[-1]["id"], "--out", "draft.md")
    assert (again.exit_code, "(File exists): name another file with --out" in again.stderr) == (1, True)
    assert Path("draft.md").read_text() == written


async def test_a_program_gets_one_document(stage: Stage) -> None:
    """The id of the run, and the text."""
    await stage.fires(app="web")
    await stage.passes(1)
    told = json.loads(await drafted(stage, "-o", "json"))
    assert told["run"] == (await stage.runs())[-1]["id"]
    assert told["markdown"].startswith("# Post-mortem")


async def test_a_viewer_drafts_none_of_what_is_confidential(stage: Stage, access: list[Access]) -> None:
    """Exit 1, and nothing of it is told."""
    await stage.rules(RULES.replace("summary:", "confidential: true\n    summary:"))
    await stage.fires(app="web")
    await stage.passes(30)
    token = hashlib.sha256(b"vic's token").hexdigest()
    access[0] = Access.model_validate({"users": {"vic": {"role": "viewer", "token": token}}})
    refused = await ask("postmortem", (await stage.runs())[-1]["id"], "--token", "vic's token")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "is confidential: an operator may draft its post-mortem" in refused.stderr
