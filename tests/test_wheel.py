"""The built wheel: what `pip install remediator` gives."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_carries_the_shipped_rules_the_schema_and_the_command(tmp_path: Path) -> None:
    """Without a checkout beside it, it checks its own rules and makes its own store."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("remediator-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "remediator/shipped/service-down.yml" in names
    assert "remediator/shipped/rules.schema.json" in names  # which their first lines name
    assert "remediator/py.typed" in names
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    said = {}
    for command in ("check", "actions", "migrate"):
        ended = subprocess.run(
            [sys.executable, "-m", "remediator", command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said[command] = ended.stdout
    assert re.match(r"[1-9]\d* rules\b.* 0 errors, 0 warnings", said["check"])
    assert "exec.run" in said["actions"]
