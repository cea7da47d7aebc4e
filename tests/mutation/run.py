"""`make mutation`: run every mutant, and write `docs/mutation.md`. Arguments are passed to pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
from scope import SCOPE, TESTS  # noqa: E402

GOAL = 0.9
RESULTS = ROOT / ".mutation"  # a line for each mutant
PAGE = ROOT / "docs" / "mutation.md"
DEAD = {"killed", "timeout"}

HEAD = """# Mutation testing

`make mutation` changes the code of guards, claims and transitions, one small thing at a time, and runs the tests that run the
changed lines: a change that no test notices is a hole in the tests, or code that isn't needed. It writes this page. It is no
part of `make test`: it takes some ten minutes on two cores.

What is changed: conditions are turned round, forced, moved by one, and a part of them left out; calls, second assignments,
`raise` and arguments given by name are left out; members of sets and of tables are left out, and members of enums exchanged
for the next; numbers and truths are changed, sums turned into differences; an answer becomes `None`. In SQL, comparisons are
turned round, moved by one or made always true, `AND` and `OR` exchanged, orders reversed. What is not: prose, types,
docstrings, decorators; and the columns and tables that SQL names.

A mutant is killed when a test fails or hangs. Run are the tests that go at this code by itself, and a few of the
engine's: those that run the changed statement, for at most ten seconds, the likeliest killers first. What a module does when it
is imported has a process, and a few tests, of its own. A run without a change has to pass first, for each file in both ways.
Some changes die of themselves, such as an argument left out that has no default: the share is no measure of the tests beside
another tool's. The tool is our own, `tests/mutation/`: mutmut 3.8 changes functions only, so neither the table of transitions,
nor properties, nor SQL in constants, and has no operator for SQL; cosmic-ray 8.7 starts pytest anew for each of its mutants, a
quarter of which change types. Why a survivor survives is written in `tests/mutation/survivors.toml`.

"""


def main(arguments: Sequence[str]) -> int:
    """Run, and write the page if everything was run; `--page` writes it anew from what was found the last time."""
    if list(arguments) != ["--page"]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        code = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "-p", "mutation.plugin", "-p", "no:cacheprovider",
                "-m", "not slow", "-k", "not postgres", f"--mutation-results={RESULTS}", *arguments, *TESTS,
            ],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, check=False,
        ).returncode  # fmt: skip
        if code not in {0, 5}:  # 5: pytest itself has run no test, for the plug-in did
            return code
    found = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    found.sort(key=lambda each: (list(SCOPE).index(each["file"]), each["line"]))
    dead = sum(each["end"] in DEAD for each in found)
    print(f"{dead} of {len(found)} killed: {dead / len(found):.1%}")
    if {each["file"] for each in found} == set(SCOPE):
        PAGE.write_text(page(found, why()), encoding="utf-8")
    return 0 if dead >= GOAL * len(found) else 1


def why() -> Mapping[str, str]:
    """Give why each survivor that somebody has looked at survives."""
    told = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))
    return {key: group["because"] for group in told["group"] for key in group["mutants"]}


def page(found: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    """Write the page: the figures, then each survivor under why it survives."""
    lines = ["| file | mutants | killed | of them hung | survived | |", "|---|---|---|---|---|---|"]
    for file in (*SCOPE, ""):
        some = [each for each in found if file in ("", each["file"])]
        dead = [each for each in some if each["end"] in DEAD]
        hung = sum(each["end"] == "timeout" for each in dead)
        name = f"`{file}`" if file else "**all**"
        share = f"{len(dead) / len(some):.1%}" if some else ""
        lines.append(f"| {name} | {len(some)} | {len(dead)} | {hung} | {len(some) - len(dead)} | {share} |")
    alive = defaultdict(list)
    for each in found:
        if each["end"] not in DEAD:
            untested = "No test runs it." if each["end"] == "no test" else "Nobody has looked at it yet."
            alive[reasons.get(each["key"], untested)].append(each)
    lines += ["", "## Survivors", ""]
    for reason in sorted(alive, key=lambda reason: len(alive[reason]), reverse=True):
        lines += [f"### {reason}", ""]
        lines += [
            f"- `{each['file']}:{each['line']}` {each['function'] or 'when it is imported'}: "
            f"``{each['before']}`` → ``{each['after']}``"
            for each in alive[reason]
        ]
        lines.append("")
    return HEAD + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
