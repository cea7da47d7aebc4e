"""The page on actions of one's own is followed to the letter: the package is built, installed and used."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docs.blocks import blocks_of
from docs.generate import ROOT

RULE = """
rules:
  - name: close-shop
    summary: Put up the maintenance page while the shop is down.
    match: '{alertname="ShopDown"}'
    target: shop
    steps:
      - uses: maintenance.put_up
        with: {file: FILE, TEXT: '{{ labels.app }} is closed'}
    verify: {resolved: true}
    on_failure: [{uses: log, with: {message: still down}}]
"""
USE = """
import asyncio
from remediator.actions.catalog import load_catalog
from remediator.actions.protocol import Context
action = load_catalog()["maintenance.put_up"]
params = action.parameters(file="page.html", text="<b>web</b> is closed")
print(asyncio.run(action.run(params, Context(1e9, {}, {}.__getitem__))).result)
"""


@pytest.mark.slow
def test_a_plug_in_is_built_installed_and_used_as_the_page_says(tmp_path: Path) -> None:
    """One class, one entry point; then it is checked, listed and run like any other."""
    package, installed = tmp_path / "package", tmp_path / "installed"
    package.mkdir()
    for block in blocks_of(ROOT / "docs" / "plug-ins.md"):
        (package / str(block.word("file"))).write_text(block.text)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", str(package)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = (package / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    def remediator(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": f"{installed}:{ROOT}"}
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    listed = remediator("-m", "remediator", "actions", "maintenance.put_up")
    assert listed.returncode == 0, listed.stderr
    assert "Put up a maintenance page." in listed.stdout
    (tmp_path / "rules.yml").write_text(RULE.replace("FILE", "page.html").replace("TEXT", "text"))
    good = remediator("-m", "remediator", "check", "rules.yml")
    assert good.returncode == 0, good.stdout
    (tmp_path / "rules.yml").write_text(RULE.replace("FILE", "'{{ labels.app }}.html'").replace("TEXT", "txet"))
    bad = remediator("-m", "remediator", "check", "rules.yml")
    assert bad.returncode == 1
    assert "takes numbers, true and false from a template, but no text from outside" in bad.stdout
    assert "did you mean `text`" in bad.stdout
    used = remediator("-c", USE)
    assert used.returncode == 0, used.stderr
    assert (tmp_path / "page.html").read_text().endswith("<p>&lt;b&gt;web&lt;/b&gt; is closed")
