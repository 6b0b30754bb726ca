"""Sessions on the NPU's simulator: all of the graph runs there, or none of it is served."""

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from two_nodes import WEIGHT, X, two_nodes

from engine.errors import NpuFailed
from engine.runtime import strict
from engine.runtime.qnn.devices import Device, find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session

BOGUS = {"backend_path": "/nowhere/libQnnHtp.so"}

EXPECTED = np.maximum(X @ WEIGHT, 0)

LIVE_AT_EXIT = """
from pathlib import Path
import numpy as np
from engine.runtime.qnn.devices import find
from engine.runtime.qnn.options import NpuOptions
from engine.runtime.session import Session
device = find(NpuOptions(simulator=True))
sessions = [Session.open_compiled(Path({file!r}), device) for _ in range(2)]
for session in sessions:
    session.run({{"x": np.ones((4, 8), np.float32)}}, ["y"])
print(sessions[1].provider)
"""


def on_simulator(**options: str) -> Device:
    found = find(NpuOptions(simulator=True, provider_options=options))
    assert isinstance(found, Device)
    return found


def lenient(device: Device, options: dict[str, str]) -> ort.InferenceSession:
    """A session as anybody would open it: not strict."""
    session_options = ort.SessionOptions()
    session_options.log_severity_level = 4
    session_options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session_options.add_provider_for_devices([device.handle], options)
    return ort.InferenceSession(two_nodes(), session_options)


