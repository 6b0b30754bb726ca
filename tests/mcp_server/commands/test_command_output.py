"""What the engine is opened with, from the settings."""

import argparse
import os

from mcp_server import settings
from mcp_server.commands.engine_options import options


def read(env: dict[str, str], *words: str) -> settings.Settings:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser, "serve")
    return settings.read(parser.parse_args(words), "serve", env)


def test_without_settings_there_is_no_simulator_and_texts_go_where_they_are_done_first(tmp_path):
    given = options(read({}, "--data-dir", str(tmp_path)))
    assert given.placement.policy == "auto"
    assert given.placement.energy_weight == 0
    assert not given.npu.simulator
    assert given.npu.provider_options == {}
    assert given.compiled_dir == tmp_path / "compiled"
    assert given.compiled_bytes == 4_000_000_000


def test_settings_of_the_npu_reach_the_engine_from_flags_and_environment():
    env = {
        "NPU_GATEWAY_NPU_OPTION": os.pathsep.join(["vtcm_mb=4", "vtcm_mb=8", "a=b=c"]),
        "NPU_GATEWAY_POLICY": "NPU",
        "NPU_GATEWAY_COMPILED_MB": "7",
    }
    chosen = read(env, "--htp-simulator", "88", "--energy-weight", "0.5")
    given = options(chosen)
    assert (given.placement.policy, given.placement.energy_weight) == ("npu", 0.5)
    assert (given.npu.simulator, given.npu.soc) == (True, "88")
    assert given.npu.provider_options == {"vtcm_mb": "8", "a": "b=c"}
    assert given.compiled_bytes == 7_000_000
    assert read({}, *chosen.arguments("serve")) == chosen
