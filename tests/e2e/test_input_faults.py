"""One real daemon, and every bad input that somebody may send to it: each is answered as `interfaces.md` says.

The tests share the daemon and run in order; the last ones look at what all of that has left behind.
"""

from __future__ import annotations

import gzip
import json
import re
import select
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import bodies
import pytest
from bodies import MEBIBYTE, alert, answer_on, connect, head, note, post, refused
from daemon import Answer, Daemon, eventually, fetch

pytestmark = pytest.mark.slow

RULES = """
rules:
  - name: note
    summary: Notes its argument, exactly as it came.
    match: alertname=Note
    target: 'note/{{ labels.unit }}'
    steps: [{uses: exec.run, with: {argv: [NOTE, '{{ labels.value }}', 'end']}}]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Lend the daemon of all these tests; its program leaves its arguments in `args/RUN`."""
    folder = tmp_path_factory.mktemp("input")
    (folder / "args").mkdir()
    program = folder / "note"
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "args/$REMEDIATOR_RUN"\n')
    program.chmod(0o755)
    (folder / "rules.yml").write_text(RULES.replace("NOTE", str(program)))
    secrets = {"TOKEN": bodies.TOKEN, "PASSWORD": bodies.PASSWORD}
    for name, text in secrets.items():
        (folder / name).write_text(text)
    config = {
        "mode": "auto",
        "rules": ["rules.yml"],
        "guard": {"limit": "off", "storm": "off"},
        "secrets": {name: {"file": name} for name in secrets},
        "webhook": {"token": {"secret": "TOKEN"}, "basic": {"user": bodies.USER, "password": {"secret": "PASSWORD"}}},
        "exec": {"allow": [str(program)], "cwd": "."},
        "log": {"format": "console"},
    }
    with Daemon(folder, config) as daemon:
        daemon.credential = bodies.TOKEN
        yield daemon


def resident(daemon: Daemon, what: str = "VmRSS") -> int:
    """Give the daemon's memory in MiB: now, or at its highest (`VmHWM`)."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{what}:"))


# -- slow --


@pytest.fixture(scope="module")
def slow(daemon: Daemon) -> Iterator[Future[list[tuple[float, Answer]]]]:
    """Let slow senders be at it while the other tests run; gives what they are answered in the end."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(bodies.SlowSenders(daemon).drip)


@pytest.mark.fault("slow body")
def test_slow_senders_hold_nobody_up(daemon: Daemon, slow: Future[list[tuple[float, Answer]]]) -> None:
    """While fifty bodies drip in, others are answered at once."""
    for number in range(20):
        began = time.monotonic()
        assert daemon.post({"alerts": [alert(f"beside-{number}")]}).status == 200
        assert time.monotonic() - began < 2
    assert not slow.done()


# -- who may send --


@pytest.mark.parametrize("header", bodies.STRANGERS)
def test_a_missing_or_wrong_credential_is_401_before_the_body_is_read(daemon: Daemon, header: str) -> None:
    """Whatever stands in the header, a stranger is told so at once, and not by way of a failure inside."""
    with closing(connect(daemon)) as connection:
        lines = ["POST /webhook/alertmanager HTTP/1.1", "Host: here", "Content-Length: 1000000"]
        lines += [f"Authorization: {header}"] if header else []
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        refused(answer_on(connection), 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic"])
def test_the_token_and_the_password_are_both_taken(daemon: Daemon, scheme: str) -> None:
    """Alertmanager may be set up with either."""
    shown = bodies.basic(bodies.PASSWORD) if scheme == "Basic" else f"{scheme} {bodies.TOKEN}"
    body = json.dumps({"alerts": [alert("credential")]}).encode()
    assert post(daemon, body, {"Authorization": shown}).status == 200


# -- bodies that are too much --


@pytest.mark.fault("body over the limit")
def test_a_body_announced_as_too_large_is_413_before_it_is_sent(daemon: Daemon) -> None:
    """The limit is held against Content-Length, and nothing is read."""
    with closing(connect(daemon)) as connection:
        connection.sendall(head(daemon, f"Content-Length: {33 * MEBIBYTE}"))
        refused(answer_on(connection), 413)


@pytest.mark.fault("body over the limit")
def test_a_body_that_grows_too_large_is_413(daemon: Daemon) -> None:
    """A chunked body announces nothing: it is cut off at the limit."""
    with closing(connect(daemon)) as connection:
        connection.sendall(head(daemon, "Transfer-Encoding: chunked"))
        chunk = b"%x\r\n" % MEBIBYTE + b" " * MEBIBYTE + b"\r\n"
        with suppress(ConnectionError):
            for _ in range(40):
                connection.sendall(chunk)
                if select.select([connection], [], [], 0)[0]:
                    break
        refused(answer_on(connection), 413)


@pytest.mark.fault("10⁶")
def test_p16_many_growing_bodies_at_once_are_bounded_together(daemon: Daemon) -> None:
    """Bodies that announce no length count as well: past what memory is given to them, senders are told to come again."""
    before = resident(daemon)
    chunk = b"%x\r\n" % MEBIBYTE + b" " * MEBIBYTE + b"\r\n"
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(connect(daemon))) for _ in range(10)]
        for connection in connections:
            with suppress(ConnectionError):
                connection.sendall(head(daemon, "Transfer-Encoding: chunked"))
                for _ in range(30):
                    connection.sendall(chunk)
        grown = resident(daemon) - before
        print(f"10 chunked bodies of 30 MiB: {grown} MiB more")
        waiting = [connection for connection in connections if not select.select([connection], [], [], 1)[0]]
        answers = [answer_on(connection) for connection in connections if connection not in waiting]
    assert grown < 200
    assert {answer.status for answer in answers} == {503}


