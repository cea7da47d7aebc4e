"""The documents say what is true: their tables are the code's, their YAML loads, their commands run, their links lead somewhere.

The info string of a code block says how it is tried:

    yaml rules | steps | config | alertmanager | prometheus   loaded by what reads it
    yaml rules [warns=NUMBER,NUMBER]                          checked too: these warnings, else none
    yaml tests                                                run over the rules of the block before
    json, ini, text, mermaid                                  parsed where there is a parser
    sh make                                                   its targets exist
    sh syntax                                                 read by bash, not run: it needs a real machine
    sh offline                                                run in an empty folder
    sh|console daemon [run=STATE]                             run beside a daemon; RUN is a run in that state
    sh|console tour, sh serve, any block with file=NAME       the README's first rule, in order, with a daemon of its own

In a `console` block the output is compared too: ids, times and hashes may differ, a line `…` stands for any others.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path

import click
import pytest
import yaml
from daemon import Daemon, Program, eventually, fetch, free_port
from docs.blocks import KNOWN, Block, Reader, blocks_of
from docs.generate import ROOT, commands, config_keys, metric_rows, pages, regenerated, schemas

from remediator.actions.catalog import load_catalog
from remediator.config import load_config
from remediator.model.run import LEGAL, EventKind, Mode, Phase, Reason, State, StepState
from remediator.review.check import check
from remediator.review.codes import ABOUT, Code
from remediator.review.findings import View
from remediator.review.source import read_source
from remediator.rules.form import GuardForm, RetryForm, RuleFileForm, RuleForm, StepForm, VerifyForm
from remediator.rules.load import load_rules

BLOCKS = [block for page in pages() for block in blocks_of(page)]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in pages()}
EVERYTHING = "\n".join(PAGES.values())


def blocks(*kinds: str, language: str = "") -> list[Block]:
    """Give the blocks that are tried in one of these ways."""
    return [block for block in BLOCKS if block.kind in kinds and language in ("", block.language)]


def each(*kinds: str, language: str = "") -> pytest.MarkDecorator:
    """Have a test for every such block, named by its place."""
    return pytest.mark.parametrize("block", blocks(*kinds, language=language), ids=str)


# --- what the documents are made of ---


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_says_how_it_is_tried(block: Block) -> None:
    """A block that no test tries would go stale unnoticed."""
    assert block.kind in KNOWN.get(block.language, ()), f"{block}: ```{block.language} {' '.join(block.words)}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_made_from_the_code_are_up_to_date(page: Path) -> None:
    """Where one isn't: `python tests/docs/generate.py`."""
    assert regenerated(page.read_text(encoding="utf-8")) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", schemas(), ids=lambda path: path.name)
def test_schemas_for_editors_are_up_to_date(path: Path) -> None:
    """Where one isn't: `python tests/docs/generate.py`."""
    assert path.read_text(encoding="utf-8") == schemas()[path]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and so are the headings that links point at."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {link}"
        if heading:
            assert heading in set(_anchors(file.read_text(encoding="utf-8"))), f"{page.name} links to {link}"


def _anchors(text: str) -> Iterator[str]:
    """Give what GitHub calls the headings of a page."""
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# --- what the documents must speak of ---


def test_the_diagram_of_states_has_every_legal_transition_and_no_other() -> None:
    """The picture is what people learn the machine from."""
    diagram = next(block.text for block in BLOCKS if block.text.startswith("stateDiagram"))
    drawn = {
        tuple(arrow.split(":")[0].split(" --> ")) for arrow in map(str.strip, diagram.splitlines()) if "-->" in arrow
    }
    legal = {("[*]" if source is None else str(source), str(to)) for source, tos in LEGAL.items() for to in tos}
    ends = {(str(state), "[*]") for state in State if not state.open}
    assert drawn == legal | ends


@pytest.mark.parametrize("words", [State, Reason, Mode, EventKind, StepState, Phase], ids=lambda words: words.__name__)
def test_every_word_of_a_record_is_in_the_glossary(words: type[StrEnum]) -> None:
    """Whoever meets a state, a reason or an event looks it up there."""
    assert [word for word in words if f"`{word}`" not in PAGES["glossary.md"]] == []


@pytest.mark.parametrize(
    "model", [RuleFileForm, RuleForm, GuardForm, StepForm, RetryForm, VerifyForm], ids=lambda m: m.__name__
)
def test_every_key_of_a_rule_is_in_the_reference(model: type[RuleForm]) -> None:
    """Those that aren't there yet, too."""
    assert [key for key in model.known_keys() if f"`{key}`" not in PAGES["rules.md"]] == []


def test_every_key_of_the_configuration_is_in_the_reference() -> None:
    """Those that aren't there yet, too."""
    keys = [key for key, *_ in config_keys()]
    assert [key for key in keys if key not in PAGES["configuration.md"]] == []


