"""Fixtures for the server: real models, a real index, an official client in both eras."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import tokenizers
from encoder_models import EncoderForm, write_fused
from homes import NOTES, Home
from mcp import Client

from engine.decode.decoder import Decoder, DecoderOptions
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.engine import Absence, NpuOptions
from engine.models import folder
from engine.runtime.qnn import devices
from mcp_server.settings import Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["auto", "legacy"])
def era(request) -> str:
    """How the client opens the connection: discovery (2026-07-28) or the older handshake."""
    return request.param


@pytest.fixture(scope="session")
def loaded_embedder(minilm_folder) -> Iterator[Embedder]:
    """In one thread: two test processes share the cores. Servers over stdio take all of them."""
    embedder = Embedder.open(folder.read(minilm_folder), EmbedderOptions(threads=1))
    yield embedder
    embedder.close()


@pytest.fixture(scope="session")
def loaded_decoder(smollm2_folder) -> Iterator[Decoder]:
    """In one thread, as the embedder."""
    decoder = Decoder.open(folder.read(smollm2_folder), DecoderOptions(threads=1))
    yield decoder
    decoder.close()


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory) -> Path:
    """A model folder of random weights whose texts end after 32 tokens: one shape for an NPU.

    Its words are "w4" to "w299".
    """
    form = EncoderForm(positions=32)
    folder = write_fused(tmp_path_factory.mktemp("models") / "tiny", form).parent
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(4, form.vocabulary))]
    model = tokenizers.models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(words[:4])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": form.hidden, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="session")
def simulator() -> str:
    """The SoC that the HTP simulator is to stand for."""
    found = devices.find(NpuOptions(simulator=True))
    if isinstance(found, Absence):
        pytest.skip(f"needs onnxruntime-qnn: {found.reason}")
    return "60"


@pytest.fixture
def home(tmp_path, models_dir, loaded_embedder, loaded_decoder) -> Home:
    """A home with three notes under its one allowed folder."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for name, text in NOTES.items():
        (documents / name).write_text(text, encoding="utf-8")
    settings = Settings(data_dir=tmp_path / "data", models_dir=models_dir, root=(documents,))
    return Home(settings, documents, loaded_embedder, loaded_decoder)


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def connect(home, era) -> Connect:
    """Connects the official client to a server in memory, in the era under test."""
    return lambda **changes: home.client(era, **changes)