@pytest.fixture(scope="module")
def context(simulator: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("context") / "model_ctx.onnx"
    Session.compiled(two_nodes(), simulator, file)
    return file


def code_of(failed: pytest.ExceptionInfo[NpuFailed]) -> str:
    return failed.value.code


def test_a_compiled_graph_runs_on_the_simulator_with_all_its_nodes(
    simulator: Device, tmp_path: Path
):
    session = Session.compiled(two_nodes(), simulator, tmp_path / "c.onnx")
    assert session.provider == "htp-simulator"
    assert session.assignment == {"htp-simulator": 2}
    (y,) = session.run({"x": X}, ["y"])
    np.testing.assert_allclose(y, EXPECTED, atol=0.02)
    assert not np.array_equal(y, EXPECTED)


def test_an_opened_context_is_one_node_on_the_simulator_and_gives_the_same_bits(
    simulator: Device, tmp_path: Path
):
    compiled = Session.compiled(two_nodes(), simulator, tmp_path / "c.onnx")
    opened = Session.open_compiled(tmp_path / "c.onnx", simulator)
    assert opened.provider == "htp-simulator"
    assert opened.assignment == {"htp-simulator": 1}
    assert np.array_equal(opened.run({"x": X}, ["y"])[0], compiled.run({"x": X}, ["y"])[0])


def test_what_became_of_every_node_is_traced_where_asked_for(simulator: Device, tmp_path: Path):
    Session.compiled(two_nodes(), simulator, tmp_path / "c.onnx", trace_folder=tmp_path / "trace")
    trace = json.loads((tmp_path / "trace" / "qnn_op_trace.json").read_text(encoding="utf-8"))
    assert (trace["summary"]["total_onnx_nodes"], trace["summary"]["unsupported_nodes"]) == (2, 0)


def test_a_session_that_lists_the_npu_but_runs_on_the_cpu_is_told_by_its_assignment(
    simulator: Device,
):
    raw = lenient(simulator, on_simulator(**BOGUS).provider_options())
    assert raw.get_providers()[0] == "QNNExecutionProvider"
    assert np.array_equal(raw.run(None, {"x": X})[0], EXPECTED)
    session = Session(raw, simulator)
    assert session.provider == "cpu"
    assert session.assignment == {"cpu": 2}
    with pytest.raises(NpuFailed) as failed:
        strict.prove(raw, simulator)
    assert code_of(failed) == "ran-on-cpu"
    strict.prove(lenient(simulator, simulator.provider_options()), simulator)


def test_a_bogus_backend_path_is_found_out(simulator: Device, context: Path, tmp_path: Path):
    bogus = on_simulator(**BOGUS)
    with pytest.raises(NpuFailed, match="leave nodes of the graph to the CPU") as failed:
        Session.compiled(two_nodes(), bogus, tmp_path / "c.onnx")
    assert code_of(failed) == "ran-on-cpu"
    with pytest.raises(NpuFailed) as failed:
        Session.open_compiled(context, bogus)
    assert code_of(failed) == "ran-on-cpu"
    assert not (tmp_path / "c.onnx").exists()


def test_a_graph_with_free_shapes_is_refused_because_it_would_run_on_the_cpu(
    simulator: Device, tmp_path: Path
):
    with pytest.raises(NpuFailed) as failed:
        Session.compiled(two_nodes("rows"), simulator, tmp_path / "c.onnx")
    assert code_of(failed) == "ran-on-cpu"


def test_the_plugin_itself_takes_options_that_it_does_not_know(simulator: Device):
    options = {**simulator.provider_options(), "nonsense": "1", "htp_performance_mode": "nonsense"}
    session = Session(lenient(simulator, options), simulator)
    assert session.assignment == {"htp-simulator": 2}
    assert find(NpuOptions(simulator=True, provider_options={"nonsense": "1"})) != simulator


def test_the_plugin_needs_a_soc_to_simulate_and_so_do_our_options(
    simulator: Device, tmp_path: Path
):
    without = {k: v for k, v in simulator.options.items() if k != "soc_model"}
    with pytest.raises(NpuFailed, match="soc_model is not specified") as failed:
        Session.compiled(
            two_nodes(), dataclasses.replace(simulator, options=without), tmp_path / "c.onnx"
        )
    assert code_of(failed) == "compile-failed"
    with pytest.raises(NpuFailed, match="as a certain SoC does, and no SoC number is known"):
        NpuOptions(simulator=True, soc="").check()


def test_options_that_the_simulator_cannot_serve_are_refused_in_its_own_words(
    simulator: Device, tmp_path: Path
):
    with pytest.raises(NpuFailed, match=r"\(BF16 mode is enabled but SoC model is 60") as failed:
        Session.compiled(two_nodes(), on_simulator(htp_bf16_enable="1"), tmp_path / "c.onnx")
    assert code_of(failed) == "compile-failed"


def test_an_existing_context_is_not_written_over(simulator: Device, context: Path):
    before = context.read_bytes()
    with pytest.raises(NpuFailed, match="exists already") as failed:
        Session.compiled(two_nodes(), simulator, context)
    assert code_of(failed) == "compile-failed"
    assert context.read_bytes() == before


@pytest.mark.parametrize("harm", ["cut", "without its .bin", "no model", "gone", "plain model"])
def test_what_is_no_context_of_this_device_is_refused_or_not_left_to_the_cpu(
    simulator: Device, tmp_path: Path, harm: str
):
    file = tmp_path / "c.onnx"
    Session.compiled(two_nodes(), simulator, file)
    (binary,) = tmp_path.glob("*.bin")
    match harm:
        case "cut":
            binary.write_bytes(binary.read_bytes()[: binary.stat().st_size // 2])
        case "without its .bin":
            binary.unlink()
        case "no model":
            file.write_text("no model", encoding="utf-8")
        case "gone":
            file.unlink()
        case _:
            file.write_bytes(two_nodes("rows"))
    with pytest.raises(NpuFailed) as failed:
        Session.open_compiled(file, simulator)
    assert code_of(failed) == ("ran-on-cpu" if harm == "plain model" else "context-refused")


def test_a_run_that_the_device_refuses_says_so_and_the_next_is_served(
    simulator: Device, context: Path
):
    session = Session.open_compiled(context, simulator)
    with pytest.raises(NpuFailed, match="A run on the htp-simulator failed") as failed:
        session.run({"x": X[:2]}, ["y"])
    assert code_of(failed) == "run-failed"
    assert session.run({"x": X}, ["y"])[0].shape == (4, 8)


def test_two_sessions_and_four_threads_each_give_what_one_thread_gives(
    simulator: Device, context: Path
):
    sessions = [Session.open_compiled(context, simulator) for _ in range(2)]
    inputs = np.random.default_rng(2).standard_normal((8, 3, 4, 8)).astype(np.float32)
    expected = [[sessions[0].run({"x": x}, ["y"])[0] for x in of_one] for of_one in inputs]
    found: list[list[np.ndarray]] = [[] for _ in inputs]

    def run(number: int) -> None:
        for x in inputs[number]:
            found[number] += sessions[number % 2].run({"x": x}, ["y"])

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.array(found), np.array(expected))


def test_a_process_ends_well_with_live_sessions_and_prints_nothing_of_the_plugins(
    child, context: Path, tmp_path: Path
):
    for _ in range(3):
        done = child(LIVE_AT_EXIT.format(file=str(context)))
        assert (done.returncode, done.stdout) == (0, "htp-simulator\n"), done.stderr
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_session_on_the_cpu_says_so_by_the_same_means(tmp_path: Path):
    file = tmp_path / "model.onnx"
    onnx.save(onnx.load_model_from_string(two_nodes()), file)
    session = Session.open(file)
    assert session.provider == "cpu"
    assert session.assignment == {"cpu": 2}
