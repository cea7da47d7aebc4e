"""The stand of `kubernetes.*`: the fake of an API server, and a kubeconfig with a token that leads to it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fakes.kubernetes import FakeKubernetes
from platforms.stand import Stand

from remediator.actions.kubernetes import ACTIONS
from remediator.forms.kubernetes import Kubernetes

EXEC = "kubernetes.exec"
# Of writes tests/actions/kubernetes/test_kubernetes_faults.py tells more: not a write, but the GET before it is repeated.
AGAIN = "a GET on a connection that had been kept is asked again by the client"
HERE = {"namespace": "{{ labels.namespace }}"}
SAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "kubernetes.get": (
        {**HERE, "kind": "Deployment", "name": "{{ labels.deployment }}"},
        {**HERE, "kind": "Pod", "fields": "spec.nodeName={{ labels.node }}"},
        {**HERE, "kind": "Widget.v1.example.com", "selector": "app notin ({{ labels.app }}, x)"},
    ),
    "kubernetes.logs": ({**HERE, "pod": "{{ labels.pod }}", "container": "web", "since": "1h"},),
    "kubernetes.delete_pod": (
        {**HERE, "pod": "{{ labels.pod }}", "uid": "{{ labels.uid }}", "grace": "5s"},
    ),
    "kubernetes.patch": ({"kind": "Node", "name": "{{ labels.node }}", "patch": {"spec": {"unschedulable": True}}},),
    "kubernetes.job": (
        {
            **HERE, "image": "registry.example.com/{{ labels.app }}:1", "command": ["/bin/true", "x{{ labels.app }}"],
            "service_account": "{{ labels.service }}", "env": {"APP": "{{ labels.app }}"}, "id": "two",
        },
    ),
}  # fmt: skip


class Cluster(Stand):
    """A stand that tells what has arrived as the cluster understands it."""

    def arrivals(self) -> Any:
        """Leave out what is random, and hand a Job's texts on as the kubelet does, which reads `$$` as `$`."""
        found = super().arrivals()
        for each in found:
            each["headers"] = {
                key: text for key, text in each["headers"].items() if not key.startswith("sec-websocket")
            }
            if each["method"] == "POST" and each["path"][-1] == "jobs":
                each["body"]["spec"]["activeDeadlineSeconds"] = 0
                for container in each["body"]["spec"]["template"]["spec"]["containers"]:
                    container["command"] = [text.replace("$$", "$") for text in container["command"]]
                    container["env"] = [
                        {**pair, "value": pair["value"].replace("$$", "$")} for pair in container["env"]
                    ]
            if each["method"] == "PATCH" and isinstance(each["body"], dict):
                annotations = (
                    each["body"].get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
                )
                annotations.pop("kubectl.kubernetes.io/restartedAt", None)
        return found


async def stand(stack: AsyncExitStack, folder: Path) -> Stand:
    """Start the fake, and write a kubeconfig."""
    fake = FakeKubernetes()
    await stack.enter_async_context(fake)

    def sections(url: str) -> dict[str, Any]:
        file = folder / f"kubeconfig-{url.rpartition(':')[2]}"
        file.write_text(fake.kubeconfig(url))
        form = Kubernetes.model_validate({"kubeconfig": file.name, "patch": ["Deployment", "Node"]})
        return {"kubernetes": form.resolved(folder)}

    return Cluster(
        settings=sections(fake.url),
        labels={"uid": fake.objects["pods", "shop", "web-0"]["metadata"]["uid"]},
        samples=SAMPLES,
        fake=fake,
        reach=lambda port: sections(f"http://127.0.0.1:{port}"),
        reset=fake.reset,
        fine={
            **{
                ("kubernetes.job", fault): "a look at a Job that goes on is repeated"
                for fault in ("429", "500", "garbage")
            },
            (EXEC, "cut-after"): "the exit status has come before the connection is lost",
            **{
                (action.name, fault): AGAIN
                for action in ACTIONS
                for fault in ("cut", "cut-after")
                if action.name != EXEC
            },
        },
    )
