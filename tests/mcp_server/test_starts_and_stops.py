"""The story of examples/checkers/starts_and_stops.py, shorter."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "checkers" / "starts_and_stops.py"


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="needs POSIX with /proc")
def test_random_deaths_of_server_and_host_leave_nothing_behind(models_dir):
    command = [sys.executable, str(SCRIPT), "--models-dir", str(models_dir)]
    result = subprocess.run(
        [*command, "--count", "20", "--seed", "7", "--patience", "5"],
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "20 starts, 0 with violations" in result.stdout
