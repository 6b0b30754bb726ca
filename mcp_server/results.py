"""The structured results of the tools: what programs read, and the data `rendering` words.

Values only; every field has the same name and meaning in all results.
"""

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema


class Side(BaseModel):
    """What one way of searching says of a passage."""

    rank: int = Field(description="0: looked up only.")
    raw: float = Field(description="BM25 or cosine.")
    share: float = Field(description="0 to 1, before weighing.")


class Explanation(BaseModel):
    """What a score is the sum of; half of it where words in quotes or identifiers count."""

    weight_of_meaning: float
    words: Side | SkipJsonSchema[None] = Field(
        default=None, description="Left out: not found by words."
    )
    meaning: Side | SkipJsonSchema[None] = None
    verbatim: float = Field(description="Part of what is quoted that it holds.")


class Passage(BaseModel):
    """A part of a document that answers a question; what is empty or 0 is left out."""

    document_id: str
    path: str
    line_start: int
    line_end: int
    page: int = 0
    page_end: int = Field(default=0, description="The last one, if it is on several.")
    heading: str = Field(default="", description="Headings above it, outermost first.")
    collection: str = ""
    score: float = Field(description="0 to 1; compares within one answer only.")
    text: str
    cut: bool = Field(default=False, description="get_document shows more.")
    highlights: list[list[int]] = Field(
        default_factory=list[list[int]],
        description="Words looked for: [start, end) in text.",
    )
    copies: int = Field(default=0, description="Places that say the same.")
    explanation: Explanation | SkipJsonSchema[None] = None


class SearchResult(BaseModel):
    """Passages, best first."""

    passages: list[Passage]
    notice: str
    """How to take the passages, or why there are none."""
    degraded: str = Field(description="Why meaning was not fully searched, or empty.")
    next_cursor: str = Field(description="Empty on the last page.")
    documents: int = Field(description="Documents in the index.")
    model: str
    provider: str = Field(description="What embedded the query: cpu, npu or htp-simulator.")


class DocumentEntry(BaseModel):
    """One indexed document."""

    document_id: str
    path: str
    title: str
    kind: str
    lines: int
    chunks: int
    pages: int = Field(description="0 where the kind has none.")


class CollectionEntry(BaseModel):
    """A folder or file that is kept indexed."""

    name: str
    root: str
    documents: int
    is_there: bool = Field(description="Whether its root is there now.")


class SkippedFile(BaseModel):
    """A file that is not indexed, and why."""

    path: str
    reason: str


class DocumentPage(BaseModel):
    """A page of the list of documents, or of the files that are left out."""

    documents: list[DocumentEntry]
    skipped_files: list[SkippedFile]
    collections: list[CollectionEntry] = Field(description="On the first pages.")
    total: int = Field(description="Documents that match, or files left out.")
    notice: str
    """Why there are none, or empty."""
    next_cursor: str = Field(description="Empty on the last page.")


class IndexResult(BaseModel):
    """What one call of index_documents did."""

    complete: bool
    notice: str
    """What to do next, or empty."""
    indexed: int
    unchanged: int
    removed: int
    skipped: int
    skipped_files: list[SkippedFile] = Field(description="The first.")
    unavailable: list[SkippedFile] = Field(description="Folders not looked into, the first.")
    more_unavailable: int
    guessed_encodings: list[str] = Field(description="Files not Unicode, the first.")
    more_guessed: int
    lacking: int = Field(description="Passages without a vector: found by words only.")
    problem: str = Field(description="Why, or empty.")
    documents: int = Field(description="In the index now.")


class RemoveResult(BaseModel):
    """How many documents were removed."""

    removed: int
    documents: int = Field(description="In the index now.")


class EmbedResult(BaseModel):
    """One unit vector a text, in the order of the texts."""

    embeddings: list[list[float]] | list[str]
    dimensions: int
    prompt_tokens: int
    tokens: list[int] = Field(description="Read of each text.")
    truncated: list[int] = Field(description="Indices of texts cut to the model's limit.")
    model: str
    provider: str = Field(description="What made these vectors, most first: npu, cpu.")


