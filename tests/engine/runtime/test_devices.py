"""Devices: the simulator is never taken for an NPU, and whatever is missing is said."""

import json
from pathlib import Path
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from engine.machine import Machine
from engine.runtime.qnn import plugin
from engine.runtime.qnn.chips import CHIPS
from engine.runtime.qnn.devices import Absence, Device, find
from engine.runtime.qnn.options import NpuOptions

FIND = """
import json, sys
from pathlib import Path
{before}
from engine.runtime.qnn.devices import Device, find
from engine.runtime.qnn.options import NpuOptions
def show(found):
    is_device = isinstance(found, Device)
    parts = (found.provider, found.note) if is_device else (found.code, found.reason)
    print(json.dumps(parts))
"""


def answers(child, code: str, *, before: str = "", packages: Path | None = None):
    done = child(FIND.format(before=before) + code, packages)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def write_package(folder: Path, version: str) -> Path:
    """A folder whose metadata hide those of the installed package."""
    about = folder / f"onnxruntime_qnn-{version}.dist-info"
    about.mkdir(parents=True)
    about.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: onnxruntime-qnn\nVersion: {version}\n", encoding="utf-8"
    )
    return folder


def test_the_simulator_is_found_only_where_it_is_asked_for(simulator: Device):
    found = find(NpuOptions())
    assert isinstance(found, Absence)
    assert found.code == "no-device"
    assert found.reason == "onnxruntime-qnn finds no Qualcomm NPU in this machine."


def test_the_simulator_never_goes_by_the_name_of_the_npu(simulator: Device):
    assert simulator.handle.device.type.name == "CPU"
    assert simulator.provider == "htp-simulator"
    assert simulator.name == "HTP of SC8380XP (Snapdragon X Elite and X Plus, v73)"
    assert (simulator.soc, simulator.architecture, simulator.driver) == ("60", "v73", "")


def test_versions_are_those_of_the_installed_packages(simulator: Device):
    assert simulator.onnxruntime.split(".")[0] == "1"
    assert int(simulator.plugin.split(".")[0]) >= 2
    assert simulator.qairt.count(".") == 2


def test_the_plugin_is_given_our_choice_and_the_users_on_top(simulator: Device):
    ours = simulator.provider_options()
    assert ours == {
        "backend_type": "htp",
        "soc_model": "60",
        "enable_htp_fp16_precision": "1",
        "htp_graph_finalization_optimization_mode": "3",
        "offload_graph_io_quantization": "0",
    }
    users = {"htp_graph_finalization_optimization_mode": "2", "vtcm_mb": "8"}
    found = find(NpuOptions(simulator=True, soc="88", provider_options=users))
    assert isinstance(found, Device)
    assert found.provider_options() == {**ours, **users, "soc_model": "88"}


def test_a_backend_path_takes_the_place_of_the_backend_type(simulator: Device):
    path = {"backend_path": "/nowhere/libQnnHtp.so"}
    found = find(NpuOptions(simulator=True, provider_options=path))
    assert isinstance(found, Device)
    assert found.provider_options()["backend_path"] == "/nowhere/libQnnHtp.so"
    assert "backend_type" not in found.provider_options()


def test_contexts_depend_on_versions_soc_and_options(simulator: Device):
    keys = [simulator.key_parts()]
    for options in (
        NpuOptions(simulator=True, soc="88"),
        NpuOptions(simulator=True, provider_options={"vtcm_mb": "8"}),
    ):
        found = find(options)
        assert isinstance(found, Device)
        keys.append(found.key_parts())
    assert len({json.dumps(key) for key in keys}) == 3
    assert {"provider", "onnxruntime", "plugin", "qairt", "soc", "driver"} <= set(keys[0])
    assert find(NpuOptions(simulator=True)) == simulator


def offered_npu(description: str, device_id: int) -> SimpleNamespace:
    """What the runtime offers on a machine with an NPU."""
    device = SimpleNamespace(
        type=SimpleNamespace(name="NPU"),
        metadata={"Description": description},
        vendor_id=0x4D4F4351,
        device_id=device_id,
    )
    return SimpleNamespace(ep_name="QNNExecutionProvider", device=device, ep_metadata={})


def test_contexts_depend_on_which_npu_it_is(simulator: Device, monkeypatch: pytest.MonkeyPatch):
    keys = []
    for npu in (offered_npu("X Elite", 1), offered_npu("X2 Elite", 1), offered_npu("X Elite", 2)):
        monkeypatch.setattr(ort, "get_ep_devices", lambda npu=npu: [npu])
        found = find(NpuOptions())
        assert isinstance(found, Device)
        assert found.provider == "npu"
        keys.append(found.key_parts())
    assert len({json.dumps(key) for key in keys}) == 3
    assert keys[0]["hardware"] == "4d4f4351:0001"


@pytest.mark.parametrize(
    "options",
    [
        NpuOptions(simulator=True, soc=""),
        NpuOptions(provider_options={"htp_performance_mode": "turbo_nonsense"}),
        NpuOptions(simulator=True, provider_options={"nonsense.key": "1"}),
    ],
)
def test_a_bad_option_is_an_absence_with_a_sentence(options: NpuOptions):
    found = find(options)
    assert isinstance(found, Absence)
    assert found.code == "bad-option"
    assert "known" in found.reason or "Valid are" in found.reason or "it takes" in found.reason


