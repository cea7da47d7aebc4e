"""The systemd unit: systemd finds nothing wrong with it, and little exposed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from remediator.app import DRAIN_SECONDS

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "remediator.service"
_EXPOSURE = 25  # of 100: what a service that starts programs and speaks to the network can come to


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/remediator/bin/remediator", sys.executable))
    return copy


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: no systemd here")
@pytest.mark.parametrize("how", [["verify", "--man=no"], ["security", "--offline=yes", f"--threshold={_EXPOSURE}"]])
def test_systemd_takes_the_unit(unit: Path, how: list[str]) -> None:
    """Whatever it warns of counts."""
    done = subprocess.run(["systemd-analyze", *how, str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_state_that_the_page_names_is_the_folder_that_can_be_written_to() -> None:
    """By default it would be beside the configuration, where all is read-only, and the daemon would not start."""
    text = UNIT.read_text()
    assert "ProtectSystem=strict" in text
    assert "StateDirectory=remediator" in text
    section = (
        (ROOT / "docs" / "operations.md").read_text().partition("## Running it as a service")[2].partition("\n## ")[0]
    )
    assert "\nstate: /var/lib/remediator\n" in section
    assert "`state: /var/lib/remediator`" in text


def test_steps_at_work_are_given_their_time() -> None:
    """Before systemd kills what is left."""
    (seconds,) = [
        line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("TimeoutStopSec=")
    ]
    assert float(seconds) > DRAIN_SECONDS
