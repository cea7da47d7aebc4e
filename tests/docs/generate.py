"""Makes the tables of the documents from the code: `python tests/docs/generate.py` rewrites every marked block in place.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test compares what stands there with what is made.
The schemas that the shipped files name for editors are made here too.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from prometheus_client.metrics import MetricWrapperBase

from remediator import metrics
from remediator.actions.catalog import describe, load_catalog
from remediator.actions.protocol import Action, Gate, Grammar
from remediator.cli import main
from remediator.config import config_schema
from remediator.forms import Form, schema_of
from remediator.forms import guards as guard_forms
from remediator.intervals import IntervalForm
from remediator.review import schema
from remediator.review.codes import ABOUT
from remediator.review.ruletest import form as ruletest_form
from remediator.rules import form

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_WORDS = {"integer": "whole number", "string": "text", "number": "number", "boolean": "`true` or `false`"}
_PATTERNS = {  # the types that people write as text, told by their patterns
    "per": "limit",
    "+ms": "duration",
    "KMG": "size",
}

Schema = Mapping[str, Any]
Row = tuple[str, str, str, str]


def pages() -> list[Path]:
    """Give the documents that people read: not the decisions, and not what `make bench` writes."""
    return [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "performance.md")]


def regenerated(text: str) -> str:
    """Give a document with every marked block made anew. Raises KeyError for a block that nobody makes."""
    return MARKED.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


# --- tables of keys ---


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def keys(schema: Schema, defs: Schema, prefix: str = "") -> Iterator[Row]:
    """Give a row for each key of one mapping: key, form, default, meaning."""
    required = schema.get("required", ())
    for key, about in schema["properties"].items():
        default = "required" if key in required else _default(about)
        yield f"`{prefix}{key}`", form_of(about, defs), default, about.get("description", "")


def _default(about: Schema) -> str:
    default = about.get("default")
    if default is None or default in ([], {}):
        return ""
    if "KMG" in str(about):
        return f"`{default // 1024**2}MiB`" if default % 1024**2 == 0 else f"`{default // 1024}KiB`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def form_of(about: Schema, defs: Schema) -> str:
    """Say in words what a value may be."""
    if "$ref" in about:
        return _named(about["$ref"], defs)
    if "anyOf" in about:
        branches = [each for each in about["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(form_of(each, defs) for each in branches))
    if "enum" in about or "const" in about:
        return ", ".join(f"`{word}`" for word in about.get("enum", [about.get("const")]))
    if about.get("type") == "array":
        return f"list of {form_of(about.get('items', {}), defs)}"
    if about.get("type") == "object":
        return "mapping"
    for part, name in _PATTERNS.items():
        if part in about.get("pattern", ""):
            return name
    types = about.get("type", "")
    return " or ".join(_WORDS.get(each, "any value") for each in ([types] if isinstance(types, str) else types))


def _named(reference: str, defs: Schema) -> str:
    name = reference.rpartition("/")[2]
    title = defs[name].get("title", name)
    known = {"SecretName": "`{secret: NAME}`", "SecretReference": "`{secret: NAME}`"}
    return known.get(name, title if title[0].islower() else "mapping")


KEYS = ("Key", "Form", "Default", "Meaning")


def _form(model: type[Form]) -> Callable[[], str]:
    def make() -> str:
        schema = schema_of(model)
        return table(KEYS, keys(schema, schema.get("$defs", {})))

    return make


def config_keys() -> list[Row]:
    """Give a row for each key of the configuration, with the keys below it as `section.key`."""
    schema = config_schema()
    return list(_sections(schema, schema["$defs"], ""))


def _sections(schema: Schema, defs: Schema, prefix: str) -> Iterator[Row]:
    for row, (key, about) in zip(keys(schema, defs, prefix), schema["properties"].items(), strict=True):
        below = _below(about, defs)
        if below is None:
            yield row
        else:
            name = f"{prefix}{key}." + ("NAME." if about.get("additionalProperties") else "")
            yield from _sections(below, defs, name)


def _below(about: Schema, defs: Schema) -> Schema | None:
    """Give the mapping that stands at a key, if it has keys of its own worth a row each."""
    inside = about.get("additionalProperties")
    candidates = [about, *about.get("anyOf", ()), *([inside] if isinstance(inside, dict) else [])]
    named = [each["$ref"].rpartition("/")[2] for each in candidates if "$ref" in each]
    return defs[named[0]] if named and named[0] != "SecretName" else None


def _config() -> str:
    return table(KEYS, config_keys())


# --- actions, metrics, commands, warnings ---


def _actions() -> str:
    catalog = load_catalog()
    parts = [
        table(
            ("Action", "Effect", "May be repeated", "What it does"),
            [
                (f"[`{name}`](#{name.replace('.', '')})", each["effect"], each["idempotent"], each["summary"])
                for name, each in ((name, describe(catalog[name])) for name in catalog)
            ],
        )
    ]
    return "\n\n".join([*parts, *(_action(action) for action in catalog.values())])


def _action(action: Action[Any]) -> str:
    about = describe(action)
    text = (inspect.getdoc(type(action)) or "").partition("\nExample:")[0].strip()
    schema = about["parameters"]
    gates = {each.alias or name: _gate(each) for name, each in action.parameters.model_fields.items()}
    rows = [(*row[:3], gates[row[0].strip("`")], row[3]) for row in keys(schema, schema.get("$defs", {}))]
    needs = f" Needs the section `{action.section}` of the [configuration](configuration.md)." if action.section else ""
    return "\n\n".join(
        [
            f"### {action.name}",
            f"Effect: {about['effect']}. May be repeated: {about['idempotent']}.{needs}",
            text,
            table(("Parameter", "Form", "Default", "Gate", "Meaning"), rows),
            f"```yaml steps\n{about['example'].rstrip()}\n```",
        ]
    )


def _gate(field: Any) -> str:
    """Name the gates that values from outside pass on their way into a parameter."""
    found = [each for each in field.metadata if isinstance(each, Gate | Grammar)] + list(_gates(field.annotation))
    return ", ".join(dict.fromkeys(map(str, found)))


def _gates(annotation: Any) -> Iterator[Gate | Grammar]:
    for each in get_args(annotation):
        if isinstance(each, Gate | Grammar):
            yield each
        elif get_origin(each) is not None:
            yield from _gates(each)


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Give a row for each metric: name, kind, labels, meaning."""
    rows = []
    for collector in vars(metrics).values():
        if not isinstance(collector, MetricWrapperBase):
            continue
        family = next(iter(collector.describe()))
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return sorted(rows)