def test_a_sender_that_leaves_in_the_midst_of_a_large_body_holds_nobody_up(daemon: Daemon) -> None:
    """Nothing is done about what it has sent so far, and nobody waits for that."""
    with closing(connect(daemon)) as connection:
        connection.sendall(head(daemon, f"Content-Length: {20 * MEBIBYTE}") + b" " * 19 * MEBIBYTE)
    began = time.monotonic()
    while time.monotonic() - began < 1:
        asked = time.monotonic()
        assert fetch(f"{daemon.url}/healthz").status == 200
        assert time.monotonic() - asked < 0.5


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "identity, gzip"])
@pytest.mark.fault("compressed bodies")
def test_a_compressed_body_is_refused_unopened(daemon: Daemon, coding: str) -> None:
    """Alertmanager sends none, and a small one may become anything."""
    bomb = gzip.compress(b" " * 30 * MEBIBYTE)
    assert "compressed" in refused(post(daemon, bomb, {"Content-Encoding": coding}), 415)


@pytest.mark.parametrize("count", [60_000, 2_000_000])
@pytest.mark.fault("10⁶")
def test_more_alerts_than_the_limit_are_413_in_bounded_memory(daemon: Daemon, count: int) -> None:
    """However many fit into a body that is not too large by itself."""
    answer = post(daemon, b'{"alerts":[' + b",".join([b"{}"] * count) + b"]}")
    refused(answer, 413)
    assert resident(daemon, "VmHWM") < 400


def test_a_large_group_label_is_not_multiplied_by_the_alerts(daemon: Daemon) -> None:
    """What the group says is bounded like a label: kept with each of 300 alerts, 256 KiB of it would be 75 MiB."""
    body = {"alerts": [alert(f"grouped-{number}") for number in range(300)], "groupLabels": {"a": "x" * 256 * 1024}}
    before = stored(daemon)
    refused(daemon.post(body), 400)
    assert stored(daemon) - before < 10 * MEBIBYTE


def stored(daemon: Daemon) -> int:
    """Give the size of the store in bytes."""
    return sum(file.stat().st_size for file in daemon.store.parent.iterdir())


@pytest.mark.fault("20,000 alerts in one body", store="sqlite")
def test_20_000_alerts_in_one_body_are_taken_while_others_are_served(daemon: Daemon) -> None:
    """A storm is acknowledged in bounded time, and the daemon answers everyone else meanwhile."""
    alerts = [alert(f"storm-{number}", annotations={"summary": "x" * 200}) for number in range(20_000)]
    body = json.dumps({"alerts": alerts}).encode()
    waits: list[float] = []
    with ThreadPoolExecutor(1) as thread:
        began = time.monotonic()
        storm = thread.submit(post, daemon, body)
        while not storm.done():
            asked = time.monotonic()
            assert fetch(f"{daemon.url}/healthz").status == 200
            waits.append(time.monotonic() - asked)
        took = time.monotonic() - began
    print(f"20,000 alerts took {took:.1f} s; /healthz at most {max(waits):.3f} s, {len(waits)} times")
    assert storm.result().json()["alerts"] == 20_000
    assert took < 20
    assert max(waits) < 1.5


