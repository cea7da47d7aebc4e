"""The configuration, `remediator.yml`: its shape, its defaults, where it is looked for, and what it resolves to.

Unknown keys are refused, so that nothing in the file is ever silently without effect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic import model_validator as check_whole

from remediator.document import Document, Fault, nearest, not_json, read_document
from remediator.errors import ConfigurationError
from remediator.forms import Duration, Form, LimitSpan, LimitText, faults_of, parse_limit, schema_of
from remediator.forms.access import Access
from remediator.forms.exec import Exec
from remediator.forms.fly import Fly
from remediator.forms.guards import BlastRadiusForm, BreakerForm, Count, ModeEntryForm, ModeWord, StormForm
from remediator.forms.heartbeat import HeartbeatForm
from remediator.forms.http import Http
from remediator.forms.kubernetes import Kubernetes
from remediator.forms.notices import Notices, Report
from remediator.forms.notify import Notify
from remediator.forms.pagerduty import PagerDuty
from remediator.forms.postgres import Postgres
from remediator.forms.section import HttpUrl, SecretName, Section, Size
from remediator.forms.slack import Slack
from remediator.forms.ssh import Ssh
from remediator.intervals import IntervalForm
from remediator.model.time import Seconds

DEFAULT_FILE = "remediator.yml"
MEBIBYTE = 1024 * 1024

STALE_AFTER: Seconds = 18_000.0
_SHARED = ("postgresql://", "postgres://")


class Address(NamedTuple):
    """Where the daemon listens; an empty host means all addresses."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Tell whether only this machine can reach it. A name other than localhost may mean anything."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/]*)):([0-9]{1,5})", re.ASCII)


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, an IPv6 host in brackets. Raises ValueError with a sentence for the author."""
    read = _LISTEN.fullmatch(text)
    if read is None or int(read[3]) > 65535:
        raise ValueError(f"{text!r} is not an address: write it as in `127.0.0.1:9095` or `[::1]:9095`")
    return Address(read[1] or read[2], int(read[3]))


def _listen(text: str) -> str:
    parse_address(text)
    return text


def _store(text: str) -> str:
    if text.startswith(_SHARED):
        parts = urlsplit(text)
        if not parts.path.strip("/") or "\0" in text:
            raise ValueError(
                "a shared store is named with its database, as in `postgresql://remediator@db.internal/remediator`"
            )
        return text
    path = text.removeprefix("sqlite:///")
    if path == text or not path.strip() or path.endswith("/") or path == ":memory:" or "\0" in path:
        raise ValueError(
            "this is not a store: write `sqlite:///state/remediator.db`, `sqlite:////var/lib/…` for a full path, or "
            "`postgresql://USER@HOST/DATABASE`"
        )
    return text


class SecretSource(Form):
    """Where the value of one secret is read from, each time that it is needed."""

    file: str | None = Field(
        None, description="A file, relative to the configuration; one newline at its end is not part."
    )
    env: str | None = Field(None, description="A variable of the daemon's environment.")

    @check_whole(mode="after")
    def _one_source(self) -> SecretSource:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret has one source: `file` or `env`")
        return self


class Basic(Form):
    """User and password that the webhook asks for."""

    user: str = Field(description="The user that senders must name.")
    password: SecretName = Field(description="The password that senders must show.")


class Webhook(Form):
    """Who may post notifications, and how large they may be."""

    token: SecretName | None = Field(None, description="The bearer token that senders must show.")
    basic: Basic | None = None
    max_body: Size = Field(32 * MEBIBYTE, description="Of one notification, in bytes.")
    max_alerts: Count = Field(50_000, description="In one notification.")
    max_labels: Count = Field(64, description="Of one alert.")
    max_value: Size = Field(64 * 1024, description="Of one label or annotation, in bytes.")


class DaemonGuard(Form):
    """What holds over all rules together; `off` turns one off."""

    limit: Literal["off"] | LimitText | Annotated[list[LimitText], Field(min_length=1)] = Field(
        "30 per 1h", description="Runs admitted in a span."
    )
    max_running: Literal["off"] | Count = Field(10, description="Runs at work at once; more wait, P0 first.")
    blast_radius: Literal["off"] | BlastRadiusForm = Field("off", description="Distinct targets in a span.")
    breaker: Literal["off"] | BreakerForm = Field(
        default_factory=lambda: BreakerForm.model_validate({"failures": 5, "per": "1h", "reset": "manual"}),
        description="Stops all rules after failures.",
    )
    storm: Literal["off"] | StormForm = Field(
        default_factory=StormForm, description="Nothing is admitted while more than any rule can mend begins to fire."
    )

    @property
    def limits(self) -> tuple[LimitSpan, ...]:
        """Give the limits, none when they are off."""
        if self.limit == "off":
            return ()
        return tuple(parse_limit(text) for text in ([self.limit] if isinstance(self.limit, str) else self.limit))


class Prometheus(Section):
    """The Prometheus that `prometheus.query` asks."""

    url: HttpUrl = Field(description="Where `prometheus.query` asks.")


class Alertmanager(Section):
    """The Alertmanager whose API is asked what fires and what is silenced."""

    url: HttpUrl = Field(description="Asked before a run begins, by `verify.resolved` and by `alertmanager.alerts`.")
    stale_after: Duration = Field(STALE_AFTER, description="An alert not heard of for so long starts nothing.")


class Retention(Form):
    """How long records are kept."""

    runs: Duration = Field(90 * 86_400.0, description="Runs that have ended, with their steps.")
    events: Duration = Field(400 * 86_400.0, description="Lines of history; the chain goes on from a checkpoint.")
    notifications: Duration = Field(30 * 86_400.0, description="Bodies as received.")


class Log(Form):
    """What is logged to standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is worth a line.")
    format: Literal["auto", "console", "json"] = Field("auto", description="`auto`: console on a terminal, else json.")


