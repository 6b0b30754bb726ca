"""Where an NPU is lost the CPU answers over HTTP, and whoever asks is told so."""

import json
from dataclasses import replace

import pytest
from anyio import to_thread
from asking import ask

from mcp_server.commands.serve import opened
from mcp_server.http import app
from mcp_server.settings import Settings

JSON = (b"content-type", b"application/json")
TEXTS = ["w5 w6 w7", "w8 " * 20]


@pytest.mark.anyio
async def test_vectors_come_from_the_cpu_and_readiness_and_metrics_say_that_the_npu_is_lost(
    tmp_path, tiny_embedder, simulator
):
    lost = Settings(
        data_dir=tmp_path,
        embedder=str(tiny_embedder),
        root=(tmp_path,),
        htp_simulator=simulator,
        npu_option=("backend_path=/nowhere/libQnnHtp.so",),
    )
    vectors = []
    for settings in (lost, replace(lost, policy="cpu", npu_option=())):
        gateway = app.counted(opened(settings), settings)
        served = app.build(gateway)
        async with gateway.running():
            with gateway.engine.embedder.lease() as embedder:
                await to_thread.run_sync(embedder.wait_until_prepared)
            gateway.warm.set()
            (model,) = [
                one["id"]
                for one in json.loads((await ask(served)).body)["data"]
                if one["task"] == "embed"
            ]
            body = json.dumps({"model": model, "input": TEXTS}).encode()
            answer = await ask(served, "/v1/embeddings", JSON, method="POST", body=body)
            assert answer.status == 200
            vectors.append([one["embedding"] for one in json.loads(answer.body)["data"]])
            ready = await ask(served, "/readyz")
            told = (await ask(served, "/metrics")).body.decode()
        await to_thread.run_sync(gateway.engine.close)
        reasons = json.loads(ready.body)["reasons"]
        assert ready.status == 200
        assert ("npu-quarantined" in reasons) == (settings is lost)
        assert ('npu_gateway_provider_fallback_total{workload="embed"} 1.0' in told) == (
            settings is lost
        )
        assert 'provider="cpu"' in told
    assert vectors[0] == vectors[1]
