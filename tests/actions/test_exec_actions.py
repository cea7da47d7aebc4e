"""Which programs may be run, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError

from remediator.actions import exec as exec_actions
from remediator.actions.exec import ExecProbe, ExecRun, Probe, Run
from remediator.actions.protocol import MAX_RESULT_BYTES, Effect, Outcome, Result

SHELL = {"allow": ["/bin/sh"]}


def script(text: str, **given: object) -> Run:
    """Give parameters that run a shell script."""
    return Run(argv=["/bin/sh", "-c", text], **given)


@pytest.fixture
def run(context):
    """Run `exec.run` to its end under an `exec` section."""

    async def go(params: Run, section: dict[str, object] = SHELL, seconds: float = 10.0) -> Outcome:
        return await ExecRun().run(params, context({"exec": section}, seconds=seconds))

    return go


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Give a folder with an allowed script in `scripts`, and others around it."""
    for name in ("scripts/restart.sh", "scripts/below/deep.sh", "other.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('#!/bin/sh\necho "$0"\n')
        (tmp_path / name).chmod(0o755)
    return tmp_path


def refusal(program: str, *allow: str, cwd: Path | None = None) -> str | None:
    """Say what `check` says of a program."""
    return ExecRun().check(Run(argv=[program]), {"exec": {"allow": list(allow), "cwd": cwd and str(cwd)}})


async def test_the_result_has_all_that_a_rule_may_ask_for(run) -> None:
    """Status, both outputs, stdout as JSON where it is, and the time it took."""
    outcome = await run(script("""echo '{"free": 7}'; echo noise >&2"""))
    assert outcome.kind is Result.OK
    seconds = outcome.result.pop("seconds")
    assert 0 < seconds < 5
    assert outcome.result == {
        "exit_status": 0,
        "stdout": '{"free": 7}\n',
        "stderr": "noise\n",
        "json": {"free": 7},
        "truncated": False,
    }


async def test_the_environment_is_the_operators_the_rules_and_the_runs_id(run) -> None:
    """A rule's variables are laid over the operator's; nothing of the daemon's own is there."""
    params = Run(argv=["env"], env={"B": "rule", "REMEDIATOR_RUN": "forged", "REMEDIATOR_STEP": "forged"})
    outcome = await run(params, {"allow": ["env"], "env": {"A": "operator", "B": "operator"}})
    *given, mark = sorted(outcome.result["stdout"].split())
    assert given == ["A=operator", "B=rule", "REMEDIATOR_RUN=01jd"]
    assert re.fullmatch("REMEDIATOR_STEP=[0-9a-f]{16}", mark)


async def test_input_and_directory_are_the_rules(run, tmp_path: Path) -> None:
    """`stdin` arrives; a relative `cwd` counts from the operator's."""
    (tmp_path / "below").mkdir()
    outcome = await run(script("cat; pwd", stdin="hello\n", cwd="below"), {**SHELL, "cwd": str(tmp_path)})
    assert outcome.result["stdout"] == f"hello\n{tmp_path}/below\n"


async def test_a_status_outside_ok_is_the_answer_no(run) -> None:
    """The error names program, status and the last line of stderr, with no escape sequence in it."""
    outcome = await run(script("echo first >&2; printf '\\033[31mno such unit\\n\\n' >&2; exit 5"))
    assert outcome.kind is Result.REFUSED
    assert outcome.error == "/bin/sh ended with exit status 5: \\x1b[31mno such unit"
    assert outcome.result["exit_status"] == 5


async def test_ok_says_which_statuses_are_success(run) -> None:
    """The statuses listed are success, and then 0 alone is not."""
    assert (await run(script("exit 3", ok=[3, 4]))).kind is Result.OK
    outcome = await run(script("exit 0", ok=[3, 4]))
    assert (outcome.kind, outcome.error) == (
        Result.REFUSED,
        "/bin/sh ended with exit status 0, and said nothing on stderr",
    )


async def test_a_signal_is_named(run) -> None:
    """A program that crashed did not end with a status."""
    outcome = await run(script("kill -SEGV $$"))
    assert outcome.kind is Result.REFUSED
    assert outcome.error.startswith("/bin/sh was ended by SIGSEGV")


async def test_a_timeout_is_an_error_and_keeps_what_was_said(run) -> None:
    """It may have had its effect: neither a success, nor safe to repeat."""
    outcome = await run(script("echo begun; sleep 60"), seconds=0.3)
    assert outcome.kind is Result.ERROR
    assert re.match(r"/bin/sh had not ended after \d\.\d s and was killed", outcome.error)
    assert outcome.result["stdout"] == "begun\n"


async def test_a_program_that_can_not_be_killed_is_said_so(run, monkeypatch) -> None:
    """The operator learns that something still runs."""

    async def undying(*_: object) -> exec_actions.Ended:
        return exec_actions.Ended(None, "", "", False, False, 7.0, True)

    monkeypatch.setattr(exec_actions, "run", undying)
    outcome = await run(script("sleep 60"))
    assert outcome.kind is Result.ERROR
    assert "could not be killed" in outcome.error


async def test_p14_what_could_not_be_ended_is_logged(run, monkeypatch) -> None:
    """The step's outcome is the program's, and the operator learns of the processes that run on."""

    async def leaving(*_: object) -> exec_actions.Ended:
        return exec_actions.Ended(0, "", "", False, False, 7.0, False, left=(4711,))

    monkeypatch.setattr(exec_actions, "run", leaving)
    with structlog.testing.capture_logs() as logged:
        assert (await run(script("true"))).kind is Result.OK
    assert [(line["log_level"], line["program"], line["pids"]) for line in logged] == [("warning", "/bin/sh", (4711,))]


async def test_p2_what_never_began_may_be_tried_again(run, tmp_path: Path) -> None:
    """A missing program, a missing directory and a program that isn't allowed have certainly done nothing."""
    missing = await run(Run(argv=["no-such-program"]), {"allow": ["no-such-program"]})
    elsewhere = await run(script("true", cwd="/nowhere"))
    forbidden = await run(Run(argv=["/bin/true"]))
    late = await run(script("true"), seconds=-1)
    assert [outcome.kind for outcome in (missing, elsewhere, forbidden, late)] == [Result.NOT_SENT] * 4
    assert "there is no such program on /usr/local/sbin:" in missing.error
    assert "/nowhere" in elsewhere.error
    assert "add /usr/bin/true to exec.allow" in forbidden.error or "add /bin/true to exec.allow" in forbidden.error


@pytest.mark.fault("endless output")
async def test_a_huge_output_makes_a_bounded_result(run) -> None:
    """Result and all fits the bound, however the output looks as JSON."""
    outcome = await run(
        script("head -c 300000 /dev/zero | tr '\\0' '\\033'; head -c 300000 /dev/zero | tr '\\0' x >&2")
    )
    assert outcome.kind is Result.OK
    assert outcome.result["truncated"] is True
    assert outcome.result["stdout"]
    assert len(outcome.result["stderr"]) > 10_000
    assert exec_actions.bounded(outcome.result) is outcome.result


async def test_json_that_was_cut_is_not_read(run) -> None:
    """`json` is null rather than half a list."""
    outcome = await run(script("printf '['; head -c 100000 /dev/zero | tr '\\0' ' '; printf ']'"))
    assert outcome.result["json"] is None
    assert len(outcome.result["stdout"]) < MAX_RESULT_BYTES


async def test_p10_an_argument_stays_one_argument(run) -> None:
    """Whatever a label holds, the program sees it as one argument."""
    hostile = "; rm -rf / $(id) `id` | x > y"
    outcome = await run(Run(argv=["printf", "<%s>", hostile, "b"]), {"allow": ["printf"]})
    assert outcome.result["stdout"] == f"<{hostile}><b>"


def test_nothing_is_allowed_by_default() -> None:
    """Without an entry no program may run, and the reason says what to add."""
    assert refusal("/bin/sh", "/bin/true").endswith("/sh to exec.allow")
    assert "may not be run" in refusal("/bin/sh")


def test_a_whole_command_in_one_argument_is_told_as_such() -> None:
    """To allow a program of that name would help nobody: there is none."""
    assert refusal("systemctl restart web").endswith("write each word as an argument, [systemctl, restart, web]")


def test_without_a_configuration_there_is_nothing_to_check() -> None:
    """Offline, what depends on a configuration is assumed to be met."""
    assert ExecRun().check(Run(argv=["/bin/sh"]), {}) is None
    assert ExecProbe().check(Probe(argv=["/bin/sh"]), {}) is None


async def test_without_a_configuration_nothing_runs(context) -> None:
    """What `check` leaves open, `run` refuses."""
    assert (await ExecProbe().run(Probe(argv=["/bin/true"]), context())).kind is Result.NOT_SENT


def test_names_and_paths_of_one_program_are_one() -> None:
    """A bare name is looked up on a fixed path, and folders that are links are followed."""
    for allowed in ("sh", "/bin/sh", "/usr/bin/sh"):
        for asked in ("sh", "/bin/sh", "/usr/bin/sh"):
            assert refusal(asked, allowed) is None
    assert refusal("/tmp/sh", "sh") is not None


def test_the_search_path_is_not_the_daemons(monkeypatch, scripts: Path) -> None:
    """A PATH in the daemon's environment can't put another program in the place of an allowed one."""
    monkeypatch.setenv("PATH", str(scripts))
    assert refusal("other.sh", str(scripts / "other.sh")) is not None


def test_a_link_is_allowed_by_its_own_name_only(scripts: Path) -> None:
    """To allow `systemctl` must not allow `reboot`, which is a link to it on many systems."""
    (scripts / "scripts/reboot").symlink_to(scripts / "other.sh")
    assert refusal(f"{scripts}/scripts/reboot", f"{scripts}/other.sh") is not None
    assert refusal(f"{scripts}/scripts/reboot", f"{scripts}/scripts/reboot") is None


def test_an_entry_for_a_folder_allows_its_files_and_nothing_below(scripts: Path) -> None:
    """`/opt/scripts/*` is one level, and no way round leads out of it."""
    entry = f"{scripts}/scripts/*"
    assert refusal(f"{scripts}/scripts/restart.sh", entry) is None
    assert refusal(f"{scripts}/scripts/below/deep.sh", entry) is not None
    assert refusal(f"{scripts}/other.sh", entry) is not None
    assert "without `..`" in refusal(f"{scripts}/scripts/../other.sh", entry)
    (scripts / "scripts/up").symlink_to(scripts)
    assert refusal(f"{scripts}/scripts/up/other.sh", entry) is not None


def test_an_entry_with_dots_allows_nothing(scripts: Path) -> None:
    """An entry is to be read as it stands."""
    assert refusal(f"{scripts}/other.sh", f"{scripts}/scripts/../other.sh") is not None
    assert refusal(f"{scripts}/scripts/../other.sh", f"{scripts}/scripts/../other.sh") is not None


async def test_a_relative_program_counts_from_the_operators_directory(run, scripts: Path) -> None:
    """It is found there, allowed there and run from there, whatever directory the step asks for."""
    for entry in ("./scripts/restart.sh", "scripts/*", f"{scripts}/scripts/restart.sh"):
        section = {"allow": [entry], "cwd": str(scripts)}
        outcome = await run(Run(argv=["./scripts/restart.sh"], cwd="/"), section)
        assert outcome.result["stdout"] == f"{scripts}/scripts/restart.sh\n"
    assert refusal("./other.sh", "scripts/*", cwd=scripts) is not None


def test_a_root_folder_entry_is_the_root_folder(scripts: Path) -> None:
    """`/*` is not the operator's directory."""
    assert refusal("./other.sh", "/*", cwd=scripts) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_programs_run_as_the_operators_user(run) -> None:
    """`exec.user` holds for every program."""
    assert (await run(script("id -un"), {**SHELL, "user": "nobody"})).result["stdout"] == "nobody\n"


needs_prlimit = pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit (util-linux) is missing")


@needs_prlimit
@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ({"memory": 1 << 30}, "Max address space 1073741824 1073741824 bytes"),
        ({"processes": 64}, "Max processes 64 64 processes"),
        ({"open_files": 32}, "Max open files 32 32 files"),
        ({"cpu_seconds": 7}, "Max cpu time 7 7 seconds"),
    ],
)
async def test_a_limit_holds_from_the_first_instruction_on(run, limit: dict[str, int], shown: str) -> None:
    """Each limit is the kernel's for the program, which can't raise it again; with any of them no core is dumped."""
    section = {"allow": ["cat"], "limits": {"memory": None, **limit}}
    outcome = await run(Run(argv=["cat", "/proc/self/limits"]), section)
    lines = [" ".join(line.split()) for line in outcome.result["stdout"].splitlines()]
    assert shown in lines
    assert "Max core file size 0 0 bytes" in lines


