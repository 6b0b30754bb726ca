"""Tiny decoders of random weights in both published forms, and the real SmolLM2 one."""

import hashlib
import tarfile
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

JSONSCHEMA = "jsonschema==4.26.0"
JSONSCHEMA_SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"


@pytest.fixture(scope="session")
def json_schema_suite(kept, source_package) -> Path:
    """The JSON Schema test suite for draft 2020-12, from jsonschema's source package."""

    def fill(folder: Path) -> None:
        package = source_package(JSONSCHEMA)
        assert hashlib.sha256(package.read_bytes()).hexdigest() == JSONSCHEMA_SHA256
        with tarfile.open(package) as archive:
            for member in archive:
                _, _, name = member.name.partition("/json/tests/draft2020-12/")
                if name.endswith(".json") and (content := archive.extractfile(member)):
                    (folder / name.replace("/", "-")).write_bytes(content.read())

    return kept("json-schema-test-suite", fill)


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
    """In one thread: two test processes share the cores. Commands and servers take all of them."""
    spec = read_installed(smollm2_folder)
    assert isinstance(spec, DecoderSpec)
    decoder = Decoder.open(spec, DecoderOptions(threads=1))
    yield decoder
    decoder.close()
