"""`ssh.run` and `ssh.probe` against Debian's sshd, and against a server that does what no good one would."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from platforms.proxy import broken_port
from platforms.ssh import Server, running
from pydantic import ValidationError

from remediator.actions.bounds import encoded_size
from remediator.actions.protocol import MAX_RESULT_BYTES, Effect, Outcome, Result
from remediator.actions.ssh import Probe, Run, SshProbe, SshRun
from remediator.actions.ssh import session as session_module
from remediator.actions.ssh.command import command_line

NASTY = [
    "a b",
    "",
    "'",
    '"',
    "\\",
    "\\'",
    "'; touch x; '",
    "\\'\" ; touch x; \"\\'",
    "$(touch x)",
    "`touch x`",
    "*",
    "~",
    "=ls",
]
NASTY += ["!!", "#", "-n", "%s", "{a,b}", "<x", "a\\", "päß🔥", "^a", "x;y&z|w"]


def here(*argv: str, **given: Any) -> Run:
    """Give parameters that run a program on this machine."""
    return Run(host="127.0.0.1", argv=list(argv), **given)


def shell(text: str, **given: Any) -> Run:
    """Give parameters that run a script on this machine."""
    return here("/bin/sh", "-c", text, **given)


def alive(pid: int) -> bool:
    """Tell whether there is such a process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def server() -> Server:
    """Give the server, with nothing noted."""
    server = running()
    server.forget()
    return server


@pytest.fixture
def run(context, server: Server):
    """Run `ssh.run` to its end under an `ssh` section."""

    async def go(params: Run, section: dict[str, Any] | None = None, seconds: float = 10.0) -> Outcome:
        return await SshRun().run(params, context(section or server.section(), seconds=seconds))

    return go


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Wait for nobody's end for long."""
    monkeypatch.setattr(session_module, "GRACE", 0.2)
    monkeypatch.setattr(session_module, "_LAST_WAIT", 0.2)


async def test_the_result_has_all_that_a_rule_may_ask_for(run) -> None:
    """Status, both outputs, stdout as JSON where it is, and the time it took."""
    outcome = await run(shell("""echo '{"free": 7}'; echo noise >&2"""))
    assert outcome.kind is Result.OK, outcome.error
    assert 0 < outcome.result.pop("seconds") < 5
    assert outcome.result == {
        "exit_status": 0, "exit_signal": None, "stdout": '{"free": 7}\n', "stderr": "noise\n", "json": {"free": 7},
        "truncated": False,
    }  # fmt: skip


@pytest.mark.parametrize("bare", [False, True])
async def test_another_status_is_a_refusal_with_the_last_words(run, bare: bool) -> None:
    """Unless it is among those that are fine."""
    outcome = await run(shell("echo first >&2; echo no such unit >&2; exit 4", bare=bare))
    assert (outcome.kind, outcome.result["exit_status"]) == (Result.REFUSED, 4)
    assert outcome.error == "/bin/sh on 127.0.0.1 ended with exit status 4: no such unit"
    fine = await run(shell("exit 4", bare=bare, ok=[0, 4]))
    assert fine.kind is Result.OK


async def test_a_program_that_is_not_there_is_a_refusal(run) -> None:
    """As its shell says it."""
    outcome = await run(here("nosuchprogram"))
    assert (outcome.kind, outcome.result["exit_status"]) == (Result.REFUSED, 127)
    assert "not found" in outcome.error


@pytest.mark.parametrize("bare", [False, True])
async def test_p10_every_argument_arrives_as_it_is(run, server: Server, bare: bool) -> None:
    """Through the user's shell, and the one that ends the program."""
    outcome = await run(here("note", *NASTY, bare=bare))
    assert outcome.kind is Result.OK, outcome.error
    assert server.seen() == [{"argv": ["note", *NASTY], "stdin": ""}]


