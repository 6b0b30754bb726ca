"""The commands on the HTP simulator, as a script runs them: JSON stays JSON, and providers true."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shell import Ran, piped, run

PNG = b"\x89PNG\r\n"
FULL_DISK = Path("/dev/full")
TEXTS = ("w5 w6 w7", "w299 " * 40)


def vectors_of(result: Ran) -> np.ndarray:
    return np.array(json.loads(result.stdout)["embeddings"])


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory, tiny_embedder) -> list[str]:
    """Flags of a home of its own, whose compiled shapes all tests of this file share."""
    home = tmp_path_factory.mktemp("home")
    return ["--data-dir", str(home), "--embedder", str(tiny_embedder)]


@pytest.fixture(scope="module")
def flags(on_cpu, simulator) -> list[str]:
    return [*on_cpu, "--htp-simulator", simulator]


@pytest.fixture(scope="module")
def cpu_vectors(on_cpu) -> np.ndarray:
    return vectors_of(run("embed", *TEXTS, "--json", "--policy", "cpu", *on_cpu))


def test_the_forced_simulator_embeds_and_what_it_prints_stays_off_stdout(flags, cpu_vectors):
    result = piped("embed", *TEXTS, "--json", "--policy", "npu", *flags)
    answer = json.loads(result.stdout)
    assert result.returncode == 0
    assert answer["provider"] == "htp-simulator"
    assert answer["truncated"] == [1]
    vectors = np.array(answer["embeddings"])
    assert (vectors * cpu_vectors).sum(axis=1).min() >= 0.999
    assert not np.array_equal(vectors, cpu_vectors), "float16 rounds otherwise"


def test_indexing_and_searching_on_it_say_so(flags, tmp_path):
    (tmp_path / "a.md").write_text("w10 w11 w12 w13\n")
    (tmp_path / "b.md").write_text("w200 w201 w202 w203\n")
    indexed = run("index", str(tmp_path), "--json", "--policy", "npu", *flags)
    found = run("search", "w200 w201", "--json", "--policy", "npu", *flags)
    elsewhere = run("search", "w200 w201", "--json", "--policy", "cpu", *flags)
    assert json.loads(indexed.stdout)["indexed"] == 2
    answer, other = json.loads(found.stdout), json.loads(elsewhere.stdout)
    assert (answer["provider"], other["provider"]) == ("htp-simulator", "cpu")
    assert len(answer["passages"]) == 2
    assert [one["path"] for one in answer["passages"]] == [one["path"] for one in other["passages"]]


def test_calibrating_tells_and_draws_what_each_provider_takes(flags, tmp_path):
    picture = tmp_path / "latencies.png"
    result = run("calibrate", "--json", "--plot", str(picture), *flags)
    report = json.loads(result.stdout)
    assert result.returncode == 0
    assert (report["policy"], report["npu"]["code"]) == ("auto", "in-use")
    assert (report["npu"]["soc"], report["npu"]["architecture"]) == ("60", "v73")
    assert {shape["provider"] for shape in report["shapes"]} == {"cpu", "htp-simulator"}
    for shape in report["shapes"]:
        assert shape["state"] == "serving"
        assert 0 < shape["median_ms"] <= shape["tail_ms"]
        per_second = 1000 * shape["rows"] * shape["tokens"] / shape["median_ms"]
        assert shape["tokens_per_second"] == pytest.approx(per_second, rel=0.01, abs=1)
        assert shape["prediction_error"] >= 0
    assert picture.read_bytes().startswith(PNG)


def test_calibrating_without_an_npu_measures_the_cpu(on_cpu):
    result = run("calibrate", *on_cpu)
    table, words = result.stdout.split("shape: texts x tokens")
    assert result.returncode == 0
    assert "cpu       1x32" in table
    assert "htp-simulator" not in table
    assert "no NPU: " in words


def test_a_picture_that_cannot_be_written_is_one_sentence_before_anything_is_measured(
    on_cpu, tmp_path
):
    no_model = ["--data-dir", str(tmp_path), "--embedder", str(tmp_path / "none")]
    for file in (tmp_path / "no" / "folder.png", tmp_path):
        result = run("calibrate", "--plot", str(file), *no_model)
        assert result.returncode == 1
        assert "choose another --plot" in result.stderr
        assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not FULL_DISK.exists(), reason="needs POSIX with a device that is full")
def test_results_are_printed_though_the_picture_finds_no_room(on_cpu):
    result = run("calibrate", "--json", "--policy", "cpu", "--plot", str(FULL_DISK), *on_cpu)
    assert result.returncode == 1
    assert json.loads(result.stdout)["shapes"]
    assert "choose another --plot" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_looks_like_markup_or_mathematics_is_printed_and_drawn_as_it_is(
    tiny_embedder, tmp_path
):
    folder = shutil.copytree(tiny_embedder, tmp_path / "enc [v2] $a_{$")
    flags = ["--data-dir", str(tmp_path / "data"), "--models-dir", str(tmp_path)]
    picture = tmp_path / "latencies.png"
    words = ["--embedder", str(folder), "--policy", "cpu", "--plot", str(picture), *flags]
    result = run("calibrate", *words)
    found = run("doctor", "--embedder", str(folder), "--policy", "cpu", *flags)
    embedded = run("embed", "w5 :bug:", "--embedder", str(folder), "--policy", "cpu", *flags)
    assert (result.returncode, result.stderr) == (0, f"{picture} is written.\n")
    assert picture.read_bytes().startswith(PNG)
    assert folder.name in result.stdout
    assert folder.name in found.stdout
    assert ":bug:" in embedded.stdout


def test_a_long_reason_full_of_markup_leaves_the_table_whole(on_cpu, simulator):
    library = "/nowhere/[/opt/x] [v2]/libQnnHtp.so"
    words = ["--htp-simulator", simulator, "--npu-option", f"backend_path={library}"]
    result = run("calibrate", *words, *on_cpu)
    assert result.returncode == 0
    table, words = result.stdout.split("shape: texts x tokens")
    failed, reason = [line for line in table.splitlines() if "htp-simulator" in line]
    assert failed.split() == ["htp-simulator", "1x32", "quarantined", "-", "-", "-", "-"]
    assert reason.startswith("htp-simulator 1x32: ")
    assert library in reason


def test_without_the_extra_a_picture_is_refused_by_its_name(on_cpu, tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('No module named matplotlib')\n")
    result = subprocess.run(
        [sys.executable, "-m", "mcp_server", "calibrate", "--plot", "x.png", *on_cpu],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert result.returncode == 1
    assert "pip install 'npu-gateway[plot]'" in result.stderr


def test_doctor_tells_of_the_device_and_compiles_nothing(flags, tmp_path):
    result = run("doctor", "--json", *flags, "--data-dir", str(tmp_path / "none"))
    facts = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert facts["NPU"]["state"] == "ok"
    for fact in ("htp-simulator", "SoC 60", "v73", "onnxruntime-qnn", "QAIRT", "policy auto"):
        assert fact in facts["NPU"]["fact"]
    assert not (tmp_path / "none").exists()


def test_doctor_calls_a_machine_without_an_npu_sound_unless_one_is_forced(on_cpu):
    for words, state in (([], "ok"), (["--policy", "npu"], "problem")):
        result = run("doctor", "--json", *words, *on_cpu)
        facts = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
        assert facts["NPU"]["state"] == state
        assert "cpu" not in facts["ONNX Runtime"]["fact"].split()


def test_doctor_looks_for_no_npu_where_the_policy_is_cpu(on_cpu):
    words = ["--policy", "cpu", "--npu-option", "no_such_option=1"]
    result = run("doctor", "--json", *words, *on_cpu)
    facts = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert facts["NPU"]["fact"] == "The policy is cpu: no NPU is looked for."
    assert (facts["NPU"]["state"], facts["NPU"]["advice"]) == ("ok", "")


def test_doctor_calls_a_library_that_is_not_there_a_problem(flags):
    words = ["--npu-option", "backend_path=/nowhere/libQnnHtp.so"]
    result = run("doctor", "--json", *words, *flags)
    facts = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert facts["NPU"]["state"] == "problem"
    assert "there is no file /nowhere/libQnnHtp.so" in facts["NPU"]["advice"]
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("backend_path=/nowhere/libQnnHtp.so", "/nowhere/libQnnHtp.so: cannot open"),
        ("htp_perf_mode=burst", "htp_perf_mode is no NPU option: did you mean"),
        ("htp_performance_mode=turbo", "cannot be 'turbo'; it takes burst"),
    ],
)
def test_what_does_not_work_on_the_npu_is_done_on_the_cpu_and_said_once(
    flags, cpu_vectors, option, said
):
    words = ["--policy", "npu", "--npu-option", option, *flags]
    result = run("embed", *TEXTS, "--json", *words)
    assert result.returncode == 0
    assert json.loads(result.stdout)["provider"] == "cpu"
    np.testing.assert_array_equal(vectors_of(result), cpu_vectors)
    (line,) = result.stderr.splitlines()
    assert "The CPU embeds" in line
    assert said in line