def _metrics() -> str:
    return table(("Metric", "Kind", "Labels", "Meaning"), metric_rows())


def commands() -> Iterator[tuple[str, click.Command]]:
    """Give every command by the words that call it."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", each) for below, each in command.commands.items())
        else:
            yield name, command


def _commands() -> str:
    return "\n\n".join(_command(name, command) for name, command in commands())


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"remediator {name}")
    shared = {"--config", "--output", "--url", "--token"}
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not shared & set(parameter.opts):
            takes = "" if parameter.is_flag else f" {parameter.make_metavar(context)}"
            needed = "Required. " if parameter.required else ""
            rows.append((f"`{', '.join(parameter.opts)}{takes}`", needed + (parameter.help or "")))
    usage = " ".join(["remediator", name, *command.collect_usage_pieces(context)])
    speaks = any("--url" in parameter.opts for parameter in command.params)
    text = f"### {name}\n\n`{usage}`: {command.help}" + (" Asks the running daemon." if speaks else "")
    return text + (f"\n\n{table(('Option', 'Meaning'), rows)}" if rows else "")


def _warnings() -> str:
    rows = [
        (f"[{code}](#{_anchor(f'{code}: {about.title}')})", about.title, about.why) for code, about in ABOUT.items()
    ]
    return table(("Number", "Finds", "What comes of it"), rows)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def schemas() -> Mapping[Path, str]:
    """Give the schemas for editors, by the files that they stand in: beside the files that they are about."""
    made = {
        ROOT / "rules" / "rules.schema.json": schema.rules_schema(load_catalog()),
        ROOT / "rules" / "tests.schema.json": schema.tests_schema(),
        ROOT / "deploy" / "config.schema.json": schema.config_schema(),
    }
    return {path: json.dumps(each, indent=2, ensure_ascii=False) + "\n" for path, each in made.items()}


BLOCKS: Mapping[str, Callable[[], str]] = {
    "rule-file-keys": _form(form.RuleFileForm),
    "rule-keys": _form(form.RuleForm),
    "guard-keys": _form(form.GuardForm),
    "step-keys": _form(form.StepForm),
    "retry-keys": _form(form.RetryForm),
    "verify-keys": _form(form.VerifyForm),
    "mode-keys": _form(guard_forms.ModeEntryForm),
    "blast-radius-keys": _form(guard_forms.BlastRadiusForm),
    "breaker-keys": _form(guard_forms.BreakerForm),
    "episodes-keys": _form(form.EpisodesForm),
    "approval-keys": _form(form.ApprovalForm),
    "rung-keys": _form(form.RungForm),
    "revert-keys": _form(form.RevertForm),
    "schedule-keys": _form(form.ScheduleForm),
    "interval-keys": _form(IntervalForm),
    "rule-test-file-keys": _form(ruletest_form.RuleTestFileForm),
    "rule-test-keys": _form(ruletest_form.RuleTestForm),
    "rule-test-alert-keys": _form(ruletest_form.AlertForm),
    "rule-test-run-keys": _form(ruletest_form.ExpectedForm),
    "rule-test-pause-keys": _form(ruletest_form.PauseForm),
    "rule-test-answer-keys": _form(ruletest_form.AnswerForm),
    "configuration-keys": _config,
    "actions": _actions,
    "metrics": _metrics,
    "commands": _commands,
    "warnings": _warnings,
}

if __name__ == "__main__":
    for page in pages():
        page.write_text(regenerated(page.read_text()))
    for path, text in schemas().items():
        path.write_text(text)