def test_every_metric_is_in_operations() -> None:
    """As Prometheus shows it."""
    assert [name for name, *_ in metric_rows() if name not in PAGES["operations.md"]] == []


def test_every_command_and_option_is_in_the_reference() -> None:
    """Short and long forms."""
    missing = [
        f"{name} {option}"
        for name, command in commands()
        for option in [
            opt for parameter in command.params if isinstance(parameter, click.Option) for opt in parameter.opts
        ]
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", PAGES["commands.md"])
    ]
    assert missing == []
    assert [name for name, _ in commands() if f"### {name}\n" not in PAGES["commands.md"]] == []


def test_every_action_is_in_the_reference() -> None:
    """With all its parameters: the table is made from the catalog."""
    assert [name for name in load_catalog() if f"### {name}\n" not in PAGES["actions.md"]] == []


# --- what is read ---


@each("rules", "steps")
def test_rules_load(block: Block, tmp_path: Path) -> None:
    """A rule that is copied from a page is one that the daemon takes; a list of steps stands in a rule."""
    text = block.text
    if block.kind == "steps":
        rule = {"name": "x", "summary": "x", "match": '{a="b"}', "target": "x", "steps": yaml.safe_load(text)}
        text = yaml.safe_dump({"rules": [rule]})
    (tmp_path / "rules.yml").write_text(text)
    assert [str(each) for each in load_rules([tmp_path], load_catalog()).problems if each.severity == "error"] == []


@each("rules")
def test_rules_are_exemplary_but_for_what_they_are_to_show(block: Block, tmp_path: Path) -> None:
    """`remediator check` has nothing to say of a rule on a page, unless the page is about that warning."""
    (tmp_path / "rules.yml").write_text(block.text)
    wanted = (block.word("warns") or "").split(",")
    settings = {"exec": {"allow": ["systemctl"]}} if wanted == [Code.FORBIDDEN] else None
    loaded = load_rules([tmp_path], load_catalog(), settings=settings)
    operators = frozenset({"ann"}) if wanted == [Code.NOBODY_APPROVES] else None
    checked = check(loaded, View(1_795_000_000.0, settings, operators=operators), read_source)  # November 2026
    assert ",".join(sorted(each.code for each in checked.problems)) == ",".join(wanted), checked.problems


def test_every_warning_has_a_section_that_says_all_of_it() -> None:
    """What it finds, what comes of it, an example, how to mend it, how to silence it."""
    sections = dict(re.findall(r"^### (W\d+: .+)\n((?:(?!^#).*\n)*)", PAGES["warnings.md"], re.MULTILINE))
    assert list(sections) == [f"{code}: {about.title}" for code, about in ABOUT.items()]
    assert list(ABOUT) == list(Code)
    for title, text in sections.items():
        said = re.findall(r"^(\*\*[\w .]+\*\*|```\w+)", text, re.MULTILINE)
        assert [re.sub("```.*", "```", each) for each in said] == [
            "**Finds**", "**At 3 a.m.**", "```", "**Mend**", "**Silence**",
        ], title  # fmt: skip