# -- bodies that are no notifications --


@pytest.mark.parametrize("body", bodies.MALFORMED.values(), ids=bodies.MALFORMED)
@pytest.mark.fault("JSON nested 100,000 deep")
def test_a_malformed_body_is_400_with_the_reason(daemon: Daemon, body: bytes) -> None:
    """It would be no better for being sent again, so the sender is told what is wrong with it."""
    refused(daemon.post(body), 400)


# -- alerts that can't be taken --


@pytest.mark.parametrize("bad", bodies.BAD.values(), ids=bodies.BAD)
@pytest.mark.fault("NUL or lone surrogates")
@pytest.mark.fault("label bombs")
def test_an_alert_that_cannot_be_taken_is_refused_by_itself(daemon: Daemon, bad: Any) -> None:
    """The others of its body are taken; it is counted, and the record says why it was refused."""
    before = daemon.metric("remediator_alerts_total")
    answer = daemon.post({"alerts": [alert("first"), bad, alert("last")]})
    assert answer.status == 200, answer.body[:500]
    assert (answer.json()["alerts"], answer.json()["refused"]) == (2, 1)
    assert daemon.metric("remediator_alerts_total") == before + 3
    (event,) = [
        event["data"]
        for event in daemon.events("notification.received")
        if event["data"]["notification"] == answer.json()["notification"]
    ]
    assert [each["position"] for each in event["refused"]] == [1]
    assert 0 < len(event["refused"][0]["why"]) < 1000
    refused(daemon.post({"alerts": [bad]}), 400)


# -- odd, but to be taken --


@pytest.mark.parametrize(("odd", "fires"), bodies.ODD.values(), ids=bodies.ODD)
@pytest.mark.fault("ancient `startsAt`")
@pytest.mark.fault("resolved before firing")
def test_an_odd_alert_is_taken(daemon: Daemon, odd: Any, fires: bool) -> None:
    """Senders have their ways, and an alert that can be understood is not lost."""
    answer = daemon.post({"alerts": [odd]})
    assert answer.status == 200, answer.body
    assert answer.json()["refused"] == 0
    name = odd["labels"].get("alertname", "")
    firing = daemon.ask("/alerts", alertname=name, limit=1000)["alerts"]
    assert any(each["labels"] == odd["labels"] for each in firing) is fires


@pytest.mark.fault("replayed body", store="sqlite")
def test_a_body_sent_again_leads_to_no_new_run(daemon: Daemon) -> None:
    """Byte for byte the same, at once and many times."""
    body = json.dumps({"alerts": [note("replayed", "x")]}).encode()
    with ThreadPoolExecutor(4) as senders:
        assert {each.status for each in senders.map(daemon.post, [body] * 12)} == {200}
    assert [run["target"] for run in daemon.runs(rule="note")].count("note/replayed") == 1


# -- values that mean something elsewhere --


@pytest.mark.parametrize("value", bodies.INERT)
@pytest.mark.fault("CR/LF")
def test_p10_a_hostile_value_arrives_as_one_inert_argument(daemon: Daemon, value: str) -> None:
    """No shell, no template and no option parser sees it on the way."""
    run = noted(daemon, value)
    assert run["state"] == "succeeded", run
    assert (daemon.folder / "args" / run["id"]).read_bytes() == f"{value}\0end\0".encode()


def test_an_empty_value_is_a_label_that_is_not_there(daemon: Daemon) -> None:
    """A blank must not be acted on."""
    run = noted(daemon, "")
    assert (run["state"], run["reason"]) == ("blocked", "template_error")


@pytest.mark.parametrize("value", bodies.UNSAFE)
@pytest.mark.fault("CR/LF")
def test_p10_a_value_that_could_steer_a_program_is_refused(daemon: Daemon, value: str) -> None:
    """An option where an argument begins, and control characters: the decision is `blocked`, and nothing is started."""
    run = noted(daemon, value)
    assert (run["state"], run["reason"]) == ("blocked", "unsafe_value")
    assert not (daemon.folder / "args" / run["id"]).exists()


