"""Status tells the truth of where texts are embedded: on the simulator, and where that fails."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from anyio import to_thread
from mcp import Client
from mcp_types import CallToolResult, TextContent

from engine.embed.accelerator import ShapeStatus
from engine.embed.embedder import Placement
from engine.engine import Engine, NpuOptions
from engine.runtime.qnn import devices
from engine.runtime.shapes import Bucket
from mcp_server import placement
from mcp_server.commands.serve import opened
from mcp_server.server import build
from mcp_server.settings import Settings

pytestmark = pytest.mark.anyio

TEXTS = {"texts": ["w5 w6 w7", "w8 " * 20]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """One for all, so that the simulator's shape is compiled once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def settings(data_dir, tiny_embedder) -> dict:
    return {"data_dir": data_dir, "embedder": str(tiny_embedder), "root": (data_dir,)}


def text_of(result: CallToolResult) -> str:
    """All text of a result."""
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))


def warnings(caplog) -> list[logging.LogRecord]:
    """What the engine had the server say."""
    return [record for record in caplog.records if record.name == "mcp_server.commands.serve"]


def prepared(engine: Engine) -> None:
    with engine.embedder.lease() as embedder:
        embedder.wait_until_prepared()


@asynccontextmanager
async def serving(**settings) -> AsyncGenerator[Client]:
    """A server as it is started, once its NPU serves or has failed."""
    chosen = Settings(**settings)
    engine = opened(chosen)
    try:
        async with Client(build(engine, chosen)) as client:
            await to_thread.run_sync(prepared, engine)
            yield client
    finally:
        await to_thread.run_sync(engine.close)


async def vectors_and_status(client: Client):
    """The vectors of TEXTS, the provider that is told of, and status in both channels."""
    made = (await client.call_tool("embed", TEXTS)).structured_content
    status = await client.call_tool("status", {})
    return np.array(made["embeddings"]), made["provider"], status


@pytest.fixture
async def cpu_vectors(settings):
    async with serving(**settings, policy="cpu") as client:
        vectors, provider, _ = await vectors_and_status(client)
    assert provider == "cpu"
    return vectors


async def test_on_the_simulator_vectors_and_status_say_so(
    settings, cpu_vectors, simulator, data_dir, caplog
):
    (data_dir / "note.md").write_text("w9 w10 w11\n")
    async with serving(**settings, policy="npu", htp_simulator=simulator) as client:
        vectors, provider, status = await vectors_and_status(client)
        await client.call_tool("index_documents", {"path": str(data_dir / "note.md")})
        found = await client.call_tool("semantic_search", {"query": "w9 w10"})
        info = json.loads((await client.read_resource("models://info")).contents[0].text)
    assert provider == found.structured_content["provider"] == "htp-simulator"
    assert (vectors * cpu_vectors).sum(axis=1).min() >= 0.999
    told = status.structured_content["placement"]
    npu = told["npu"]
    assert (told["policy"], npu["code"]) == ("npu", "in-use")
    assert (npu["provider"], npu["soc"], npu["architecture"]) == ("htp-simulator", "60", "v73")
    assert npu["onnxruntime_qnn"]
    assert npu["qairt"]
    (shape,) = [one for one in told["shapes"] if one["provider"] == "htp-simulator"]
    assert (shape["rows"], shape["tokens"], shape["state"]) == (1, 32, "serving")
    assert 0 < shape["median_ms"] <= shape["tail_ms"]
    assert shape["runs"] >= 1
    assert {one["provider"] for one in told["shapes"]} == {"cpu", "htp-simulator"}
    assert status.structured_content["models"][0]["provider"] == "htp-simulator, cpu"
    for fact in ("htp-simulator: HTP of SC8380XP", "SoC 60", "policy npu; in-use", "1x32 "):
        assert fact in text_of(status)
    assert info["placement"]["npu"] == npu
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        ("backend_path=/nowhere/libQnnHtp.so", "quarantined", "/nowhere/libQnnHtp.so: cannot open"),
        ("no_such_option=1", "bad-option", "no_such_option is no NPU option"),
        ("vtcm_mb=many", "bad-option", "vtcm_mb cannot be 'many'"),
    ],
)
async def test_what_fails_ends_on_the_cpu_with_one_line_in_the_log_and_the_truth_in_status(
    settings, cpu_vectors, simulator, caplog, option, code, said
):
    wrong = {"htp_simulator": simulator, "npu_option": (option,)}
    async with serving(**settings, **wrong) as client:
        vectors, provider, status = await vectors_and_status(client)
    assert provider == "cpu"
    np.testing.assert_array_equal(vectors, cpu_vectors)
    (line,) = warnings(caplog)
    assert line.levelno == logging.WARNING
    assert said in line.getMessage()
    npu = status.structured_content["placement"]["npu"]
    assert npu["code"] == code
    assert said in npu["why"]
    assert f"{code}: " in text_of(status)
    assert said in text_of(status)
    assert status.structured_content["models"][0]["provider"] == "cpu"


@pytest.mark.parametrize(
    ("states", "code", "said"),
    [
        (None, "not-loaded", "No embedding model is in memory."),
        (["waiting", "quarantined"], "preparing", "until then the CPU embeds all texts"),
        (["serving", "quarantined"], "in-use", "Out of service: 1x2 (texts x tokens): it failed"),
        (["quarantined", "quarantined"], "quarantined", "Out of service: 1x1, 1x2 "),
    ],
)
def test_why_a_device_is_used_or_not_follows_from_its_shapes(states, code, said, simulator):
    device = devices.find(NpuOptions(simulator=True, soc=simulator))
    now = states and Placement(
        "auto",
        tuple(
            ShapeStatus(device.provider, Bucket(1, tokens), state, "it failed")
            for tokens, state in enumerate(states, 1)
        ),
        0,
    )
    entry = placement.npu(device, now, "auto")
    assert entry.code == code
    assert said in entry.why


async def test_no_npu_is_looked_for_where_the_policy_is_cpu(settings, simulator):
    async with serving(**settings, policy="cpu", htp_simulator=simulator) as client:
        _, _, status = await vectors_and_status(client)
    npu = status.structured_content["placement"]["npu"]
    assert (npu["code"], npu["provider"]) == ("policy", "")
    assert "NPU: none; policy cpu" in text_of(status)


async def test_without_a_simulator_asked_for_there_is_none_and_nobody_is_warned(settings, caplog):
    async with serving(**settings) as client:
        _, provider, status = await vectors_and_status(client)
    assert provider == "cpu"
    assert status.structured_content["placement"]["npu"]["code"] in ("no-device", "not-installed")
    assert not warnings(caplog)