class Config(Form):
    """The whole of `remediator.yml`."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        "127.0.0.1:9095", description="HOST:PORT, IPv6 in brackets."
    )
    public_url: HttpUrl | None = Field(None, description="How people reach the daemon; links to runs are made with it.")
    state: str | None = Field(None, description="The state folder. Default: the store's.")
    store: Annotated[str, AfterValidator(_store)] | None = Field(
        None, description="`sqlite:///PATH` for one daemon, `postgresql://USER@HOST/DATABASE` for several.", repr=False
    )
    rules: list[str] | None = Field(
        None,
        description="Rule files and folders. Default: the shipped rules, as far as their platforms are configured.",
    )
    mode: ModeWord | Annotated[list[ModeEntryForm], Field(min_length=1)] = Field(
        "dry-run", description="The highest mode that any rule can have; in a list the first entry that holds decides."
    )
    windows: dict[str, Annotated[list[IntervalForm], Field(min_length=1)]] = Field(
        default_factory=dict, description="Names for Alertmanager's time intervals, which modes speak of."
    )
    guard: DaemonGuard = Field(default_factory=DaemonGuard)
    vars: dict[str, Any] = Field(
        default_factory=dict, description="`vars.*` of the rules; these override the files' own."
    )
    secrets: dict[str, SecretSource] = Field(default_factory=dict)
    webhook: Webhook = Field(default_factory=Webhook)
    access: Access = Field(default_factory=Access)
    prometheus: Prometheus | None = None
    alertmanager: Alertmanager | None = None
    exec: Exec = Field(default_factory=Exec)
    http: Http = Field(default_factory=Http)
    fly: Fly | None = None
    kubernetes: Kubernetes | None = None
    postgres: Postgres | None = None
    pagerduty: PagerDuty | None = None
    slack: Slack | None = None
    notify: Notify | None = None
    ssh: Ssh | None = None
    heartbeat: HeartbeatForm | None = None
    notices: Notices | None = None
    report: Report | None = None
    retention: Retention = Field(default_factory=Retention)
    log: Log = Field(default_factory=Log)

    @property
    def address(self) -> Address:
        """Give where the daemon listens."""
        return parse_address(self.listen)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """The configuration in force, with the folder that its paths are relative to."""

    config: Config
    path: Path | None  # None: none was named or found
    base: Path
    environ: Mapping[str, str] = field(repr=False)

    @property
    def named(self) -> bool:
        """Tell whether a configuration was named or found, so that what depends on one can be checked."""
        return self.path is not None

    @property
    def store_url(self) -> str | None:
        """Give the address of a shared store; None where the store is an SQLite file."""
        store = self.config.store
        return store if store is not None and store.startswith(_SHARED) else None

    @property
    def store_path(self) -> Path:
        """Give the SQLite file: in the state folder unless `store` says otherwise."""
        if self.config.store is not None and self.store_url is None:
            return self.base / self.config.store.removeprefix("sqlite:///")
        return self.base / (self.config.state or "state") / "remediator.db"

    @property
    def state_folder(self) -> Path:
        """Give the folder where the daemon leaves its token: `state`, else the SQLite file's, else the configuration's."""
        if self.config.state is not None:
            return self.base / self.config.state
        return self.store_path.parent if self.store_url is None else self.base

    @property
    def rule_paths(self) -> tuple[Path, ...] | None:
        """Give where the rules are; None means the shipped ones."""
        return None if self.config.rules is None else tuple(self.base / path for path in self.config.rules)


def load_config(path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Load the file named, else by REMEDIATOR_CONFIG, else ./remediator.yml if there, else take the defaults.

    Raises ConfigurationError, whose `problems` hold all that is wrong with the file.
    """
    if path is None and environ.get("REMEDIATOR_CONFIG"):
        path = Path(environ["REMEDIATOR_CONFIG"])
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    if path is None:
        return LoadedConfig(Config(), None, Path.cwd(), environ)
    document = read_document(path, str(path))
    config, faults = _parse(document)
    if config is None or faults:
        found = sorted(
            (document.problem(fault) for fault in faults), key=lambda problem: (problem.line, problem.column)
        )
        raise ConfigurationError("\n".join([f"{path} can't be used:", *map(str, found)]), tuple(found))
    return LoadedConfig(config, path, path.resolve().parent, environ)


