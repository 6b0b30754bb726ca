"""The structured results of the tools: what programs read, and the data `rendering` words.

Values only; every field has the same name and meaning in all results.
"""

from pydantic import BaseModel, Field


class Passage(BaseModel):
    """A chunk of a document that answers a question."""

    document_id: str
    path: str
    line_start: int
    line_end: int
    heading: str = Field(description="Headings above it, outermost first.")
    score: float = Field(description="Cosine similarity, -1 to 1.")
    text: str
    cut: bool = Field(description="More of it is in get_document from line_start.")


class SearchResult(BaseModel):
    """Passages, best first."""

    passages: list[Passage]
    documents: int = Field(description="Documents in the index.")
    model: str
    provider: str = Field(description="What embedded the query: cpu, npu or htp-simulator.")


class DocumentEntry(BaseModel):
    """One indexed document."""

    document_id: str
    path: str
    title: str
    lines: int
    chunks: int


class DocumentPage(BaseModel):
    """A page of the list of documents."""

    documents: list[DocumentEntry]
    total: int
    next_cursor: str = Field(description="Empty on the last page.")


class SkippedFile(BaseModel):
    """A file that was not indexed, and why."""

    path: str
    reason: str


class IndexResult(BaseModel):
    """What one call of index_documents did."""

    complete: bool = Field(description="False: time ran out, call again to go on.")
    indexed: int
    unchanged: int
    removed: int
    skipped: int
    skipped_files: list[SkippedFile] = Field(description="The first of the skipped files.")
    guessed_encodings: list[str] = Field(description="Files that are no Unicode, the first.")
    documents: int = Field(description="Documents in the index now.")


class RemoveResult(BaseModel):
    """How many documents were removed."""

    removed: int
    documents: int = Field(description="Documents in the index now.")


class EmbedResult(BaseModel):
    """One unit vector a text, in the order of the texts."""

    embeddings: list[list[float]] | list[str]
    dimensions: int
    prompt_tokens: int
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
    size_bytes: int = 0
    model: str = Field(default="", description="Whose vectors it holds; empty while it is empty.")
    dimensions: int = 0
    vector_search: str = ""
    problem: str = Field(default="", description="Why it cannot be used, or empty.")


class NpuEntry(BaseModel):
    """The NPU, and why it is used or not; what is not known of it is empty."""

    code: str = Field(
        description="in-use, preparing, quarantined, not-loaded, policy, or why there is none: "
        "not-installed, no-device, versions-do-not-match, library-broken, bad-option."
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
    read_only: bool