@needs_prlimit
async def test_a_limit_that_is_passed_is_the_programs_failure(run) -> None:
    """A program that takes more than it may fails by itself, and the daemon is none the worse."""
    greedy = script("exec 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0; cat")
    outcome = await run(greedy, {**SHELL, "limits": {"open_files": 6}})
    assert outcome.kind is Result.REFUSED
    endless = await run(script("while :; do :; done"), {**SHELL, "limits": {"cpu_seconds": 1}})
    assert endless.kind is Result.REFUSED
    assert "was ended by SIG" in endless.error


@needs_prlimit
async def test_without_limits_none_is_set(run) -> None:
    """Where the operator sets none, the program has the daemon's own."""
    outcome = await run(Run(argv=["cat", "/proc/self/limits"]), {"allow": ["cat"], "limits": {"memory": None}})
    assert outcome.result["stdout"] == Path("/proc/self/limits").read_text()


@needs_prlimit
async def test_a_limit_above_the_daemons_own_is_the_daemons_own(run) -> None:
    """What the daemon may not pass can't be given, and is no reason not to run."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    section = {"allow": ["sh"], "limits": {"open_files": own + 1}}
    outcome = await run(Run(argv=["sh", "-c", "ulimit -n"]), section)
    assert outcome.result["stdout"] == f"{own}\n"


@needs_prlimit
async def test_p2_with_limits_too_what_never_began_may_be_tried_again(run, tmp_path: Path, monkeypatch) -> None:
    """A program that is missing or may not be run has done nothing; so it is where there is no prlimit."""
    plain = tmp_path / "plain"
    plain.write_text("true\n")
    for program in (tmp_path / "missing", plain):
        outcome = await run(Run(argv=[str(program)]), {"allow": [str(program)], "limits": {"cpu_seconds": 7}})
        assert outcome.kind is Result.NOT_SENT
        assert str(program) in outcome.error
    monkeypatch.setattr("remediator.actions.children.shutil.which", lambda *_, **__: None)
    outcome = await run(script("true"), {**SHELL, "limits": {"cpu_seconds": 7}})
    assert outcome.kind is Result.NOT_SENT
    assert "install util-linux" in outcome.error


@needs_prlimit
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_limits_hold_for_another_user(run) -> None:
    """The number of processes, which binds no root, binds the user that programs run as."""
    section = {**SHELL, "user": "nobody", "limits": {"processes": 1}}
    outcome = await run(script("sleep 0; echo forked"), section)
    assert outcome.kind is Result.REFUSED
    assert "forked" not in outcome.result["stdout"]


async def test_cancelling_ends_the_program(context, announcement) -> None:
    """A cancelled step leaves nothing running."""
    params = script(f"echo $$ > {announcement.path}; sleep 60")
    task = asyncio.create_task(ExecRun().run(params, context({"exec": SHELL})))
    child = int(await announcement.heard())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_the_plan_is_the_command_line_in_one_line() -> None:
    """Where one argument ends and the next begins can be seen, and nothing else happens on the screen."""
    assert ExecRun().plan(Run(argv=["/usr/bin/systemctl", "restart", "web"])) == "run /usr/bin/systemctl restart web"
    assert ExecRun().plan(Run(argv=["a b", "c\n\x1b[2J"])) == "run 'a b' 'c\\n\\x1b[2J'"


def test_only_the_author_makes_it_repeatable() -> None:
    """`exec.run` writes and isn't idempotent unless it says so; `exec.probe` reads."""
    assert not ExecRun().idempotent(Run(argv=["x"]))
    assert ExecRun().idempotent(Run(argv=["x"], idempotent=True))
    assert (ExecProbe().effect, ExecProbe().idempotent(Probe(argv=["x"]))) == (Effect.READ, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"argv": []},
        {"argv": "ls -l"},
        {"argv": ["x", 1]},
        {"argv": ["a\0b"]},
        {"argv": ["x"], "env": {"A=B": "1"}},
        {"argv": ["x"], "env": {"A": 1}},
        {"argv": ["x"], "ok": []},
        {"argv": ["x"], "ok": ["0"]},
        {"argv": ["x"], "shell": True},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    """Types are not guessed, and unknown names are errors."""
    with pytest.raises(ValidationError):
        Run.model_validate(wrong)


def test_a_probe_has_no_say_in_being_repeatable() -> None:
    """A read is idempotent: the parameter isn't there."""
    with pytest.raises(ValidationError):
        Probe.model_validate({"argv": ["x"], "idempotent": True})
