"""The manifests for Kubernetes: the API's own schemas take them, and they and the configuration speak of the same places.

kustomize itself is not to be had where these tests run: what it is told is looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from postgres import OWNER, PASSWORD, running

from remediator import __version__
from remediator.app import DRAIN_SECONDS
from remediator.config import LoadedConfig
from remediator.store.opening import open_configured

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
IMAGE = FOLDER.parent / "Dockerfile"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yml").read_text(encoding="utf-8"))
KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "configMapGenerator",
    "generatorOptions",
    "images",
}  # of kustomize, those used
NAME = {"app.kubernetes.io/name": "remediator"}


def manifests() -> Iterator[dict[str, Any]]:
    """Give every object that is to be made, but for what kustomize generates."""
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))


def one(kind: str) -> dict[str, Any]:
    """Give the one object of its kind."""
    (found,) = (each for each in manifests() if each["kind"] == kind)
    return found


SET = one("StatefulSet")["spec"]
POD = SET["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.fixture
def loaded(take) -> LoadedConfig:
    """The replicas' configuration."""
    return take(FOLDER / "remediator.yml")


def test_kustomize_is_told_of_every_file() -> None:
    """Each is a resource or goes into the ConfigMap, and no key is mistyped."""
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    named = [*KUSTOMIZATION["resources"], *generated["files"], "kustomization.yml"]
    assert sorted(named) == sorted(path.name for path in FOLDER.iterdir())
    assert KUSTOMIZATION.keys() == KNOWN