@pytest.mark.parametrize("name", ["sh", "dash", "bash", "zsh", "ksh", "mksh", "busybox", "fish", "csh", "tcsh"])
@pytest.mark.parametrize("kept", [None, 0])
def test_p10_every_shell_reads_the_same(name: str, kept: int | None, tmp_path: Path) -> None:
    """Whichever the user over there has."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    argv = [found, *(["sh"] if name == "busybox" else []), "-c", command_line(["printf", "%s\\n", *NASTY], kept)]
    said = subprocess.run(
        argv, check=False, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True
    )
    assert said.stdout.decode().split("\n")[:-1] == NASTY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("text", [None, "", "one\r\ntwo", "päß🔥" * 100_000])
async def test_its_input_arrives_whole_and_ends(run, server: Server, text: str | None, bare: bool) -> None:
    """Also where it is longer than any window or pipe."""
    outcome = await run(here("note", stdin=text, bare=bare))
    assert outcome.kind is Result.OK, outcome.error
    assert server.seen() == [{"argv": ["note"], "stdin": text or ""}]


@pytest.mark.parametrize("bare", [False, True])
async def test_input_that_nobody_reads_holds_nothing_up(run, bare: bool) -> None:
    """Ended is ended."""
    outcome = await run(here("true", stdin="x" * 4_000_000, bare=bare))
    assert outcome.kind is Result.OK, outcome.error


@pytest.mark.parametrize("bare", [False, True])
async def test_of_much_output_the_beginning_and_the_end_are_kept(run, bare: bool) -> None:
    """All of it is read, so that the program never waits."""
    outcome = await run(shell("echo first; yes | head -c 3000000; echo last", bare=bare))
    assert outcome.kind is Result.OK, outcome.error
    stdout = outcome.result["stdout"]
    assert stdout.startswith("first\ny\n")
    assert stdout.endswith("y\nlast\n")
    assert "cut" in stdout
    assert (outcome.result["truncated"], outcome.result["json"]) == (True, None)
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


BARE = pytest.param(True, marks=pytest.mark.skipif(os.getuid() == 0, reason="sshd sends no signals for root"))


@pytest.mark.parametrize("bare", [False, BARE])
async def test_endless_output_ends_with_the_step(run, bare: bool) -> None:
    """And with it the program."""
    outcome = await run(shell("echo $$ >&2; exec yes", bare=bare), seconds=1.0)
    assert outcome.kind is Result.ERROR
    assert "had not ended after" in outcome.error
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES
    assert not alive(int(outcome.result["stderr"].split()[0]))


@pytest.mark.parametrize("bare", [False, BARE])
async def test_the_program_ends_with_the_step(run, bare: bool) -> None:
    """With all of its process group, and it is told so."""
    outcome = await run(shell("sleep 100 & echo $! $$; wait", bare=bare), seconds=1.0)
    assert outcome.kind is Result.ERROR
    assert outcome.error.endswith("and was ended")
    pids = [int(word) for word in outcome.result["stdout"].split()]
    assert len(pids) == 2
    assert not any(map(alive, pids))


@pytest.mark.slow
@pytest.mark.parametrize("bare", [False, BARE])
async def test_a_program_that_will_not_end_is_killed(run, bare: bool) -> None:
    """After 5 s in which it may tidy up."""
    outcome = await run(shell("trap '' TERM; echo $$; while :; do sleep 1; done", bare=bare), seconds=1.0)
    assert outcome.kind is Result.ERROR
    assert 5.0 <= outcome.result["seconds"] < 8.0
    assert not alive(int(outcome.result["stdout"]))


FAREWELL = "exec 2>/dev/null; trap 'echo ended > {0}; exit' TERM; echo begun > {0}; while :; do sleep 0.05; done"


@pytest.mark.parametrize("bare", [False, BARE])
async def test_the_program_ends_when_the_step_is_cancelled(run, announcement, bare: bool) -> None:
    """As at its deadline."""
    going = asyncio.create_task(run(shell(FAREWELL.format(announcement.path), bare=bare)))
    assert await announcement.heard() == "begun"
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert await announcement.heard() == "ended"


@asynccontextmanager
async def severable(port: int) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Give a port that leads to another, and a way to cut what goes over it."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader2, writer2 = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, writer2))
        await asyncio.gather(pump(reader, writer2), pump(reader2, writer))

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()

    proxy = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield proxy.sockets[0].getsockname()[1], cut
    finally:
        cut()
        proxy.close()
        await proxy.wait_closed()


async def test_p14_the_program_ends_with_the_connection(run, server: Server, announcement) -> None:
    """And nobody says that it went well."""
    async with severable(server.port) as (port, cut):
        going = asyncio.create_task(run(shell(FAREWELL.format(announcement.path)), server.section(port)))
        assert await announcement.heard() == "begun"
        cut()
        outcome = await going
        assert await announcement.heard() == "ended"
    assert outcome.kind is Result.ERROR
    assert "was not seen to its end" in outcome.error
    assert outcome.error.endswith("it may have been run")


async def test_p14_the_program_ends_when_the_daemon_is_killed(server: Server, announcement, tmp_path: Path) -> None:
    """Nobody is left to send it anything."""
    script = tmp_path / "daemon.py"
    script.write_text(f"""