def _parse(document: Document) -> tuple[Config | None, list[Fault]]:
    faults = list(document.faults)
    data = {} if document.value is None else document.value
    if not document.readable:
        return None, faults
    if not isinstance(data, dict):
        return None, [*faults, Fault((), "wrong-type", "expected a mapping of sections: listen, rules, mode, …")]
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        return None, [*faults, *faults_of(error, Config, data)]
    wrong_vars = [replace(fault, path=("vars", *fault.path)) for fault in not_json(config.vars)]
    return config, [*faults, *wrong_vars, *_contradictions(config)]


def _contradictions(config: Config) -> Iterator[Fault]:
    for path, secret in _secrets_named(config, ()):
        if secret.secret not in config.secrets:
            message = f"the secret `{secret.secret}` is not under `secrets`{nearest(secret.secret, config.secrets)}"
            yield Fault((*path, "secret"), "missing-secret", message)
    yield from _unclear_people(config.access)
    for position, entry in enumerate(() if isinstance(config.mode, str) else config.mode):
        if entry.during is not None and entry.during not in config.windows:
            message = f"there is no window `{entry.during}` under `windows`{nearest(entry.during, config.windows)}"
            yield Fault(("mode", position, "during"), "unknown-window", message)
    if not config.address.loopback and config.webhook.token is None and config.webhook.basic is None:
        message = (
            f"{config.listen} can be reached from other machines, and anyone there could post alerts: "
            "give `webhook.token` or `webhook.basic`, or listen on 127.0.0.1"
        )
        yield Fault(("listen",), "missing-credential", message)


def _secrets_named(part: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], SecretName]]:
    """Give every `{secret: NAME}` of the configuration, with its place."""
    if isinstance(part, SecretName):
        yield path, part
    parts = dict(part) if isinstance(part, Form | dict) else {}
    for key, below in parts.items():
        yield from _secrets_named(below, (*path, key))


def _unclear_people(access: Access) -> Iterator[Fault]:
    holders: dict[str, str] = {}
    for name, user in access.users.items():
        path = ("access", "users", name)
        if user.token is None and access.proxy is None:
            yield Fault(path, "missing-key", f"{name} has no `token`, and there is no `access.proxy` to come by")
        elif user.token is not None and holders.setdefault(user.token, name) != name:
            message = f"{name} has the token of {holders[user.token]}: who asks could not be told"
            yield Fault((*path, "token"), "bad-value", message)


def settings(loaded: LoadedConfig) -> dict[str, Any]:
    """Give the sections that actions ask for, by name; those that aren't configured are left out.

    `secrets` and `windows` hold the names alone. Without a configuration there is no `exec`: nothing may be run.
    """
    config = loaded.config
    sections: dict[str, Any] = {
        "http": config.http.model_dump(), "secrets": tuple(config.secrets), "windows": tuple(config.windows),
    }  # fmt: skip
    if loaded.named:
        cwd = None if config.exec.cwd is None else str(loaded.base / config.exec.cwd)
        sections["exec"] = {**config.exec.model_dump(), "cwd": cwd}
    platforms = {name: section for name, section in config if isinstance(section, Section)}
    return {**sections, **{name: section.resolved(loaded.base) for name, section in platforms.items()}}


def config_schema() -> dict[str, Any]:
    """Give the JSON Schema of `remediator.yml`, for editors."""
    return schema_of(Config)
