"""Fixtures for the server: real models, a real index, an official client in both eras."""

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from encoder_models import EncoderForm, write_fused
from mcp import Client

from engine.decode.decoder import Decoder, DecoderOptions
from engine.embed.embedder import Embedder, EmbedderOptions
from engine.engine import Absence, Engine, NpuOptions
from engine.models import folder
from engine.residency import Resident
from engine.runtime.qnn import devices
from mcp_server.commands.opening import options
from mcp_server.server import build
from mcp_server.settings import Settings

NOTES = {
    "tides.md": "# Tides\n\nThe sea rises and falls twice a day because the moon pulls at it.\n",
    "bread.md": "# Bread\n\nKnead the dough until it is smooth, then let it rise overnight.\n",
    "cycling.txt": "Oil the chain every two hundred kilometres and wipe off the rest.\n",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["auto", "legacy"])
def era(request) -> str:
    """How the client opens the connection: discovery (2026-07-28) or the older handshake."""
    return request.param


class Kept:
    """A model that outlives the engines that use it: closing it does nothing."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def close(self) -> None:
        """Left open for the next test."""


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


@dataclass
class Home:
    """One user's folders and settings, and the real models already in memory."""

    settings: Settings
    documents: Path
    embedder: Embedder
    decoder: Decoder

    def engine(self, **changes: Any) -> Engine:
        engine = Engine(options(replace(self.settings, **changes)))
        self.use_embedder(engine, lambda _: Kept(self.embedder))
        engine.decoder = Resident("language model", lambda _: Kept(self.decoder))
        return engine

    @staticmethod
    def use_embedder(engine: Engine, load: Callable[..., Any]) -> None:
        """Has an engine embed with what `load` gives it."""
        engine.embedder = Resident("embedding model", load)
        engine.library._embedder = engine.embedder

    @asynccontextmanager
    async def client(self, era: str, **changes: Any) -> AsyncGenerator[Client]:
        engine = self.engine(**changes)
        try:
            server = build(engine, replace(self.settings, **changes))
            async with Client(server, mode=era) as client:
                yield client
        finally:
            engine.close()


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
