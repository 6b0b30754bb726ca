"""Tiny decoders of random weights in both published forms, and the real SmolLM2 one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from phi3_graph import OPTIMUM
from phi3_model import write_phi3
from phi3_weights import Shape
from tiny_models import write_decoder

from engine.decode.decoder import Decoder, DecoderOptions
from engine.models.folder import read, read_installed
from engine.models.spec import DecoderSpec


@pytest.fixture(scope="session")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> DecoderSpec:
    return write_decoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def growing_spec(tmp_path_factory: pytest.TempPathFactory) -> DecoderSpec:
    """As optimum exports it: past and new keys and values come back joined."""
    folder = tmp_path_factory.mktemp("growing")
    shape = Shape(
        hidden=32, ffn=64, heads=2, kv_heads=1, layers=2, vocabulary=384, window=None, context=512
    )
    write_phi3(folder, shape, OPTIMUM)
    spec = read(folder)
    assert isinstance(spec, DecoderSpec)
    return spec


@pytest.fixture(scope="session", params=["tiny_spec", "growing_spec"])
def either_spec(request: pytest.FixtureRequest) -> DecoderSpec:
    """Each of the published forms in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def tiny(tiny_spec: DecoderSpec) -> Iterator[Decoder]:
    decoder = Decoder.open(tiny_spec, DecoderOptions(threads=1))
    yield decoder
    decoder.close()


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> Iterator[Decoder]:
    spec = read_installed(smollm2_folder)
    assert isinstance(spec, DecoderSpec)
    decoder = Decoder.open(spec)
    yield decoder
    decoder.close()
