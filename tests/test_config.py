"""The configuration: what it may say, where it is looked for, and what it resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediator.actions.catalog import load_catalog
from remediator.app import read_rules, shipped_rules
from remediator.config import Config, LoadedConfig, config_schema, load_config, settings
from remediator.errors import ConfigurationError
from remediator.forms import parse_limit
from remediator.rules.load import load_rules


def load(folder: Path, text: str, **environ: str) -> LoadedConfig:
    """Load a configuration from its text."""
    (folder / "remediator.yml").write_text(text)
    return load_config(folder / "remediator.yml", environ)


def refused(folder: Path, text: str) -> list[tuple[int, int, str | None, str]]:
    """Give place, key and code of everything that is wrong with a configuration."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text)
    return [(found.line, found.column, found.key, found.code) for found in caught.value.problems]


# --- where it is looked for ---


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon then starts in dry-run on this machine alone, with the shipped rules."""
    monkeypatch.chdir(tmp_path)
    loaded = load_config(None, {})
    assert loaded.path is None
    assert not loaded.named
    assert loaded.config == Config()
    assert loaded.config.mode == "dry-run"
    assert loaded.config.address == ("127.0.0.1", 9095)
    assert loaded.rule_paths is None
    assert loaded.store_path == tmp_path / "state" / "remediator.db"
    assert loaded.state_folder == tmp_path / "state"


def test_the_file_named_comes_first_then_the_environment_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked only when those before it say nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("named", "environ", "remediator"):
        (tmp_path / f"{name}.yml").write_text(f"vars: {{from: {name}}}\n")
    environ = {"REMEDIATOR_CONFIG": "environ.yml"}
    assert load_config(Path("named.yml"), environ).config.vars == {"from": "named"}
    assert load_config(None, environ).config.vars == {"from": "environ"}
    assert load_config(None, {}).config.vars == {"from": "remediator"}
    assert load_config(None, {"REMEDIATOR_CONFIG": ""}).named


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Falling back to defaults would run another daemon than the one that was meant."""
    with pytest.raises(ConfigurationError, match="No such file"):
        load_config(tmp_path / "none.yml", {})


def test_an_empty_file_holds_the_defaults(tmp_path: Path) -> None:
    """It was found, so what depends on a configuration can be checked."""
    loaded = load(tmp_path, "# all defaults\n")
    assert loaded.config == Config()
    assert loaded.named


# --- paths ---


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """Not from where the daemon happens to be started."""
    loaded = load(tmp_path, "store: sqlite:///data/r.db\nrules: [rules, /etc/more.yml]\n")
    assert loaded.store_path == tmp_path / "data" / "r.db"
    assert loaded.state_folder == tmp_path / "data"
    assert loaded.rule_paths == (tmp_path / "rules", Path("/etc/more.yml"))


def test_the_store_is_in_the_state_folder_unless_it_says_otherwise(tmp_path: Path) -> None:
    """One key moves both."""
    loaded = load(tmp_path, "state: /var/lib/remediator\n")
    assert loaded.store_path == Path("/var/lib/remediator/remediator.db")
    apart = load(tmp_path, "state: s\nstore: sqlite:////srv/r.db\n")
    assert (apart.state_folder, apart.store_path) == (tmp_path / "s", Path("/srv/r.db"))


# --- what it may say ---

HASH = "a" + "0" * 63


def test_everything_of_this_release_can_be_said(tmp_path: Path) -> None:
    """All sections in one file."""
    text = """
listen: '[::]:9095'
public_url: https://remediator.example.com/
mode: auto
guard: {limit: [30 per 1h, 5 per 1m], max_running: 4, blast_radius: off, breaker: off, storm: off}
secrets: {TOKEN: {file: token}, PASSWORD: {env: PW}}
webhook:
  token: {secret: TOKEN}
  basic: {user: am, password: {secret: PASSWORD}}
  max_body: 1MiB
  max_alerts: 10
  max_labels: 5
  max_value: 1024
prometheus: {url: 'http://prometheus:9090/'}
alertmanager: {url: 'http://alertmanager:9093', stale_after: 1h}
exec: {allow: [/usr/bin/systemctl], user: nobody, env: {LANG: C}, cwd: work}
http: {allow: ['*.fly.dev'], private: [10.0.0.0/8, '*.internal']}
retention: {runs: 7d}
log: {level: debug, format: json}
vars: {team: sre}
"""
    loaded = load(tmp_path, text)
    config = loaded.config
    assert config.public_url == "https://remediator.example.com"
    assert [(limit.count, limit.per, limit.by_target) for limit in config.guard.limits] == [
        (30, 3600.0, False),
        (5, 60.0, False),
    ]
    assert config.webhook.max_body == 1024 * 1024
    assert config.retention.runs == 7 * 86_400
    assert config.retention.events == 400 * 86_400
    assert settings(loaded) == {
        "windows": (),
        "exec": {
            "allow": ["/usr/bin/systemctl"],
            "user": "nobody",
            "env": {"LANG": "C"},
            "cwd": str(tmp_path / "work"),
            "limits": None,
        },
        "http": {"allow": ["*.fly.dev"], "private": ["10.0.0.0/8", "*.internal"]},
        "prometheus": {"url": "http://prometheus:9090"},
        "alertmanager": {"url": "http://alertmanager:9093", "stale_after": 3600.0},
        "secrets": ("TOKEN", "PASSWORD"),
    }


