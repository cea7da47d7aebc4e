"""The API server of a Kubernetes cluster, as far as `kubernetes.*` speaks to it.

Request and answer shapes: the Kubernetes API reference (v1.33), "Kubernetes API Concepts" (patches, resourceVersion, lists,
`Status`), "API-initiated Eviction", and KEP-4006 for `exec` over a WebSocket. What is left out of a `status` where it is zero
is left out here, too.

Change the state by the attributes of the fake, its `objects` above all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from aiohttp import web

from fakes.fake import Fake, Refusal
from fakes.kubernetes_objects import (
    Object,
    budget_status,
    fielded,
    json_patched,
    labelled,
    merge,
    parsed,
    status_of,
)
from fakes.kubernetes_state import RESOURCES, STAMP, Cluster

TOKEN = "sa-token-7c1f0c9e2b"


class FakeKubernetes(Fake, Cluster):
    """A cluster with a shop in it."""

    name = "kubernetes"
    port = 9701

    def __init__(self) -> None:
        Fake.__init__(self)
        self.reset()

    def reset(self) -> None:
        """Make everything as it was at the start."""
        Cluster.__init__(self)
        self._replacements = 0
        # stdout, stderr, exit status (None: it never ends)
        self.exec_says: tuple[bytes, bytes, int | None] = (b"reloaded\n", b"", 0)
        self.exec_ran: list[list[str]] = []
        self.job_ends: str | None = "Complete"  # or "Failed", or None: never
        self.job_exit = 0
        self.evictions_refused = 0  # by budgets, which allow one more after so many refusals
        self.budget_after: int | None = None
        self.slow_to_end = False  # pods that are evicted are ending, and stay

    def kubeconfig(self, url: str | None = None) -> str:
        """Give a kubeconfig that leads here, or to another URL."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "fake",
                "clusters": [{"name": "fake", "cluster": {"server": url or self.url}}],
                "users": [{"name": "fake", "user": {"token": TOKEN}}],
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            }
        )  # fmt: skip

    # --- HTTP ---

    @property
    def files(self) -> Mapping[str, str]:
        """Give the secrets."""
        return {"kubeconfig": self.kubeconfig()}

    @property
    def section(self) -> Mapping[str, Any]:
        """Lead here."""
        return {"kubeconfig": "kubeconfig", "patch": ["Deployment", "ConfigMap"]}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give all paths to one handler, which takes them apart as the API server does."""
        return [web.route("*", "/{path:.*}", self._serve)]

    def error(self, status: int, message: str) -> web.Response:
        """Give a `Status`."""
        return web.json_response(status_of(status, message), status=status)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "Unauthorized")
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["api"] and len(parts) >= 2:
            api, rest = parts[1], parts[2:]
        elif parts[:1] == ["apis"] and len(parts) >= 3:
            api, rest = "/".join(parts[1:3]), parts[3:]
        else:
            raise Refusal(404, "the server could not find the requested resource")
        if not rest:
            return self._discovery(api)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        for known, plural, kind, namespaced in RESOURCES:
            if (known, plural) == (api, rest[0]) and (namespaced or not namespace):
                return await self._resource(request, plural, kind, namespace, rest[1:])
        raise Refusal(404, "the server could not find the requested resource")

    def _discovery(self, api: str) -> web.Response:
        found = [each for each in RESOURCES if each[0] == api]
        if not found:
            raise Refusal(404, "the server could not find the requested resource")
        listed = [{"name": plural, "kind": kind, "namespaced": spaced} for _, plural, kind, spaced in found]
        return web.json_response({"kind": "APIResourceList", "groupVersion": api, "resources": listed})

    async def _resource(
        self, request: web.Request, plural: str, kind: str, namespace: str, below: list[str]
    ) -> web.StreamResponse:
        method = request.method
        if not below:
            if method == "GET":
                return self._list(request, plural, kind, namespace)
            if method == "POST" and plural == "jobs":
                return self._create_job(parsed(await request.text()), namespace)
            raise Refusal(405, "the server does not allow this method on the requested resource")
        found = self.objects.get((plural, namespace, below[0]))
        if found is None:
            raise Refusal(404, f'{plural} "{below[0]}" not found')
        action = "/".join(below[1:])
        if plural == "pods" and action == "log" and method == "GET":
            return self._log(request, found)
        if plural == "pods" and action == "exec" and method == "GET":
            return await self._exec(request, found)
        if plural == "pods" and action == "eviction" and method == "POST":
            return self._evict(parsed(await request.text()), found)
        if action == "scale" and method == "PATCH" and "replicas" in found.get("spec", {}):
            return self._scale(request, parsed(await request.text()), found)
        if action:
            raise Refusal(404, "the server could not find the requested resource")
        if method == "GET":
            return web.json_response(found)
        if method == "PATCH":
            return self._patch(request, parsed(await request.text()), plural, found)
        if method == "DELETE":
            return self._delete(await request.text(), plural, found)
        raise Refusal(405, "the server does not allow this method on the requested resource")

    def _list(self, request: web.Request, plural: str, kind: str, namespace: str) -> web.Response:
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        found = [
            each
            for (of, space, _), each in self.objects.items()
            if of == plural and namespace in {"", space} and labelled(each, labels) and fielded(each, fields)
        ]
        limit = int(request.query.get("limit") or len(found) or 1)
        metadata: Object = {"resourceVersion": str(self.version)}
        if len(found) > limit:
            metadata |= {"continue": "token", "remainingItemCount": len(found) - limit}
        items = [
            {key: value for key, value in each.items() if key not in {"kind", "apiVersion"}} for each in found[:limit]
        ]
        return web.json_response({"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items})

    # --- changes ---

    def _changed(self, found: Object, before: Object) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        if found.get("spec") != before.get("spec") and "generation" in found["metadata"]:
            found["metadata"]["generation"] += 1

    def _patch(self, request: web.Request, patch: Any, plural: str, found: Object) -> web.Response:
        how = request.headers.get("Content-Type", "")
        if how == "application/json-patch+json":
            after = json_patched(found, patch)
        elif how in {"application/merge-patch+json", "application/strategic-merge-patch+json"}:
            if how.startswith("application/strategic") and plural == "widgets":
                raise Refusal(415, "the body of the request was in an unknown format")
            if not isinstance(patch, dict):
                raise Refusal(400, "the patch is no object")
            after = merge(found, patch, strategic="strategic" in how)
        else:
            raise Refusal(415, "the body of the request was in an unknown format")
        self._put(plural, found, after)
        return web.json_response(after)

    def _put(self, plural: str, found: Object, after: Object) -> None:
        old, new = found["metadata"], after["metadata"]
        if (new["name"], new.get("namespace")) != (old["name"], old.get("namespace")):
            raise Refusal(400, "the name of the object does not match the name on the URL")
        if new["uid"] != old["uid"] or new["resourceVersion"] != old["resourceVersion"]:
            raise Refusal(
                409, "the object has been modified; please apply your changes to the latest version and try again"
            )
        replicas = after.get("spec", {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            raise Refusal(422, "spec.replicas: Invalid value: must be greater than or equal to 0")
        if after != found:
            self._changed(after, found)
        self.objects[plural, old.get("namespace", ""), old["name"]] = after

    def _scale(self, request: web.Request, patch: Any, found: Object) -> web.Response:
        if request.headers.get("Content-Type") != "application/merge-patch+json":
            raise Refusal(415, "the body of the request was in an unknown format")
        plural = next(each[1] for each in RESOURCES if each[2] == found["kind"])
        after = merge(
            found,
            {"metadata": patch.get("metadata", {}), "spec": {"replicas": patch["spec"]["replicas"]}},
            strategic=False,
        )
        self._put(plural, found, after)
        metadata = {key: after["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
        replicas = after["spec"]["replicas"]
        return web.json_response(
            {
                "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
                "spec": {"replicas": replicas} if replicas else {}, "status": {"replicas": replicas},
            }
        )  # fmt: skip

    def _delete(self, body: str, plural: str, found: Object) -> web.Response:
        options = parsed(body) if body else {}
        self._precondition(options, found)
        metadata = found["metadata"]
        del self.objects[plural, metadata.get("namespace", ""), metadata["name"]]
        if plural == "pods":
            self._replace(found)
            return web.json_response(found)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})

    def _precondition(self, options: Any, found: Object) -> None:
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted is not None and wanted != found["metadata"]["uid"]:
            raise Refusal(409, f"the UID in the precondition ({wanted}) does not match the UID in record")

    def _replace(self, gone: Object) -> None:
        """Make a pod anew on the other node, as its controller would."""
        metadata = gone["metadata"]
        if not metadata.get("ownerReferences"):
            return
        self._replacements += 1
        made = self.pod(
            f"{metadata['labels'].get('app', 'pod')}-r{self._replacements}", "node-2", metadata["labels"], None
        )
        made["metadata"]["ownerReferences"] = metadata["ownerReferences"]

    def _evict(self, eviction: Any, found: Object) -> web.Response:
        if eviction.get("kind") != "Eviction" or eviction.get("apiVersion") != "policy/v1":
            raise Refusal(400, "the body is no Eviction of policy/v1")
        if eviction.get("metadata", {}).get("name") != found["metadata"]["name"]:
            raise Refusal(400, "name in URL does not match name in Eviction object")
        self._precondition(eviction.get("deleteOptions") or {}, found)
        labels = found["metadata"].get("labels", {})
        for (plural, _, name), budget in self.objects.items():
            wanted = (
                budget.get("spec", {}).get("selector", {}).get("matchLabels", {})
                if plural == "poddisruptionbudgets"
                else None
            )
            if not wanted or not wanted.items() <= labels.items():
                continue
            if self.budget_after is not None and self.evictions_refused >= self.budget_after:
                budget["status"]["disruptionsAllowed"] = 1
            if budget["status"]["disruptionsAllowed"] < 1:
                self.evictions_refused += 1
                return web.json_response(budget_status(name), status=429)
        if self.slow_to_end:
            found["metadata"]["deletionTimestamp"] = STAMP
        else:
            del self.objects["pods", found["metadata"]["namespace"], found["metadata"]["name"]]
            self._replace(found)
        return web.json_response(
            {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}, status=201
        )

    # --- logs, exec, jobs ---

    def _log(self, request: web.Request, found: Object) -> web.Response:
        containers = [each["name"] for each in found["spec"]["containers"]]
        container = request.query.get("container", containers[0])
        if container not in containers:
            raise Refusal(400, f"container {container} is not valid for pod {found['metadata']['name']}")
        key = (found["metadata"]["namespace"], found["metadata"]["name"], request.query.get("previous") == "true")
        if key not in self.logs:
            raise Refusal(400, f'previous terminated container "{container}" not found')
        lines = self.logs[key].splitlines(keepends=True)
        tail = int(request.query.get("tailLines", len(lines)))
        return web.Response(text="".join(lines[max(0, len(lines) - tail) :]), content_type="text/plain")

    async def _exec(self, request: web.Request, found: Object) -> web.StreamResponse:
        containers = [each["name"] for each in found["spec"]["containers"]]
        if request.query.get("container", containers[0]) not in containers:
            raise Refusal(400, "container is not valid for pod")
        command = request.query.getall("command", [])
        if not command:
            raise Refusal(400, "you must specify at least 1 command for the container")
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        if not socket.can_prepare(request):
            raise Refusal(400, "Upgrade request required")
        await socket.prepare(request)
        self.exec_ran.append(command)
        stdout, stderr, status = self.exec_says
        for channel, data in ((1, stdout), (2, stderr)):
            for at in range(0, len(data), 32 * 1024):
                await socket.send_bytes(bytes([channel]) + data[at : at + 32 * 1024])
        if status is None:
            await socket.receive()  # until the client leaves
            return socket
        end: Object = {"metadata": {}, "status": "Success"}
        if status:
            end = {
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": f"command terminated with non-zero exit code: exit status {status}",
                "details": {"causes": [{"reason": "ExitCode", "message": str(status)}]},
            }  # fmt: skip
        await socket.send_bytes(b"\x03" + json.dumps(end).encode())
        await socket.close()
        return socket

    def _create_job(self, body: Any, namespace: str) -> web.Response:
        name = body.get("metadata", {}).get("name", "")
        if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise Refusal(422, "metadata.name: Invalid value")
        spec = body.get("spec", {})
        pod = spec.get("template", {}).get("spec", {})
        if pod.get("restartPolicy") not in {"Never", "OnFailure"} or not pod.get("containers"):
            raise Refusal(422, "spec.template.spec.restartPolicy: Required value")
        if ("jobs", namespace, name) in self.objects:
            raise Refusal(409, f'jobs.batch "{name}" already exists')
        if namespace != "shop":
            raise Refusal(404, f'namespaces "{namespace}" not found')
        conditions = [
            {"type": self.job_ends, "status": "True", "reason": "BackoffLimitExceeded", "message": "it has ended"}
        ]
        job = self.add("jobs", namespace, name, spec=spec, status={"conditions": conditions} if self.job_ends else {})
        made = self.pod(f"{name}-x", "node-2", {"job-name": name}, job)
        status = self.job_exit if self.job_ends == "Complete" else self.job_exit or 1
        made["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": status}}
        self.logs[namespace, f"{name}-x", False] = "reindexed 42 things\n"
        return web.json_response(job, status=201)
