"""`kubernetes.exec` and `kubernetes.job`."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web
from fakes.fake import Fault

from remediator.actions.bounds import encoded_size
from remediator.actions.kubernetes.exec import Exec, ExecParameters
from remediator.actions.kubernetes.job import job_name
from remediator.actions.protocol import MAX_RESULT_BYTES, Result

WEB_0 = {"namespace": "shop", "pod": "web-0"}
JOB = {"namespace": "shop", "image": "registry.example.com/tools:1.4", "command": ["reindex", "--all"]}
NAME = "remediator-01jd-job"


# --- exec ---


async def test_a_program_is_run_in_a_container(use, cluster) -> None:
    """Each argument arrives as one, whatever is in it."""
    command = ["sh", "-c", "echo $HOME; ls | wc", "a b", "päß&x=1"]
    outcome = await use("exec", command=command, container="web", **WEB_0)
    assert outcome.kind is Result.OK
    assert outcome.result | {"seconds": 0} == {
        "exit_status": 0, "stdout": "reloaded\n", "stderr": "", "json": None, "truncated": False, "seconds": 0,
    }  # fmt: skip
    assert cluster.exec_ran == [command]


async def test_an_exit_status_that_is_no_success(use, cluster) -> None:
    """Unless the rule counts it as one."""
    cluster.exec_says = (b'{"a": 1}', b"first\nno such table\n", 3)
    outcome = await use("exec", command=["check"], **WEB_0)
    assert outcome.kind is Result.REFUSED
    assert outcome.error == "check ended with exit status 3 in web-0: no such table"
    assert outcome.result["json"] == {"a": 1}
    assert (await use("exec", command=["check"], ok=[0, 3], **WEB_0)).kind is Result.OK


async def test_a_program_that_does_not_end_is_left_at_the_deadline(use, cluster) -> None:
    """And the operator learns that it may go on."""
    cluster.exec_says = (b"so far", b"", None)
    began = time.monotonic()
    outcome = await use("exec", seconds=0.5, command=["sleep", "60"], **WEB_0)
    assert time.monotonic() - began < 1.5
    assert outcome.kind is Result.ERROR
    assert "it may still run there" in outcome.error
    assert len(cluster.exec_ran) == 1


async def test_of_much_output_the_beginning_and_the_end_are_kept(use, cluster) -> None:
    """Within what a result may hold."""
    cluster.exec_says = (b"begin" + b"x" * 3_000_000 + b"end", b"e" * 200_000, 0)
    outcome = await use("exec", command=["dump"], **WEB_0)
    assert outcome.result["stdout"].startswith("begin")
    assert outcome.result["stdout"].endswith("end")
    assert outcome.result["truncated"] is True
    assert encoded_size(outcome.result) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (b"", "closed before it had ended"),
        (b"\x03not json", "no Status"),
        (
            b'\x03{"status": "Failure", "reason": "InternalError", "message": "executable file not found"}',
            "executable file",
        ),
    ],
)
async def test_an_end_without_an_exit_status_is_an_error(use, cluster, monkeypatch, end: bytes, says: str) -> None:
    """Whether it was run is not known."""

    async def strange(request, found):
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        if end:
            await socket.send_bytes(end)
        await socket.close()
        return socket

    monkeypatch.setattr(cluster, "_exec", strange)
    outcome = await use("exec", command=["x"], **WEB_0)
    assert outcome.kind is Result.ERROR
    assert says in outcome.error


async def test_a_server_that_speaks_no_known_protocol_is_an_error(use, cluster, monkeypatch) -> None:
    """Without one there is no exit status to be had."""

    async def strange(request, found):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    monkeypatch.setattr(cluster, "_exec", strange)
    outcome = await use("exec", command=["x"], **WEB_0)
    assert outcome.kind is Result.ERROR
    assert "none of the protocols" in outcome.error


async def test_a_redirect_is_not_followed(use, cluster, monkeypatch) -> None:
    """The token would go with it."""

    async def elsewhere(request, found):
        return web.Response(status=307, headers={"Location": "/api/v1/nodes"})

    monkeypatch.setattr(cluster, "_exec", elsewhere)
    outcome = await use("exec", command=["x"], **WEB_0)
    assert outcome.kind is Result.ERROR
    assert len(cluster.seen) == 1


async def test_a_pod_that_is_not_there_is_refused(use) -> None:
    """By the status of the handshake."""
    outcome = await use("exec", command=["x"], namespace="shop", pod="web-99")
    assert outcome.kind is Result.REFUSED
    assert outcome.result == {"status": 404}


def test_the_rule_says_whether_a_program_may_be_run_again() -> None:
    """By default it may not."""
    assert Exec().idempotent(ExecParameters(**WEB_0, command=["x"])) is False
    assert Exec().idempotent(ExecParameters(**WEB_0, command=["x"], idempotent=True)) is True


# --- job ---


async def test_a_job_is_made_waited_for_and_its_log_read(use, cluster) -> None:
    """The cluster runs it once, ends it before the step's end, and clears it away."""
    outcome = await use("job", env={"A": "b"}, ttl="10m", **JOB)
    assert outcome.result == {
        "job": NAME, "succeeded": True, "pod": f"{NAME}-x", "exit_status": 0, "log": "reindexed 42 things\n", "lines": 1,
        "truncated": False,
    }  # fmt: skip
    made = cluster.objects["jobs", "shop", NAME]
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["ttlSecondsAfterFinished"] == 600
    assert 1 <= made["spec"]["activeDeadlineSeconds"] < 10
    pod = made["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"] == [
        {
            "name": "job", "image": JOB["image"], "command": ["reindex", "--all"], "env": [{"name": "A", "value": "b"}],
        }
    ]  # fmt: skip


