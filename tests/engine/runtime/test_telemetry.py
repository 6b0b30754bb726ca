"""Nothing phones home: the runtime's own uploader stays off."""

import os
import subprocess
import sys
from pathlib import Path

OPEN = "import sys; from pathlib import Path; from engine.runtime.session import Session; "


def home_after(code: str, home: Path, **changes: str) -> list[Path]:
    """Files in a new home folder after a program ran; CI's own variables would hide an uploader."""
    home.mkdir()
    left_out = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home)}
    subprocess.run([sys.executable, "-c", code], env=environment | changes, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


def test_opening_a_model_leaves_nothing_in_the_home_folder(tmp_path, minilm_folder):
    model = minilm_folder / "model.onnx"
    code = f"{OPEN} Session.open(Path({str(model)!r}))"
    assert home_after(code, tmp_path / "home") == []


def test_the_switch_is_set_by_whatever_imports_the_runtime_room_first(tmp_path):
    code = "import engine.runtime.providers, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    assert home_after(code, tmp_path / "home") == []