def test_without_a_configuration_no_program_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The section is not there at all, and with a file that says nothing of it, it allows none."""
    monkeypatch.chdir(tmp_path)
    assert "exec" not in settings(load_config(None, {}))
    assert settings(load(tmp_path, ""))["exec"]["allow"] == []


@pytest.mark.parametrize("text", ["guard: {limit: off, max_running: off}", "guard: {limit: 'off', max_running: 'off'}"])
def test_off_turns_a_guard_off(tmp_path: Path, text: str) -> None:
    """In YAML 1.2 it is a word, with quotes or without."""
    guard = load(tmp_path, text).config.guard
    assert guard.limits == ()
    assert guard.max_running == "off"


@pytest.mark.parametrize(
    ("text", "line", "column", "key", "code"),
    [
        ("listen: 127.0.0.1\n", 1, 9, "listen", "bad-value"),
        ("listen: 127.0.0.1:70000\n", 1, 9, "listen", "bad-value"),
        ("listen: ::1:9095\n", 1, 9, "listen", "bad-value"),
        ("sekrets: {}\n", 1, 1, "sekrets", "unknown-key"),
        ("log:\n  level: loud\n", 2, 10, "log.level", "bad-value"),
        ("log: json\n", 1, 6, "log", "wrong-type"),
        ("exec:\n", 1, 6, "exec", "wrong-type"),
        ("rules: rules/\n", 1, 8, "rules", "wrong-type"),
        ("guard: {limit: 30/h}\n", 1, 16, "guard.limit", "bad-value"),
        ("guard: {limit: 0 per 1h}\n", 1, 16, "guard.limit", "bad-value"),
        ("guard: {limit: []}\n", 1, 16, "guard.limit", "bad-value"),
        ("guard: {max_running: 0}\n", 1, 22, "guard.max_running", "bad-value"),
        ("webhook: {max_body: 32MB}\n", 1, 21, "webhook.max_body", "bad-value"),
        ("webhook: {token: hunter2}\n", 1, 18, "webhook.token", "wrong-type"),
        ("webhook: {token: {secret: T}}\n", 1, 27, "webhook.token.secret", "missing-secret"),
        ("secrets:\n  A: {file: a, env: B}\n", 2, 6, "secrets.A", "bad-value"),
        ("prometheus: {url: localhost}\n", 1, 19, "prometheus.url", "bad-value"),
        ("store: mysql://x\n", 1, 8, "store", "bad-value"),
        ("http: {private: ['*.internal', 10.0.0.1/8]}\n", 1, 32, "http.private[1]", "bad-value"),
        ("retention: {runs: 90}\n", 1, 19, "retention.runs", "wrong-type"),
        ("mode: 1\nmode: off\n", 2, 1, "mode", "duplicate-key"),
        ("mode: [\n", 2, 1, None, "yaml"),
        ("- listen\n", 1, 1, None, "wrong-type"),
    ],
)
def test_a_fault_has_its_place(tmp_path: Path, text: str, line: int, column: int, key: str | None, code: str) -> None:
    """Every kind of fault names line, column and key."""
    assert refused(tmp_path, text) == [(line, column, key, code)]


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("fly: {token: {secret: NONE}}", "fly.token.secret"),
        (
            "postgres: {databases: {main: {url: 'postgresql://a@b/c', password: {secret: NONE}}}}",
            "postgres.databases.main.password.secret",
        ),
        ("pagerduty: {routing_key: {secret: NONE}}", "pagerduty.routing_key.secret"),
        ("slack: {token: {secret: NONE}}", "slack.token.secret"),
        ("notify: {channels: {mail: {secret: NONE}}}", "notify.channels.mail.secret"),
    ],
)
def test_a_secret_that_a_platform_names_has_to_be_there(tmp_path: Path, section: str, key: str) -> None:
    """Wherever in the configuration it is named."""
    (problem,) = refused(tmp_path, f"{section}\n")
    assert (problem[2], problem[3]) == (key, "missing-secret")


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        ("mode: [{during: night, mode: auto}]\n", "mode[0].during", "unknown-window"),
        ("mode: []\n", "mode", "bad-value"),
        ("windows: {night: []}\n", "windows.night", "bad-value"),
        ("windows: {night: [{weekdays: [someday]}]}\n", "windows.night[0].weekdays[0]", "bad-value"),
        ("guard: {storm: {alerts: 0}}\n", "guard.storm.alerts", "bad-value"),
        ("guard: {breaker: {failures: 5, per: 1h}}\n", "guard.breaker.reset", "missing-key"),
        ("guard: {blast_radius: {per: 1h}}\n", "guard.blast_radius", "bad-value"),
        ("notices: {to: []}\n", "notices.to", "bad-value"),
        ("notices: {to: [{uses: log}], events: [storms]}\n", "notices.events[0]", "bad-value"),
    ],
)
def test_what_speaks_of_time_guards_and_notices_is_checked(tmp_path: Path, text: str, key: str, code: str) -> None:
    """A guard that is asked for and not there must not be taken for one that holds."""
    assert [(found[2], found[3]) for found in refused(tmp_path, text)] == [(key, code)]


def test_the_daemons_guards_are_on_by_default(tmp_path: Path) -> None:
    """Storm and breaker as the rule language says; a blast radius is for whoever knows their fleet."""
    guard = load(tmp_path, "").config.guard
    assert not isinstance(guard.storm, str)
    assert not isinstance(guard.breaker, str)
    assert (guard.storm.alerts, guard.storm.per, guard.storm.hold) == (200, 60.0, 600.0)
    assert (guard.breaker.failures, guard.breaker.per, guard.breaker.reset) == (5, 3600.0, "manual")
    assert (guard.limits[0].count, guard.limits[0].per, guard.max_running) == (30, 3600.0, 10)
    assert guard.blast_radius == "off"


def test_a_shared_store_is_named_by_its_address(tmp_path: Path) -> None:
    """The state is then kept beside the configuration, unless it says otherwise."""
    loaded = load(tmp_path, "store: postgresql://remediator@db/remediator\n")
    assert (loaded.store_url, loaded.state_folder) == ("postgresql://remediator@db/remediator", tmp_path)
    assert load(tmp_path, "store: sqlite:///r.db\n").store_url is None


def test_a_store_that_is_none_is_refused_without_repeating_it(tmp_path: Path) -> None:
    """There may be a password in it."""
    for wrong in ("postgresql://user:hunter2@db", "mysql://user:hunter2@db/x"):
        with pytest.raises(ConfigurationError, match="postgresql://") as caught:
            load(tmp_path, f"store: {wrong}\n")
        assert "hunter2" not in str(caught.value)


def test_all_faults_come_in_one_go(tmp_path: Path) -> None:
    """In the order of their lines."""
    found = refused(tmp_path, "mode: on\nslack: {}\nexec: {alow: []}\nsecrets: {A: {}}\n")
    assert [line for line, *_ in found] == [1, 2, 3, 4]


def test_listening_to_the_world_needs_a_credential(tmp_path: Path) -> None:
    """Who can post alerts can start remediations."""
    assert refused(tmp_path, "listen: 0.0.0.0:9095\n") == [(1, 9, "listen", "missing-credential")]
    assert refused(tmp_path, "listen: example.com:9095\n") == [(1, 9, "listen", "missing-credential")]
    assert refused(tmp_path, "listen: ':9095'\n") == [(1, 9, "listen", "missing-credential")]
    guarded = "listen: 0.0.0.0:9095\nsecrets: {T: {env: T}}\nwebhook: {token: {secret: T}}\n"
    assert load(tmp_path, guarded).config.address.host == "0.0.0.0"


@pytest.mark.parametrize("listen", ["127.0.0.1:9095", "127.9.9.9:0", "'[::1]:9095'", "localhost:9095"])
def test_listening_to_this_machine_needs_none(tmp_path: Path, listen: str) -> None:
    """All of 127.0.0.0/8 is loopback, and so is ::1."""
    assert load(tmp_path, f"listen: {listen}\n").config.address.loopback


# --- secrets ---


def test_p9_the_configuration_does_not_show_the_environment(tmp_path: Path) -> None:
    """Where it is logged or shown in a traceback, the values of secrets are not in it."""
    assert "hunter2" not in repr(load(tmp_path, "secrets: {E: {env: PW}}\n", PW="hunter2"))


# --- the rest ---


def test_a_limit_is_read_as_it_is_said() -> None:
    """With `per target` it counts for each."""
    limit = parse_limit("2 per 6h per target")
    assert (limit.count, limit.per, limit.by_target) == (2, 21_600.0, True)
    with pytest.raises(ValueError, match="would never let anything run"):
        parse_limit("2 per 0s")


def test_the_schema_knows_every_key_and_its_default() -> None:
    """Editors complete from it."""
    schema = config_schema()
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Retention"]["properties"]["runs"]["default"] == "90d"


# --- who may ask ---


def test_people_and_a_proxy_may_be_named(tmp_path: Path) -> None:
    """A hash is the same in large letters, and an address is a network of one."""
    text = f"""