def test_without_the_package_the_sentence_says_how_to_install_it(child):
    before = "sys.modules['onnxruntime_qnn'] = None"
    code = "show(find(NpuOptions())); show(find(NpuOptions(simulator=True)))"
    for kind, reason in answers(child, code, before=before):
        assert kind == "not-installed"
        assert "pip install npu-gateway[qnn]" in reason or "There is no onnxruntime-qnn" in reason


def test_libraries_that_do_not_load_are_named_and_leave_the_process_well(
    child, simulator: Device, tmp_path: Path
):
    text = tmp_path / "text.so"
    text.write_text("no library", encoding="utf-8")
    code = (
        f"show(find(NpuOptions(simulator=True, library=Path({str(tmp_path / 'none.so')!r}))))\n"
        f"show(find(NpuOptions(simulator=True, library=Path({str(text)!r}))))\n"
        "show(find(NpuOptions(simulator=True)))\n"
    )
    missing, broken, packaged = answers(child, code)
    assert missing[0] == broken[0] == "library-broken"
    assert "none.so" in missing[1]
    assert "text.so" in broken[1]
    assert broken[1].endswith("; check its path.")
    assert packaged == ["htp-simulator", simulator.note]


def test_a_second_plugin_library_in_one_process_is_refused(simulator: Device, tmp_path: Path):
    found = find(NpuOptions(simulator=True, library=tmp_path / "other.so"))
    assert isinstance(found, Absence)
    assert found.code == "library-broken"
    assert found.reason.endswith(f"restart it to use {tmp_path / 'other.so'}.")


def test_the_packages_own_library_may_be_given_by_its_path(child, simulator: Device):
    library = simulator.handle.ep_metadata["library_path"]
    code = f"show(find(NpuOptions(simulator=True, library=Path({library!r}))))"
    ((provider, note),) = answers(child, code)
    assert provider == "htp-simulator"
    assert "has not been tried with onnxruntime" in note


def test_a_pair_of_versions_known_not_to_work_is_refused_with_those_that_do(
    child, simulator: Device, tmp_path: Path
):
    packages = write_package(tmp_path / "old", "2.3.0")
    before = "import onnxruntime; onnxruntime.__version__ = '1.32.0'"
    code = "show(find(NpuOptions(simulator=True)))"
    ((kind, reason),) = answers(child, code, before=before, packages=packages)
    assert kind == "versions-do-not-match"
    assert "onnxruntime-qnn 2.3.0 does not work with onnxruntime 1.32.0" in reason
    assert "1.32 with 2.7" in reason


def test_a_pair_of_versions_never_tried_is_used_and_said(child, simulator: Device, tmp_path: Path):
    packages = write_package(tmp_path / "new", "9.9.1")
    ((provider, note),) = answers(
        child, "show(find(NpuOptions(simulator=True)))", packages=packages
    )
    assert provider == "htp-simulator"
    assert note.startswith("onnxruntime-qnn 9.9.1 has not been tried with onnxruntime ")


def test_chips_are_known_by_one_number_each():
    assert all(chip.soc == soc and chip.architecture.startswith("v") for soc, chip in CHIPS.items())
    assert len({chip.part for chip in CHIPS.values()}) == len(CHIPS)


def test_an_emulated_python_that_finds_a_device_is_told_of_beside_it(simulator: Device):
    emulated = Machine("win-amd64", "ARM64", 0x8664)
    found = find(NpuOptions(simulator=True), emulated)
    assert isinstance(found, Device)
    assert found.note == f"{simulator.note} {emulated.advice}".strip()
    assert found.key_parts() == simulator.key_parts()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("", "C:\\qnn"),
        ("C:\\qnn", "C:\\qnn"),
        ("D:\\sdk", "C:\\qnn;D:\\sdk"),
        ("D:\\sdk;C:\\qnn;", "C:\\qnn;D:\\sdk"),
    ],
)
def test_the_driver_of_windows_looks_into_the_plugins_own_folder_first(before, expected):
    assert plugin.search_path("C:\\qnn", before) == expected


def test_the_search_path_is_set_before_the_plugin_is_loaded_on_windows(child):
    """Where the library is none, what was set before stays to be seen."""
    code = (
        "import os; from engine.runtime.qnn import plugin; plugin.PLATFORM = {platform!r};"
        "os.environ.pop('ADSP_LIBRARY_PATH', None);"
        "from pathlib import Path; folder = Path.cwd() / 'qnn';"
        "seen = [];"
        "plugin.ort.register_execution_provider_library = lambda *_: seen.append("
        "os.environ.get('ADSP_LIBRARY_PATH') == str(folder));"
        "plugin.load(folder / 'plugin.dll'); print(seen)"
    )
    said = [child(code.format(platform=one)).stdout.strip() for one in ("win-arm64", "win-amd64")]
    assert said == ["[True]", "[True]"]
    assert child(code.format(platform="linux-aarch64")).stdout.strip() == "[False]"
