"""`kubernetes.job`: a container run as a Job, and its end waited for. Heavy work belongs on the cluster.

Sources: `createBatchV1NamespacedJob` in the API reference; "Jobs" in the documentation (conditions, `activeDeadlineSeconds`,
`ttlSecondsAfterFinished`), and "Define Environment Variables": Kubernetes puts variables in the place of `$(NAME)` in
commands and values, and `$$` is a `$` that stays one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from remediator.actions.bounds import visible
from remediator.actions.kubernetes.credentials import server_of
from remediator.actions.kubernetes.evidence import log_of
from remediator.actions.kubernetes.kinds import JOB, POD
from remediator.actions.kubernetes.listing import list_of
from remediator.actions.kubernetes.names import EnvironmentName, Image, Name, Namespace
from remediator.actions.kubernetes.objects import AnyObject, Condition, Metadata, Object, Pod
from remediator.actions.kubernetes.server import Server, ask, fit, unread
from remediator.actions.protocol import Action, Context, Duration, Effect, Gate, JsonValue, Outcome, Parameters, Result

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0  # seconds between two looks at it
_RESERVE = 0.3  # seconds before the deadline at which no more is asked
_LOOK = 10.0  # seconds that one look at it may take
_MISSES = 3  # looks in a row that may fail: one blip of the API server is not the end of an hour's work
_FAREWELL = 2.0  # seconds for taking it back when the run is cancelled
_WITHOUT_NUL = Field(pattern=r"^[^\x00]*$")


class JobParameters(Parameters):
    """What to run, and where."""

    namespace: Namespace = Field(description="The namespace.")
    image: Image = Field(description="The container image.", examples=["registry.example.com/tools:1.4"])
    command: list[Annotated[str, Gate.ARGUMENT, _WITHOUT_NUL]] = Field(
        min_length=1, description="The program and its arguments, each one argument: there is no shell."
    )
    env: dict[EnvironmentName, Annotated[str, Gate.CHILD_TEXT, _WITHOUT_NUL]] = Field(
        default={}, description="Environment variables. They can be read in the cluster: they are no place for secrets."
    )
    id: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")] = Field(
        default="job", description="Part of the Job's name: a run that makes two Jobs gives each its own."
    )
    service_account: Name | None = Field(
        default=None, description="Whose name it acts in; without one it gets no token of the cluster."
    )
    ttl: Duration = Field(
        default=3600.0, ge=0, le=604_800, description="How long the cluster keeps it when it has ended."
    )
    lines: int = Field(default=100, ge=1, le=2000, description="So many of the last lines of its log.")


class RunJob(Action[JobParameters]):
    """Run a container as a Job, wait till it has ended, and read the end of its log.

    It is run once (no retries by the cluster) and may take until shortly before the step's timeout, when the cluster ends
    it. Its name is made of the run's id, so that one run never makes it twice. `job`, `pod`, `succeeded`, `exit_status` and
    `log` (its last lines; `truncated`) tell what came of it. The cluster removes it after `ttl`.

    Example:
        - uses: kubernetes.job
          with:
            namespace: '{{ labels.namespace }}'
            image: registry.example.com/tools:1.4
            command: [reindex, --shop, '{{ labels.app }}']
            env: {REASON: '{{ rule.name }}'}
          timeout: 30m
    """

    name = "kubernetes.job"
    effect = Effect.WRITE
    parameters = JobParameters
    section = "kubernetes"

    def plan(self, params: JobParameters) -> str:
        """Give the image and the command line, quoted as for a shell."""
        return visible(
            f"run {shlex.join(params.command)} in {params.image} as a Job in {params.namespace}", longest=2000
        )

    async def run(self, params: JobParameters, context: Context) -> Outcome:
        """Make it, and wait."""
        server = await server_of(context)
        if isinstance(server, Outcome):
            return server
        name = job_name(params.id, context.run)
        try:
            body = manifest(params, name, context)
            made = fit(await ask(server, "POST", JOB.where(params.namespace), json=body), AnyObject, f"job {name}")
            return made if isinstance(made, Outcome) else await _wait(server, params, made.metadata)
        except asyncio.CancelledError:
            await _withdraw(server, params.namespace, name)
            raise


def job_name(part: str, run: str) -> str:
    """Give the name of a run's Job: the same each time, so that the API server refuses a second one."""
    plain = run if re.fullmatch("[a-z0-9]{1,40}", run) else hashlib.sha256(run.encode()).hexdigest()[:20]
    return f"remediator-{plain}-{part}"[:63].rstrip("-")