def noted(daemon: Daemon, value: str) -> dict[str, Any]:
    """Post a value, and give its run when that is over."""
    answer = daemon.post({"alerts": [note(f"value-{value.encode().hex()}", value)]})
    assert answer.status == 200, answer.body
    (run,) = answer.json()["runs"]
    eventually(lambda: daemon.run(run)["ended_at"], "the run is over")
    return daemon.run(run)


# -- requests that are none --


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhook/alertmanager", 405),
        ("PUT", "/webhook/alertmanager", 405),
        ("POST", "/healthz", 405),
        ("POST", "/webhook", 404),
        ("GET", "/webhook/alertmanager/../../etc/passwd", 404),
        ("GET", "/api/v1/none", 404),
        ("GET", "/api/v1/runs/none", 404),
        ("DELETE", "/api/v1/runs", 405),
        ("GET", "/api/v1/runs?limit=x", 400),
        ("GET", "/api/v1/runs?state=asleep", 400),
    ],
)
def test_a_wrong_path_or_method_is_told_in_the_shape_of_errors(
    daemon: Daemon, method: str, path: str, status: int
) -> None:
    """Programs read errors too, wherever they come from."""
    refused(fetch(daemon.url + path, method=method, token=daemon.token), status)


@pytest.mark.parametrize("sent", bodies.NO_REQUESTS.values(), ids=bodies.NO_REQUESTS)
def test_what_is_no_request_is_refused(daemon: Daemon, sent: bytes) -> None:
    """A request that two programs could read in two ways is not read at all."""
    with closing(connect(daemon)) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        assert 400 <= answer_on(connection).status < 500


def test_a_sender_that_leaves_halfway_is_no_fault_of_ours(daemon: Daemon) -> None:
    """In the head, in the body, and before the answer."""
    body = json.dumps({"alerts": [alert("left")]}).encode()
    for sent in (
        head(daemon)[:30],
        head(daemon, "Content-Length: 1000") + b"{",
        head(daemon, f"Content-Length: {len(body)}") + body,
    ):
        connection = connect(daemon)
        connection.sendall(sent)
        connection.close()
    assert daemon.post({"alerts": [alert("stayed")]}).status == 200


# -- what is left --


@pytest.mark.fault("slow body")
def test_slow_bodies_are_given_up_in_the_end(slow: Future[list[tuple[float, Answer]]]) -> None:
    """A body has half a minute to arrive; then its sender is told to come again."""
    answers = slow.result()
    assert len(answers) == 50
    assert {answer.status for _, answer in answers} == {503}
    assert 25 < min(after for after, _ in answers) <= max(after for after, _ in answers) < 45


def test_no_label_reaches_the_metrics(daemon: Daemon) -> None:
    """An alert can't choose what Prometheus keeps."""
    told = fetch(f"{daemon.url}/metrics").body.decode()
    for word in (bodies.MARK, "Quiet", "Note", "value-", "storm-"):
        assert word not in told


@pytest.mark.fault("CR/LF")
def test_p10_nothing_that_was_sent_steers_the_terminal_of_who_reads_the_log(daemon: Daemon) -> None:
    """Escape sequences and line breaks of labels are shown, not carried out."""
    daemon.post({"alerts": [alert("\x1b[2J", labels={"alertname": "Note", "value": "\x1b[31m\r\nforged line"})]})
    written = daemon.log.read_bytes()
    assert b"\x1b" not in written
    assert b"\r" not in written
    assert b"\nforged" not in written


def test_no_input_came_to_light_as_a_defect(daemon: Daemon) -> None:
    """Nothing of all this raised an exception that nobody foresaw; what aiohttp says of broken requests is its own."""
    assert re.findall(r'File "[^"]*/remediator/[^"]*", line \d+', daemon.output()) == []
    assert "defect" not in daemon.output()


def test_p9_no_input_makes_the_log_tell_a_secret(daemon: Daemon) -> None:
    """A traceback with local variables would: the credential stands in them when a header can't be read."""
    assert bodies.TOKEN not in daemon.output()
    assert bodies.PASSWORD not in daemon.output()


def test_the_daemon_is_well_and_small_after_all_of_this(daemon: Daemon) -> None:
    """It answers, keeps its history, and has not grown without bound."""
    assert fetch(daemon.ready).status == 200
    assert daemon.post({"alerts": [alert("the end")]}).status == 200
    now, highest = resident(daemon), resident(daemon, "VmHWM")
    print(f"RSS {now} MiB, at its highest {highest} MiB")
    assert highest < 400
    assert now < 250