@pytest.mark.parametrize("manifest", [*manifests()], ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_the_api_takes_each_manifest(manifest: dict[str, Any], version: str) -> None:
    """A key that it does not know is an error; the Prometheus operator's kind has no schema there."""
    if manifest["kind"] == "ServiceMonitor":
        assert manifest["spec"].keys() == {"selector", "endpoints"}
        assert [each.keys() for each in manifest["spec"]["endpoints"]] == [{"port", "path", "interval"}]
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_all_is_in_one_namespace_but_the_right_to_mend() -> None:
    """What has a namespace says so, since nothing is moved by kustomize."""
    spaces = {
        (each["kind"], each["metadata"].get("namespace"))
        for each in manifests()
        if not each["kind"].startswith("Cluster") and each["kind"] != "Namespace"
    }
    assert {space for kind, space in spaces if kind != "RoleBinding"} == {one("Namespace")["metadata"]["name"]}
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert generated["namespace"] == one("Namespace")["metadata"]["name"]


def test_the_image_is_the_one_that_is_built_here() -> None:
    """In this version, and as the user that it is made for."""
    (image,) = KUSTOMIZATION["images"]
    assert (image["name"], image["newTag"]) == (CONTAINER["image"], __version__)
    user = re.search(r"^USER (\d+):(\d+)$", IMAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    security = POD["securityContext"]
    assert user.groups() == (str(security["runAsUser"]), str(security["runAsGroup"]))
    assert security["fsGroup"] == security["runAsGroup"]  # which reads the secrets and writes the state


def test_the_pod_is_as_restricted_as_its_namespace_asks() -> None:
    """By the standard `restricted` of Kubernetes, and with nothing to write but what is mounted."""
    labels = one("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_the_daemon_finds_its_configuration_state_and_secret(loaded: LoadedConfig) -> None:
    """Where they are mounted."""
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    volumes = {each["name"]: each for each in POD["volumes"]}
    at = {each["mountPath"]: volumes[each["name"]] for each in CONTAINER["volumeMounts"]}
    (environ,) = CONTAINER["env"]
    config = Path(environ["value"])
    assert environ["name"] == "REMEDIATOR_CONFIG"
    assert at[str(config.parent)]["configMap"] == {"name": generated["name"]}
    assert config.name in generated["files"]
    assert "emptyDir" in at[str(loaded.config.state)]
    assert {str(Path(str(secret.file)).parent) for secret in loaded.config.secrets.values()} <= at.keys()
    assert volumes.keys() == {each["name"] for each in CONTAINER["volumeMounts"]}


def test_everything_speaks_of_the_port_that_it_listens_on(loaded: LoadedConfig) -> None:
    """The container, the service, the probes, the policy, the monitor and the links."""
    port = loaded.config.address.port
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": port}]
    probes = {kind: CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert [probes[kind]["path"] for kind in probes] == ["/healthz", "/healthz", "/readyz"]
    assert one("Service")["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    assert one("ServiceMonitor")["spec"]["endpoints"][0]["port"] == "http"
    (way_in,) = one("NetworkPolicy")["spec"]["ingress"]
    assert way_in["ports"] == [{"protocol": "TCP", "port": port}]
    service = one("Service")["metadata"]
    assert loaded.config.public_url == f"http://{service['name']}.{service['namespace']}.svc:{port}"


def test_the_policy_lets_out_what_the_configuration_asks(loaded: LoadedConfig) -> None:
    """Prometheus and Alertmanager in their namespace, the database, and names."""
    ways = one("NetworkPolicy")["spec"]["egress"]
    (named,) = [way for way in ways if "to" in way]
    space = named["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    prometheus, alertmanager = loaded.config.prometheus, loaded.config.alertmanager
    assert prometheus is not None
    assert alertmanager is not None
    for each in (prometheus.url, alertmanager.url):
        assert str(urlsplit(each).hostname).split(".")[1] == space
        assert {"protocol": "TCP", "port": urlsplit(each).port} in named["ports"]
    everywhere = {(port["protocol"], port["port"]) for way in ways if "to" not in way for port in way["ports"]}
    assert everywhere == {("UDP", 53), ("TCP", 53), ("TCP", 5432), ("TCP", 443), ("TCP", 6443)}


def test_whatever_selects_the_pods_selects_these() -> None:
    """The set, its service, the budget, the policy, the spread and the monitor."""
    selectors = [
        SET["selector"]["matchLabels"],
        SET["template"]["metadata"]["labels"],
        one("Service")["spec"]["selector"],
        one("Service")["metadata"]["labels"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one("ServiceMonitor")["spec"]["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert [each for each in selectors if each != NAME] == []
    assert SET["serviceName"] == one("Service")["metadata"]["name"]


def test_one_replica_stays_while_the_other_goes() -> None:
    """And each has time to let its steps end."""
    assert 0 < one("PodDisruptionBudget")["spec"]["minAvailable"] < SET["replicas"]
    assert POD["terminationGracePeriodSeconds"] > DRAIN_SECONDS


def test_every_right_is_bound_to_the_account_of_the_pods() -> None:
    """And no role is left unbound."""
    account = one("ServiceAccount")["metadata"]
    assert POD["serviceAccountName"] == account["name"]
    bindings = [each for each in manifests() if each["kind"].endswith("RoleBinding")]
    assert [each["subjects"] for each in bindings] == [[{"kind": "ServiceAccount", **account}]] * len(bindings)
    roles = {each["metadata"]["name"] for each in manifests() if each["kind"] == "ClusterRole"}
    assert {each["roleRef"]["name"] for each in bindings} == roles


async def test_the_secret_says_where_the_database_is(loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variables of libpq: the configuration names the database alone."""
    (source,) = CONTAINER["envFrom"]
    assert source["secretRef"]["name"] in (FOLDER / "remediator.yml").read_text(encoding="utf-8")
    server = running()
    given = {"HOST": "127.0.0.1", "PORT": str(server.port), "USER": OWNER, "PASSWORD": PASSWORD}
    for name, value in given.items():
        monkeypatch.setenv(f"PG{name}", value)
    monkeypatch.setenv("PGSSLMODE", "disable")
    store = str(loaded.config.store)
    here = loaded.config.model_copy(update={"store": store.replace("/remediator", f"/{server.database()}")})
    opened = await open_configured(
        LoadedConfig(here, loaded.path, loaded.base, loaded.environ), lambda now: None, 1_795_000_000.0
    )
    await opened.close()
    assert store == "postgresql:///remediator"