import asyncio
from remediator.actions.protocol import Context
from remediator.actions.ssh import Run, SshRun
async def main():
    context = Context(asyncio.get_running_loop().time() + 60, {server.section()!r}, None)
    await SshRun().run(Run(host="127.0.0.1", argv=["/bin/sh", "-c", {FAREWELL.format(announcement.path)!r}]), context)
asyncio.run(main())
""")
    daemon = subprocess.Popen([sys.executable, script])  # noqa: ASYNC220 - it starts at once
    try:
        assert await announcement.heard() == "begun"
    finally:
        daemon.kill()
        daemon.wait()
    assert await announcement.heard() == "ended"


async def test_p14_what_the_program_leaves_running_is_ended(run, announcement) -> None:
    """As with `exec.run`; the step doesn't wait for it."""
    ready = f"{announcement.path}.ready"  # before it can say farewell, it is ended without
    left = FAREWELL.format(announcement.path).replace("while", f"echo > {ready}; while")
    text = f"mkfifo {ready}; ({left}) & read _ < {ready}; echo started"
    outcome = await run(shell(text))
    assert (outcome.kind, outcome.result["stdout"]) == (Result.OK, "started\n")
    assert outcome.result["seconds"] < 5
    words = await announcement.heard()
    while not words.endswith("ended"):
        words = await announcement.heard()


async def test_p14_nothing_stays_for_long_after_a_program(run, monkeypatch, server: Server) -> None:
    """A bare command that leaves somebody holding its output is told as far as it was heard."""
    monkeypatch.setattr(session_module, "_QUIET", 0.2)
    outcome = await run(shell("sleep 3 & echo started", bare=True))
    assert (outcome.kind, outcome.result["stdout"]) == (Result.OK, "started\n")
    assert outcome.result["truncated"]


async def test_a_host_without_a_known_key_is_not_spoken_to(context, tmp_path: Path, server: Server) -> None:
    """Not even connected to; the reason says how to add it."""
    (tmp_path / "known_hosts").write_text(f"other.example.com {(server.folder / 'host.pub').read_text()}")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        section = server.section(port, known_hosts=str(tmp_path / "known_hosts"))
        outcome = await SshRun().run(here("note"), context(section))
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert outcome.kind is Result.NOT_SENT
    assert f"`ssh-keyscan -p {port} 127.0.0.1`" in outcome.error


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
async def test_a_host_with_another_key_gets_nothing(run, tmp_path: Path, server: Server, kind: str) -> None:
    """Of the same kind, or of one that it doesn't have."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / "key"], check=True)
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:* {(tmp_path / 'key.pub').read_text()}")
    outcome = await run(here("note"), server.section(known_hosts=str(tmp_path / "known_hosts")))
    assert outcome.kind is Result.NOT_SENT
    assert "key" in outcome.error
    assert server.seen() == []


async def test_a_key_that_is_not_let_in_is_a_refusal(run, tmp_path: Path, server: Server) -> None:
    """Trying it again would only lock us out."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    outcome = await run(here("note"), server.section(key=str(tmp_path / "key")))
    assert outcome.kind is Result.REFUSED
    assert "add its public half" in outcome.error
    assert server.seen() == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"key": "missing"}, "missing can't be used: No such file or directory; correct ssh.key"),
        ({"key": "config"}, "correct ssh.key"),
        ({"key": "locked"}, "assphrase"),
        ({"known_hosts": "missing"}, "missing can't be read: No such file or directory; correct ssh.known_hosts"),
    ],
)
async def test_files_that_can_not_be_used_are_named(run, server: Server, changed: dict[str, str], words: str) -> None:
    """Nothing was sent."""
    locked = server.folder / "locked"
    if not locked.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret phrase", "-f", locked], check=True)
    outcome = await run(here("note"), server.section(**changed))
    assert outcome.kind is Result.NOT_SENT
    assert words in outcome.error
    assert server.seen() == []


