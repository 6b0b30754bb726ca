"""Options of the NPU: what the plugin would ignore is refused, with what is valid instead."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.errors import NpuFailed
from engine.runtime.qnn.chips import CHIPS
from engine.runtime.qnn.options import ALLOWED, NpuOptions


def refusal(**options: str) -> str:
    with pytest.raises(NpuFailed) as failed:
        NpuOptions(provider_options=options).check()
    assert failed.value.code == "bad-option"
    return str(failed.value)


def test_a_misspelt_name_is_refused_with_the_nearest_and_all_that_are_valid():
    sentence = refusal(htp_perfomance_mode="burst")
    assert sentence.startswith("htp_perfomance_mode is no NPU option: did you mean htp_performance")
    assert all(name in sentence for name in ALLOWED)


def test_a_name_like_no_other_is_refused_without_a_guess():
    assert refusal(nonsense="1").startswith("nonsense is no NPU option: Valid are backend_path, ")


def test_a_wrong_value_is_refused_with_the_valid_ones():
    sentence = refusal(htp_performance_mode="turbo_nonsense")
    assert "cannot be 'turbo_nonsense'" in sentence
    assert "burst, sustained_high_performance" in sentence


def test_the_finalization_mode_that_crashes_is_not_among_the_valid_ones():
    sentence = refusal(htp_graph_finalization_optimization_mode="1")
    assert sentence.endswith("cannot be '1'; it takes 0, 2, 3.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rpc_control_latency", "fast"),
        ("rpc_control_latency", "-1"),
        ("vtcm_mb", "8 MB"),
        ("enable_htp_fp16_precision", "true"),
        ("qnn_context_priority", ""),
        ("backend_path", ""),
        ("backend_path", "/opt/qairt/libQnnGpu.so"),
        ("backend_path", "/opt/qairt/libQnnHtp.so.old"),
        ("backend_path", "/opt/notlibQnnHtp.so"),
    ],
)
def test_values_that_are_not_the_options_are_refused(name: str, value: str):
    assert f"option {name} cannot be {value!r}; it takes " in refusal(**{name: value})


@pytest.mark.parametrize("name", ["soc_model", "htp_arch", "backend_type", "ep.context_enable"])
def test_what_we_set_ourselves_is_no_option_of_the_user(name: str):
    assert f"{name} is no NPU option" in refusal(**{name: "60"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend_path", "/opt/qairt/lib/libQnnHtp.so"),
        ("backend_path", r"C:\qairt\QnnHtp.dll"),
        ("backend_path", "libQnnHtp.so"),
        ("rpc_control_latency", "100"),
        ("vtcm_mb", "8"),
        *[(name, value) for name, option in ALLOWED.items() for value in option.values],
    ],
)
def test_valid_values_are_taken(name: str, value: str):
    NpuOptions(provider_options={name: value}).check()


@pytest.mark.parametrize("soc", ["", "8380", "X Elite"])
def test_a_simulator_without_a_known_soc_is_refused_with_the_known_ones(soc: str):
    with pytest.raises(NpuFailed, match="60 is SC8380XP") as failed:
        NpuOptions(simulator=True, soc=soc).check()
    assert failed.value.code == "bad-option"
    assert all(known in str(failed.value) for known in CHIPS)


def test_the_soc_of_the_simulator_is_not_asked_of_who_has_an_npu():
    NpuOptions(simulator=False, soc="").check()


def test_the_installed_plugin_knows_every_option_we_offer():
    spec = find_spec("onnxruntime_qnn")
    if spec is None or spec.origin is None:
        pytest.skip("needs onnxruntime-qnn")
    (library,) = [
        file
        for file in Path(spec.origin).parent.iterdir()
        if "onnxruntime_providers_qnn" in file.name and file.suffix in (".so", ".dll")
    ]
    held = library.read_bytes()
    unknown = [name for name in ALLOWED if name.encode() not in held]
    assert unknown == []
    modes = ALLOWED["htp_performance_mode"].values
    assert [mode for mode in modes if mode.encode() not in held] == []


def test_options_are_read_without_the_plugin_being_loaded():
    code = (
        "import sys; from engine.runtime.qnn import options; "
        "assert not {'onnxruntime', 'onnxruntime_qnn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
