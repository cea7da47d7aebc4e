"""The catalog is made of what packages name under the entry-point group."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from platforms.stand import Stand

from remediator.actions import catalog as catalog_module
from remediator.actions.catalog import describe, load_catalog
from remediator.actions.protocol import Action, Context, Effect, Outcome, Parameters, Result
from remediator.errors import ConfigurationError

ACTION = """
from remediator.actions.protocol import Action, Effect, Outcome, Parameters, Result

class Beep(Action):
    name = {name!r}
    effect = Effect.NOTIFY
    parameters = Parameters

    def plan(self, params):
        return "beep"

    async def run(self, params, context):
        return Outcome(Result.OK)

ACTIONS = (Beep(),)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    """Install a package of one module, as pip would: a module and its metadata on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)

    def package(name: str, source: str) -> None:
        (tmp_path / f"{name}_module.py").write_text(source)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[remediator.actions]\n{name} = {name}_module:ACTIONS\n")

    yield package
    for name in set(sys.modules) - modules:
        if name.endswith("_module"):
            del sys.modules[name]


def test_the_core_actions_are_there() -> None:
    """Built-in actions come in by the same door as anyone's."""
    catalog = load_catalog()
    core = {
        "exec.run",
        "exec.probe",
        "http.get",
        "http.request",
        "prometheus.query",
        "alertmanager.alerts",
        "wait",
        "log",
    }
    assert core <= set(catalog)
    assert list(catalog) == sorted(catalog)
    assert all(catalog[name].name == name for name in catalog)


def test_a_plug_in_is_found(install) -> None:
    """An installed package's actions stand beside our own."""
    install("beeper", ACTION.format(name="beeper.beep"))
    assert load_catalog()["beeper.beep"].effect is Effect.NOTIFY


@pytest.mark.parametrize("source", ["import no_such_module", "ACTIONS = (", "1 / 0", "x = 1"])
def test_a_broken_plug_in_is_named(install, source: str) -> None:
    """Whatever its module raises, the operator learns which package to mend."""
    install("broken", source)
    with pytest.raises(ConfigurationError, match=r"package broken \(broken_module:ACTIONS\) can't be loaded"):
        load_catalog()


@pytest.mark.parametrize("source", ["ACTIONS = 5", "ACTIONS = ('beep',)", "ACTIONS = []"])
def test_what_is_no_tuple_of_actions_is_named(install, source: str) -> None:
    """A package that offers something else is said so."""
    install("broken", source)
    with pytest.raises(ConfigurationError, match=r"package broken .* is not a tuple of actions"):
        load_catalog()


def test_two_actions_of_one_name_are_refused(install) -> None:
    """No package can put its own action in the place of another's."""
    install("imposter", ACTION.format(name="exec.run"))
    with pytest.raises(ConfigurationError, match=r"two actions are called exec\.run: .*remediator.*imposter"):
        load_catalog()


def test_the_nearest_word_is_offered() -> None:
    """A slip of the pen finds its word, nonsense finds none."""
    catalog = load_catalog()
    assert catalog.nearest("http.gets") == "http.get"
    assert catalog.nearest("zzzzzz") is None


@pytest.mark.parametrize("name", list(load_catalog()))
def test_every_action_documents_itself(name: str) -> None:
    """Summary, parameters with descriptions, and an example that its own model takes."""
    action = load_catalog()[name]
    described = describe(action)
    assert set(described) == {"name", "effect", "idempotent", "summary", "parameters", "example", "steps"}
    assert described["summary"].endswith(".")
    for parameter, schema in described["parameters"]["properties"].items():
        assert schema.get("description"), parameter
    (step,) = [step for step in described["steps"] if step["uses"] == name]
    said = {"ok": True, "result": {"channel": "C0123456789", "ts": "1503435956.000247"}}
    params = Stand(settings={}, hosts=("*",), steps={"said": said}).params(name, step["with"])
    assert "\n" not in action.plan(params)


def test_idempotence_is_described_as_it_is() -> None:
    """Reads are; what a parameter decides is said so."""
    catalog = load_catalog()
    assert describe(catalog["wait"])["idempotent"] == "yes"
    assert describe(catalog["exec.run"])["idempotent"] == "as the parameters say"


@pytest.mark.parametrize(("repeatable", "said"), [(True, "yes"), (False, "no")])
def test_idempotence_of_a_kind_is_asked_of_the_action(repeatable: bool, said: str) -> None:
    """An action without such a parameter answers for all its uses, example or none."""

    class Beep(Action[Parameters]):
        name = "beep"
        effect = Effect.NOTIFY
        parameters = Parameters

        def idempotent(self, params: Parameters) -> bool:
            return repeatable

        def plan(self, params: Parameters) -> str:
            return "beep"

        async def run(self, params: Parameters, context: Context) -> Outcome:
            return Outcome(Result.OK)

    described = describe(Beep())
    assert (described["idempotent"], described["example"], described["steps"]) == (said, "", [])


def test_an_example_is_the_indented_block_alone() -> None:
    """What follows at the margin is no part of it."""
    documentation = "Sum.\n\nExample:\n    - uses: x\n\n      with: {}\nAfter."
    assert catalog_module._example(documentation) == "- uses: x\n\n  with: {}\n"


@pytest.mark.parametrize("module", ["catalog", "exec", "http", "prometheus", "alertmanager", "core"])
def test_heavy_libraries_are_imported_when_needed(module: str) -> None:
    """To load the catalog is cheap: no client, no logger, no YAML."""
    heavy = ("aiohttp", "yarl", "structlog", "yaml")
    probe = f"import sys, remediator.actions.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