async def test_nothing_of_the_daemons_user_is_used(run, server: Server, tmp_path: Path, monkeypatch) -> None:
    """No configuration, no agent, no keys of their own, no known hosts of their own."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text(f"Host *\n  ProxyCommand touch {tmp_path}/evil\n  User nobody\n  Port 1\n")
    (folder / "ca-bundle.crt").write_text("nonsense")
    for name in ("id_ed25519", "id_ed25519.pub"):
        (folder / name).write_text((server.folder / name.replace("id_ed25519", "user")).read_text())
    with closing(socket.socket(socket.AF_UNIX)) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        agent.setblocking(False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert (await run(here("note"))).kind is Result.OK
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
        assert (await run(here("note"), server.section(key=str(tmp_path / "key")))).kind is Result.REFUSED
        with pytest.raises(BlockingIOError):
            agent.accept()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("host", "hosts", "covered"),
    [
        ("web-1.example.com", ["*.example.com"], True),
        ("WEB-1.example.COM", ["*.Example.com"], True),
        ("example.com", ["*.example.com"], False),
        ("web-1.example.com.evil.net", ["*.example.com"], False),
        ("10.0.0.7", ["10.0.0.*"], True),
        ("fd00::7", ["10.*", "fd00::*"], True),
        ("a", ["b", "c"], False),
    ],
)
async def test_only_hosts_of_the_list_are_reached(
    run, server: Server, host: str, hosts: list[str], covered: bool
) -> None:
    """It shows when the rule is checked, and again when it runs."""
    params = Run(host=host, argv=["note"])
    settings = server.section(hosts=hosts)
    why = SshRun().check(params, settings)
    assert (why is None) == covered
    if not covered:
        assert "no pattern of ssh.hosts" in why
        outcome = await run(params, settings)
        assert (outcome.kind, outcome.error) == (Result.NOT_SENT, why)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "-oProxyCommand=x",
        "user@host",
        "host:22",
        "a_b",
        "a..b",
        ".a",
        "a\n",
        "a/b",
        "[::1]",
        "*",
        "fe80::1%eth0",
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    """By its form alone."""
    with pytest.raises(ValidationError, match="it should be the name or address of a host"):
        Run(host=host, argv=["true"])


@pytest.mark.parametrize(
    ("kind", "words"), [("refused", "refused"), ("hang", "within the step's time"), ("cut", ""), ("garbage", "")]
)
async def test_without_a_connection_nothing_was_sent(run, server: Server, kind: str, words: str) -> None:
    """Provably: trying again is safe."""
    async with broken_port(kind) as port:
        outcome = await run(here("note"), server.section(port), seconds=1.0)
    assert outcome.kind is Result.NOT_SENT
    assert words in outcome.error.lower()
    assert outcome.error.startswith("nothing was sent to 127.0.0.1, port ")


async def test_a_name_that_nobody_knows_was_not_reached(run, server: Server) -> None:
    """Its key is known, its address is not."""
    known = server.folder / "known_elsewhere"
    known.write_text(f"nowhere.invalid {(server.folder / 'host.pub').read_text()}")
    section = server.section(hosts=["*"], known_hosts=str(known))
    outcome = await run(Run(host="nowhere.invalid", argv=["note"]), section)
    assert outcome.kind is Result.NOT_SENT


async def test_a_command_that_is_too_long_is_not_sent(run, server: Server) -> None:
    """SSH promises no more room."""
    outcome = await run(here("note", "x" * 40_000))
    assert outcome.kind is Result.NOT_SENT
    assert "give long text as stdin" in outcome.error
    assert server.seen() == []


async def test_without_asyncssh_the_reason_says_what_to_install(run, monkeypatch) -> None:
    """It is an extra."""
    import remediator.actions.ssh as package

    monkeypatch.setitem(sys.modules, "asyncssh", None)
    monkeypatch.delitem(sys.modules, "remediator.actions.ssh.session")
    monkeypatch.delattr(package, "session")
    outcome = await run(here("note"))
    assert outcome.kind is Result.NOT_SENT
    assert "pip install 'remediator[ssh]'" in outcome.error


def test_asyncssh_is_loaded_when_it_is_wanted() -> None:
    """A daemon that reaches nobody has no need of it."""
    code = "import sys, remediator.actions.ssh, remediator.actions.tls; print({'asyncssh', 'cryptography'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_plan_is_one_line_that_can_be_copied() -> None:
    """Quoted as for a shell, with nothing unseen in it."""
    params = Run(host="web-1", port=2222, argv=["systemctl", "restart", "a b\x1b"])
    assert SshRun().plan(params) == "run systemctl restart 'a b\\x1b' on web-1, port 2222"
    assert SshProbe().plan(Probe(host="web-1", argv=["df"])) == "run df on web-1"


def test_effects_are_as_the_author_says() -> None:
    """A probe is a read; whether a run may be repeated stands in the rule."""
    assert (SshProbe().effect, SshRun().effect) == (Effect.READ, Effect.WRITE)
    assert not SshRun().idempotent(here("true"))
    assert SshRun().idempotent(here("true", idempotent=True))


# --- a server of ours, that does what no good one would ---


class _Open(asyncssh.SSHServer):
    """It lets everybody in."""

    def __init__(self, session: asyncssh.SSHServerSession[str] | None) -> None:
        self.session = session

    def begin_auth(self, username: str) -> bool:
        return False

    def session_requested(self) -> asyncssh.SSHServerSession[str] | bool:
        return self.session or False


@pytest.fixture
async def odd(tmp_path: Path, server: Server):
    """Start servers that do with a command what they are told; gives the settings that lead there."""
    async with AsyncExitStack() as stack:

        async def start(
            handler: Callable[[asyncssh.SSHServerProcess[str]], Any] | None = None,
            session: asyncssh.SSHServerSession[str] | None = None,
        ) -> dict[str, Any]:
            listening = await asyncssh.listen(
                "127.0.0.1", 0, server_factory=lambda: _Open(session), server_host_keys=[str(server.folder / "host")],
                process_factory=handler, config=None,
            )  # fmt: skip
            stack.push_async_callback(listening.wait_closed)
            stack.callback(listening.close)
            return server.section(listening.get_port())

        yield start


class _Signalled(asyncssh.SSHServerSession[str]):
    """A command that ends by a signal of that name, and by no other."""

    def __init__(self, mortal: str) -> None:
        self.mortal = mortal
        self.seen: list[str] = []

    def connection_made(self, chan: asyncssh.SSHServerChannel[str]) -> None:
        self.channel = chan

    def exec_requested(self, command: str) -> bool:
        return True

    def signal_received(self, signal: str) -> None:
        self.seen.append(signal)
        if signal == self.mortal:
            self.channel.exit_with_signal(signal)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("mortal", "signals"), [("TERM", ["TERM"]), ("KILL", ["TERM", "KILL"])])
async def test_a_bare_command_is_ended_by_signals(run, odd, mortal: str, signals: list[str]) -> None:
    """First the one that asks, then the one that doesn't."""
    session = _Signalled(mortal)
    outcome = await run(here("x", bare=True), await odd(session=session), seconds=0.5)
    assert session.seen == signals
    assert (outcome.kind, outcome.result["exit_signal"]) == (Result.ERROR, mortal)
    assert outcome.error.endswith("and was ended")


