"""The compose file: Compose takes it, and its services, files and the daemon's configuration speak of the same places."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from remediator.app import DRAIN_SECONDS
from remediator.config import LoadedConfig

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDER = DEPLOY / "compose"
REPLICAS = ("remediator-1", "remediator-2")
SECRET = "/run/secrets/webhook-token"


WHOLE = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))


@pytest.fixture
def services() -> dict[str, Any]:
    """The services by their names."""
    return dict(WHOLE["services"])


@pytest.fixture
def loaded(take) -> LoadedConfig:
    """The replicas' configuration."""
    return take(FOLDER / "remediator.yml")


def mounts(service: dict[str, Any]) -> dict[str, str | Path]:
    """Give what is mounted by where: a volume by its name, a file or folder by its path."""
    split = [each.split(":") for each in service["volumes"]]
    return {where: (DEPLOY / what).resolve() if what.startswith(".") else what for what, where, *_ in split}


def read(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def compose(**environ: str) -> subprocess.CompletedProcess[str]:
    """Have Compose read the file."""
    return subprocess.run(
        ["docker-compose", "--file", "compose.yml", "config"],
        cwd=DEPLOY, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_compose_takes_the_file() -> None:
    """It refuses keys that it does not know."""
    done = compose(POSTGRES_PASSWORD="x")
    assert done.returncode == 0, done.stderr


def test_without_its_secrets_it_says_what_to_do() -> None:
    """Nothing starts with an empty password."""
    done = compose()
    assert done.returncode != 0
    assert "docs/deployment.md" in done.stderr


def test_what_it_mounts_is_there() -> None:
    """Docker would make an empty folder of a file that is missing."""
    sources = {what for service in WHOLE["services"].values() for what in mounts(service).values()}
    named = {what for what in sources if isinstance(what, str)}
    assert named == WHOLE["volumes"].keys()
    assert [what for what in sources - named if not Path(what).exists()] == []


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_finds_its_configuration_state_and_secret(
    services: dict[str, Any], loaded: LoadedConfig, name: str
) -> None:
    """Each has a name and a state of its own, and time to let steps end."""
    service = services[name]
    at = mounts(service)
    config = Path(service["environment"]["REMEDIATOR_CONFIG"])
    assert Path(at[str(config.parent)]) / config.name == loaded.path
    assert at[str(loaded.config.state)] == service["hostname"] == name
    assert {secret.file for secret in loaded.config.secrets.values()} == {SECRET}
    assert service["secrets"] == [Path(SECRET).name]
    assert all(port.endswith(f":{loaded.config.address.port}") for port in service["ports"])
    assert float(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS


def test_the_replicas_find_their_database(services: dict[str, Any], loaded: LoadedConfig) -> None:
    """Host, user, database and password are those that PostgreSQL is made with."""
    store, made = urlsplit(str(loaded.store_url)), services["postgres"]["environment"]
    assert (store.hostname, store.username) == ("postgres", made["POSTGRES_USER"])
    assert store.path == f"/{made['POSTGRES_DB']}"
    assert {services[name]["environment"]["PGPASSWORD"] for name in REPLICAS} == {made["POSTGRES_PASSWORD"]}


def test_they_find_prometheus_and_alertmanager(services: dict[str, Any], loaded: LoadedConfig) -> None:
    """Where those listen."""
    prometheus, alertmanager = loaded.config.prometheus, loaded.config.alertmanager
    assert prometheus is not None
    assert alertmanager is not None
    for url in (prometheus.url, alertmanager.url, provisioned("datasources")["datasources"][0]["url"]):
        to = urlsplit(url)
        assert any(port.endswith(f":{to.port}") for port in services[str(to.hostname)]["ports"])


def test_only_this_machine_reaches_them(services: dict[str, Any]) -> None:
    """Prometheus and Alertmanager ask nobody who they are."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_takes_its_files_and_scrapes_both(
    services: dict[str, Any], loaded: LoadedConfig, tmp_path: Path
) -> None:
    """Laid out as they are mounted; the job is called as the alerts about the daemon call it."""
    for where, what in mounts(services["prometheus"]).items():
        if where.startswith("/etc/prometheus/"):
            (shutil.copytree if Path(what).is_dir() else shutil.copyfile)(what, tmp_path / Path(where).name)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = list((DEPLOY / "prometheus").glob("*.rules.yml"))
    assert f"{len(rules)} rule files found" in done.stdout
    (job,) = read(FOLDER / "prometheus.yml")["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in (DEPLOY / "prometheus" / "remediator.rules.yml").read_text()
    assert job["static_configs"] == [{"targets": [f"{name}:{loaded.config.address.port}" for name in REPLICAS]}]


def test_alertmanager_has_the_shipped_routes_to_both(services: dict[str, Any], loaded: LoadedConfig) -> None:
    """Nothing but where the daemons are differs; they are shown the token that they ask for."""
    file = FOLDER / "alertmanager.yml"
    subprocess.run(["amtool", "check-config", file], check=True, capture_output=True, timeout=60)
    assert mounts(services["alertmanager"])["/etc/alertmanager/alertmanager.yml"] == file
    mine, shipped = read(file), read(DEPLOY / "alertmanager" / "alertmanager.yml")
    receivers = [{each["name"]: each for each in one.pop("receivers")} for one in (mine, shipped)]
    hooks, (hook,) = (each.pop("remediator")["webhook_configs"] for each in receivers)
    assert (mine, receivers[0]) == (shipped, receivers[1])
    for name, each in zip(REPLICAS, hooks, strict=True):
        assert each.pop("http_config") == {"authorization": {"type": "Bearer", "credentials_file": SECRET}}
        here = f"{name}:{loaded.config.address.port}"
        assert each == {**hook, "url": hook["url"].replace(urlsplit(hook["url"]).netloc, here)}


def provisioned(kind: str) -> Any:
    """Give what Grafana is told at its start."""
    (file,) = (DEPLOY / "grafana" / "provisioning" / kind).iterdir()
    return read(file)


def test_grafana_finds_the_dashboard(services: dict[str, Any]) -> None:
    """In the folder that it is told to look in."""
    at = mounts(services["grafana"])
    (provider,) = provisioned("dashboards")["providers"]
    folder = Path(provider["options"]["path"])
    assert at[str(folder / "remediator.json")] == DEPLOY / "grafana" / "remediator.json"
    assert at["/etc/grafana/provisioning"] == DEPLOY / "grafana" / "provisioning"
