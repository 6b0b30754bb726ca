"""A tiny decoder of random weights, and the real SmolLM2 one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import write_decoder

from engine.decode.decoder import Decoder, DecoderOptions
from engine.models.folder import read_installed
from engine.models.spec import DecoderSpec


@pytest.fixture(scope="session")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> DecoderSpec:
    return write_decoder(tmp_path_factory.mktemp("tiny"))


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