def manifest(params: JobParameters, name: str, context: Context) -> dict[str, JsonValue]:
    """Give the Job as the API server is to make it."""
    ours = {"app.kubernetes.io/managed-by": "remediator"}
    account = {"serviceAccountName": params.service_account} if params.service_account else {}
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": params.namespace, "labels": ours, "annotations": {"remediator/run": context.run}},
        "spec": {
            "backoffLimit": 0, "ttlSecondsAfterFinished": int(params.ttl),
            "activeDeadlineSeconds": max(1, int(context.remaining()) - 1),
            "template": {
                "metadata": {"labels": ours},
                "spec": {
                    "restartPolicy": "Never", "automountServiceAccountToken": bool(account), **account,
                    "containers": [
                        {
                            "name": "job", "image": params.image, "command": [_literal(each) for each in params.command],
                            "env": [{"name": key, "value": _literal(text)} for key, text in params.env.items()],
                        }
                    ],
                },
            },
        },
    }  # fmt: skip


def _literal(text: str) -> str:
    """Write a text so that Kubernetes puts nothing in the place of a `$(NAME)` in it (promise P10)."""
    return text.replace("$", "$$")


class _Status(Object, frozen=True):
    conditions: tuple[Condition, ...] = ()


class _Job(Object, frozen=True):
    metadata: Metadata
    status: _Status


async def _wait(server: Server, params: JobParameters, made: Metadata) -> Outcome:
    pause, misses = _FIRST_PAUSE, 0
    while True:
        found = await _look(server, params.namespace, made.name)
        if isinstance(found, Outcome):
            misses += 1
            if found.kind is Result.REFUSED or misses == _MISSES:
                return _unknown(made.name, found.error or "")
        elif found.metadata.uid != made.uid:
            return _unknown(made.name, "somebody has put another in its place")
        else:
            misses = 0
            for end in found.status.conditions:
                if end.type in {"Complete", "Failed"} and end.status == "True":
                    return await _ended(server, params, made.name, end)
        if server.context.remaining() < pause + _RESERVE:
            return _unknown(made.name, "it has not ended within the step's timeout; the cluster ends it")
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _look(server: Server, namespace: str, name: str) -> _Job | Outcome:
    """Look at it, once and not for long: it goes on, whether or not the API server can just be reached."""
    until = min(server.context.deadline, asyncio.get_running_loop().time() + _LOOK)
    brief = replace(server, context=replace(server.context, deadline=until))
    return fit(await ask(brief, "GET", JOB.where(namespace, name)), _Job, f"job {name}")


async def _ended(server: Server, params: JobParameters, name: str, end: Condition) -> Outcome:
    """Read its log, and tell how it went."""
    succeeded = end.type == "Complete"
    result: dict[str, JsonValue] = {"job": name, "succeeded": succeeded, "pod": None, "exit_status": None, "log": None}
    pods = await list_of(server, POD, params.namespace, Pod, selector=f"job-name={name}")
    log: dict[str, JsonValue] | Outcome | None = None
    if isinstance(pods, Outcome):
        log = pods
    elif pods:
        pod = max(pods, key=lambda pod: pod.metadata.creation_timestamp or "")
        result |= {"pod": pod.metadata.name, "exit_status": _exit_status(pod)}
        log = await log_of(server, params.namespace, pod.metadata.name, params.lines)
    elif succeeded:
        log = unread("its pod is gone")
    if isinstance(log, dict):
        result |= log
    if not succeeded:
        status = result["exit_status"]
        how = f"failed with exit status {status}" if status is not None else "failed"
        words = f"job {name} {how}: {end.message or end.reason or 'no reason was given'}"
        return Outcome(
            Result.ERROR if isinstance(log, Outcome) else Result.REFUSED, result, visible(words, longest=500)
        )
    if isinstance(log, Outcome):
        words = f"job {name} has succeeded, and its log could not be read: {log.error}"
        return Outcome(Result.ERROR, result, visible(words, longest=500))
    return Outcome(Result.OK, result)


def _exit_status(pod: Pod) -> int | None:
    for container in pod.status.container_statuses:
        ended: Any = container.state.get("terminated")
        if isinstance(ended, dict) and isinstance(ended.get("exitCode"), int):
            return int(ended["exitCode"])
    return None


def _unknown(name: str, why: str) -> Outcome:
    words = f"job {name} was made, and what became of it is not known: {why}"
    return Outcome(Result.ERROR, {"job": name}, visible(words, longest=500))


async def _withdraw(server: Server, namespace: str, name: str) -> None:
    """Take the Job back, with its pods, as nobody waits for it any more."""
    until = asyncio.get_running_loop().time() + _FAREWELL
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    leaving = replace(server, context=replace(server.context, deadline=until))
    await ask(leaving, "DELETE", JOB.where(namespace, name), json=options)