async def test_the_command_is_what_was_meant(run, odd) -> None:
    """Bare, it is the program and its arguments; else these come last."""
    seen: list[str] = []

    def handler(process: asyncssh.SSHServerProcess[str]) -> None:
        seen.append(process.command or "")
        process.exit(0)

    section = await odd(handler)
    assert (await run(here("systemctl", "restart", "web.service", bare=True), section)).kind is Result.OK
    assert (await run(here("note", *NASTY, bare=True), section)).kind is Result.OK
    assert (await run(here("note", *NASTY, stdin="päß"), section)).kind is Result.OK
    assert seen[0] == "systemctl restart web.service"
    assert shlex.split(seen[1]) == ["note", *NASTY]
    assert shlex.split(seen[2])[:3] == ["exec", "/bin/sh", "-c"]
    assert shlex.split(seen[2])[4:] == ["remediator", "5", "note", *NASTY]


async def test_a_signal_that_ended_it_is_told(run, odd) -> None:
    """It has no exit status then."""
    outcome = await run(here("x"), await odd(lambda process: process.exit_with_signal("SEGV")))
    assert (outcome.kind, outcome.result["exit_signal"], outcome.result["exit_status"]) == (
        Result.REFUSED,
        "SEGV",
        None,
    )
    assert "was ended by SIGSEGV" in outcome.error


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (lambda process: process.close(), "without saying how it ended"),
        (lambda process: process.channel.get_connection().abort(), "was not seen to its end"),
    ],
)
async def test_an_end_that_is_not_told_is_unknown(run, odd, handler: Callable[[Any], None], words: str) -> None:
    """It is no success."""
    outcome = await run(here("x"), await odd(handler))
    assert outcome.kind is Result.ERROR
    assert words in outcome.error
    assert outcome.error.endswith("it may have been run")


async def test_a_server_that_runs_no_commands_refuses(run, odd) -> None:
    """Nothing was run."""
    outcome = await run(here("x"), await odd())
    assert outcome.kind is Result.REFUSED
    assert "refuses to run a command" in outcome.error


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_ends_nothing_is_left_within_the_grace(run, odd) -> None:
    """And the operator is told to look."""
    done = asyncio.Event()

    async def handler(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("begun")
        while not done.is_set():
            with suppress(asyncssh.SignalReceived, asyncssh.BreakReceived):
                await done.wait()

    outcome = await run(here("x"), await odd(handler), seconds=0.5)
    done.set()
    assert (outcome.kind, outcome.result["stdout"]) == (Result.ERROR, "begun")
    assert "may still run: look there, and end it by hand" in outcome.error
    assert outcome.result["seconds"] < 2