async def test_kubernetes_puts_nothing_in_the_place_of_a_label(use, cluster) -> None:
    """`$(NAME)` in a command or a value would be replaced by a variable (promise P10)."""
    await use("job", **JOB | {"command": ["say", "$(KUBERNETES_PORT)"]}, env={"A": "$(HOME) $$"})
    container = cluster.objects["jobs", "shop", NAME]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["say", "$$(KUBERNETES_PORT)"]
    assert container["env"] == [{"name": "A", "value": "$$(HOME) $$$$"}]


async def test_a_job_that_fails_is_refused_with_its_log(use, cluster) -> None:
    """And its exit status."""
    cluster.job_ends, cluster.job_exit = "Failed", 7
    outcome = await use("job", **JOB)
    assert outcome.kind is Result.REFUSED
    assert outcome.error == f"job {NAME} failed with exit status 7: it has ended"
    assert outcome.result["log"] == "reindexed 42 things\n"
    assert outcome.result["succeeded"] is False


async def test_a_second_job_of_the_same_run_is_refused(use, cluster, writes) -> None:
    """Its name is the same; one that shall be another gets an id."""
    assert (await use("job", **JOB)).kind is Result.OK
    outcome = await use("job", **JOB)
    assert outcome.kind is Result.REFUSED
    assert outcome.result == {"status": 409}
    assert (await use("job", id="second", **JOB)).kind is Result.OK
    assert len(writes()) == 3


async def test_a_job_that_does_not_end_is_an_error(use, cluster) -> None:
    """The cluster ends it by itself."""
    cluster.job_ends = None
    outcome = await use("job", seconds=1.0, **JOB)
    assert outcome.kind is Result.ERROR
    assert "the cluster ends it" in outcome.error
    assert cluster.objects["jobs", "shop", NAME]["spec"]["activeDeadlineSeconds"] == 1


async def test_a_job_is_taken_back_when_the_run_is_cancelled(use, cluster, writes, monkeypatch) -> None:
    """Nobody waits for it any more."""
    cluster.job_ends, looked, resource = None, asyncio.Event(), cluster._resource

    async def watched(request, *arguments):
        if request.method == "GET":
            looked.set()
        return await resource(request, *arguments)

    monkeypatch.setattr(cluster, "_resource", watched)
    task = asyncio.ensure_future(use("job", **JOB))
    await asyncio.wait_for(looked.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writes()[-1] == f"DELETE /apis/batch/v1/namespaces/shop/jobs/{NAME}"
    assert cluster.seen[-1].json["propagationPolicy"] == "Background"


async def test_a_job_whose_success_is_seen_and_whose_log_is_not(use, cluster, monkeypatch) -> None:
    """Both are said."""
    monkeypatch.setattr(cluster, "_log", lambda request, found: cluster.error(500, "the kubelet is away"))
    outcome = await use("job", **JOB)
    assert outcome.kind is Result.ERROR
    assert "has succeeded, and its log could not be read" in outcome.error
    assert outcome.result["succeeded"] is True


@pytest.mark.parametrize(("misses", "kind"), [(2, Result.OK), (3, Result.ERROR)])
async def test_a_look_that_fails_is_not_the_end_of_a_job(use, cluster, writes, misses: int, kind: Result) -> None:
    """But several in a row are."""
    cluster.faults.extend([None, *[Fault("status", 500)] * misses])
    outcome = await use("job", **JOB)
    assert outcome.kind is kind
    assert len(writes()) == 1
    if kind is Result.ERROR:
        assert "what became of it is not known" in outcome.error


def test_a_name_is_made_of_any_run() -> None:
    """And is one that Kubernetes takes."""
    assert job_name("job", "01jd") == "remediator-01jd-job"
    odd = job_name("a" * 20, "Run_" * 30)
    assert odd == job_name("a" * 20, "Run_" * 30)
    assert len(odd) <= 63
    assert odd.replace("-", "").isalnum()
    assert odd.islower()