class ModelEntry(BaseModel):
    """A model a tool uses or would use."""

    task: str
    state: str = Field(description="waiting, loading, ready, idle (unloaded), failed or closed.")
    model: str
    why: str = Field(description="Why this model, or why none.")
    provider: str = Field(description="What runs it, the CPU last; empty until loaded.")
    dimensions: int = Field(description="0 for language models.")
    max_tokens: int
    license: str
    source: str
    memory_bytes: int = Field(description="What it takes once loaded, without caches; estimated.")
    unloads_in: int = Field(description="Seconds, if nobody uses it; -1: in use or not loaded.")


class AnswersEntry(BaseModel):
    """What the language model is doing; zeros while it is not loaded."""

    slots: int = Field(description="Answers that are written at once.")
    active: int
    waiting: int
    kv_bytes: int = Field(description="Keys and values of the answers being written.")
    kv_tokens: int
    prefixes: int = Field(description="Beginnings of earlier prompts, kept to be read only once.")
    prefix_bytes: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float


class MemoryEntry(BaseModel):
    """What the server takes."""

    resident_bytes: int = Field(description="Of the whole process; 0 where it is not known.")
    limit_bytes: int = Field(description="For models together; 0: none.")


class IndexEntry(BaseModel):
    """The state of the index."""

    documents: int = 0
    chunks: int = 0
    skipped: int = Field(default=0, description="Files left out: list_documents skipped=true.")
    size_bytes: int = 0
    model: str = Field(default="", description="Whose vectors it holds; empty: none.")
    texts: int = 0
    embedded: int = Field(default=0, description="Texts with a vector of the model in use.")
    vector_search: str = ""
    collections: list[CollectionEntry] = Field(default_factory=list[CollectionEntry])
    more_collections: int = 0
    indexing: str = Field(default="", description="How far indexing is.")
    problem: str = Field(default="", description="Why it cannot be used as it should, or empty.")


class NpuEntry(BaseModel):
    """The NPU, and why it is used or not; what is not known of it is empty."""

    code: str = Field(
        description="in-use, preparing, quarantined, not-loaded, policy, or why there is none: "
        "not-installed, no-device, emulated, versions-do-not-match, library-broken, bad-option."
    )
    why: str = Field(description="The same in a sentence, with what to do.")
    provider: str = Field(default="", description="npu, or htp-simulator; empty: none.")
    name: str = ""
    soc: str = ""
    architecture: str = ""
    driver: str = ""
    onnxruntime_qnn: str = ""
    qairt: str = ""


class ShapeEntry(BaseModel):
    """A shape of runs on a provider, and how long they take."""

    provider: str
    rows: int
    tokens: int
    state: str = Field(description="waiting, preparing, serving or quarantined.")
    reason: str = Field(description="Why it does not serve, or empty.")
    median_ms: float = Field(description="0 until it is measured.")
    tail_ms: float = Field(description="19 of 20 runs take no longer.")
    runs: int
    prediction_error: float = Field(description="Mean of |measured / predicted - 1|.")


class PlacementEntry(BaseModel):
    """Where texts are embedded, and why there."""

    policy: str = Field(description="auto, npu or cpu.")
    npu: NpuEntry
    shapes: list[ShapeEntry] = Field(description="Of all providers; none while not loaded.")
    waiting: int = Field(description="Texts that wait for their run.")


class ModelsInfo(BaseModel):
    """Models, providers and versions."""

    models: list[ModelEntry]
    placement: PlacementEntry
    answers: AnswersEntry
    memory: MemoryEntry
    execution_providers: list[str] = Field(description="Built into the installed runtime.")
    onnxruntime: str
    version: str


class StatusResult(ModelsInfo):
    """All a caller may want to know before asking for work."""

    index: IndexEntry
    roots: list[str] = Field(description="Folders that index_documents may read.")
    more_roots: int
    read_only: bool