access:
  users:
    ann: {{role: operator, token: {HASH.upper()}}}
    zoe@example.com: {{role: admin}}
  proxy: {{header: X-Forwarded-User, addresses: [10.0.0.5, 'fd00::/8']}}
"""
    access = load(tmp_path, text).config.access
    assert access.users["ann"].token == HASH
    assert access.proxy is not None
    assert [str(network) for network in access.proxy.addresses] == ["10.0.0.5/32", "fd00::/8"]
    assert access.proxy.role == "viewer"


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        (f"{{users: {{local: {{role: admin, token: {HASH}}}}}}}", "access.users.local", "bad-value"),
        (f"{{users: {{remediator: {{role: admin, token: {HASH}}}}}}}", "access.users.remediator", "bad-value"),
        (f"{{users: {{'ann ': {{role: admin, token: {HASH}}}}}}}", "access.users.ann ", "bad-value"),
        (f"{{users: {{ann: {{role: root, token: {HASH}}}}}}}", "access.users.ann.role", "bad-value"),
        ("{users: {ann: {role: admin, token: secret}}}", "access.users.ann.token", "bad-value"),
        ("{users: {ann: {role: admin}}}", "access.users.ann", "missing-key"),
        (
            f"{{users: {{ann: {{role: viewer, token: {HASH}}}, bob: {{role: admin, token: {HASH}}}}}}}",
            "access.users.bob.token",
            "bad-value",
        ),
        ("{proxy: {header: X-User}}", "access.proxy.addresses", "missing-key"),
        ("{proxy: {header: X-User, addresses: []}}", "access.proxy.addresses", "bad-value"),
        ("{proxy: {header: 'X User', addresses: [10.0.0.5]}}", "access.proxy.header", "bad-value"),
        ("{proxy: {header: X-User, addresses: [10.0.0.5/8]}}", "access.proxy.addresses[0]", "bad-value"),
        ("{proxy: {header: X-User, addresses: ['0.0.0.0/0']}}", "access.proxy.addresses[0]", "bad-value"),
        ("{proxy: {header: X-User, addresses: ['::/0']}}", "access.proxy.addresses[0]", "bad-value"),
        ("{proxy: {header: X-User, addresses: [proxy.local]}}", "access.proxy.addresses[0]", "bad-value"),
    ],
)
def test_access_that_would_not_be_what_it_says_is_refused(tmp_path: Path, text: str, key: str, code: str) -> None:
    """Nobody is called what the daemon calls itself, two share no token, and not everybody is a proxy."""
    assert [found[2:] for found in refused(tmp_path, f"access: {text}\n")] == [(key, code)]


def test_of_the_shipped_rules_those_are_in_force_whose_platforms_are_configured(tmp_path: Path) -> None:
    """A small configuration starts; rules that it names by itself are checked in full."""
    loaded = load(tmp_path, "mode: dry-run\n")
    rules = read_rules(loaded, load_catalog())
    assert rules.ok
    assert {rule.name for rule in rules.rules.rules} >= {"restart-service-down", "rollback-high-error-rate"}
    assert "restore-service" in rules.left_out
    every = {rule.name for rule in load_rules([shipped_rules()], load_catalog()).rules.rules}
    assert sorted([*rules.left_out, *(rule.name for rule in rules.rules.rules)]) == sorted(every)  # none goes unsaid
    named = load(tmp_path, f"rules: ['{shipped_rules()}']\n")
    found = read_rules(named, load_catalog())
    assert not found.ok
    assert {problem.code for problem in found.problems if problem.severity == "error"} == {"not-configured"}