@each("tests")
def test_rule_tests_pass(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the rules that stand above them on the page."""
    monkeypatch.chdir(tmp_path)
    rules = [each for each in blocks("rules") if each.page == block.page and each.line < block.line]
    Path("rules.yml").write_text(rules[-1].text)
    Path("rules.test.yml").write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "remediator", "test", "."], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@each("config")
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    """A configuration that is copied from a page is one that the daemon takes."""
    (tmp_path / "remediator.yml").write_text(block.text)
    assert load_config(tmp_path / "remediator.yml", {}).named


@each("alertmanager", "prometheus")
def test_what_is_for_others_is_what_they_take(block: Block, tmp_path: Path) -> None:
    """Alertmanager's and Prometheus's own checkers are asked where they are installed."""
    assert isinstance(yaml.safe_load(block.text), dict)
    (tmp_path / "file.yml").write_text(block.text)
    checker = {"alertmanager": ["amtool", "check-config"], "prometheus": ["promtool", "check", "rules"]}[block.kind]
    if shutil.which(checker[0]):
        done = subprocess.run([*checker, tmp_path / "file.yml"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@each("", language="json")
def test_json_is_json(block: Block) -> None:
    """It can be posted."""
    json.loads(block.text)


@each("", language="ini")
def test_units_are_units(block: Block) -> None:
    """Sections and keys."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(block.text)
    assert unit.has_option("Service", "ExecStart")


@each("make")
def test_targets_of_make_exist(block: Block) -> None:
    """Not run here: `make test` would run itself."""
    for line in block.text.splitlines():
        done = subprocess.run(
            ["make", "-n", *line.partition("#")[0].split()[1:]], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, f"{block}: {line}"


@each("syntax", "offline", "daemon", "tour", "serve", language="sh")
def test_shell_can_be_read(block: Block) -> None:
    """By bash."""
    subprocess.run(["bash", "-n", "-c", block.text], check=True)


# --- what is run ---


def newest_run(url: str, token: Path) -> str:
    """Give the id of the run that was opened last, `RUN` where there is none yet."""
    runs = fetch(f"{url}/api/v1/runs?limit=1", token=token.read_text().strip()).json()["runs"]
    return str(runs[0]["id"]) if runs else "RUN"


@pytest.mark.slow
def test_the_first_rule_of_the_readme(tmp_path: Path) -> None:
    """Every file and every command of the README's first rule, in order, with what it says to see."""
    reader = Reader(tmp_path, f"127.0.0.1:{free_port()}")
    url = f"http://{reader.address}"
    serve = next(block for block in BLOCKS if block.kind == "serve")
    command = ["env", f"PATH={reader.environ['PATH']}", *shlex.split(serve.text)]
    daemon = Program("serve", command, tmp_path, f"{url}/readyz")
    tour = [
        block
        for block in BLOCKS
        if block.page.name == "README.md" and (block.kind in ("tour", "serve") or block.word("file"))
    ]
    assert len(tour) > 8
    loaded = 0
    try:
        for block in tour:
            before = (tmp_path / "remediator.yml").read_text() if daemon.running else ""
            if name := block.word("file"):
                reader.write(name, block.text)
            elif block.kind == "serve":
                daemon.start()
            elif block.language == "sh":
                reader.try_script(block)
            else:
                reader.try_session(block, newest_run(url, tmp_path / "state" / "token") if daemon.running else "RUN")
            if before and (tmp_path / "remediator.yml").read_text() != before:
                loaded += 1
                eventually(partial(_said_often, daemon, '"rules loaded"', loaded), "the daemon says `rules loaded`")
        assert loaded, "the README changes the configuration while the daemon runs"
    finally:
        daemon.kill()


def _said_often(daemon: Program, words: str, times: int) -> bool:
    return daemon.output().count(words) >= times


RULES = """
rules:
  - name: sleep
    summary: Sleeps.
    match: '{alertname="Sleepy"}'
    target: 'host/{{ labels.host }}'
    steps:
      - uses: exec.run
        timeout: 10m
        with: {argv: [sleep, '45']}  # outlives a daemon that is killed, but not for long
  - name: restart-web
    summary: Looks.
    match: '{alertname="ServiceDown"}'
    target: web
    steps:
      - uses: log
        with: {message: down}
  - name: ask
    summary: Asks.
    match: '{alertname="Asking"}'
    target: 'host/{{ labels.host }}'
    mode: approve
    steps:
      - uses: log
        with: {message: let go on}
"""


class Duty:
    """A daemon with runs in the states that operators meet, and somebody on duty."""

    def __init__(self, folder: Path) -> None:
        (folder / "rules").mkdir()
        (folder / "rules" / "rules.yml").write_text(RULES)
        alert = {"alerts": [{"status": "firing", "labels": {"alertname": "ServiceDown"}}]}
        (folder / "alert.json").write_text(json.dumps(alert))
        self.daemon = Daemon(folder, {"rules": ["rules"], "mode": "auto", "exec": {"allow": ["sleep"]}})
        self.reader = Reader(folder, self.daemon.url.removeprefix("http://"))
        self._hosts = 0

    def run_in(self, state: str) -> str:
        """Give a run of its own in a state."""
        if state in ("running", "awaiting_approval"):
            return self._opened({"running": "Sleepy", "awaiting_approval": "Asking"}[state], state)
        known = {run["id"] for run in self.daemon.runs(state="unknown")}
        run = self._opened("Sleepy", "running")
        self.daemon.kill()  # its step's program outlives it, in a group of its own
        self.daemon.start()
        eventually(lambda: {each["id"] for each in self.daemon.runs(state=state)} - known, f"a run is {state}")
        return run

    def _opened(self, alert: str, state: str) -> str:
        self._hosts += 1
        labels = {"alertname": alert, "host": f"h{self._hosts}"}
        run = str(self.daemon.post({"alerts": [{"status": "firing", "labels": labels}]}).json()["runs"][0])
        eventually(lambda: self.daemon.run(run)["state"] == state, f"the run is {state}")
        return run


@pytest.fixture(scope="module")
def duty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Duty]:
    """One daemon for all blocks."""
    duty = Duty(tmp_path_factory.mktemp("duty"))
    with duty.daemon:
        yield duty
        for run in duty.daemon.runs(state="running"):
            duty.reader.type(f"remediator cancel {run['id']} --reason over")


@pytest.mark.slow
@each("daemon")
def test_what_operators_type_works(block: Block, duty: Duty) -> None:
    """Beside a running daemon, in its folder."""
    state = block.word("run")
    duty.reader.try_script(block, duty.run_in(state) if state else "RUN")


@pytest.mark.slow
@each("offline")
def test_what_needs_no_daemon_works(block: Block, tmp_path: Path) -> None:
    """In an empty folder."""
    Reader(tmp_path).try_script(block)
