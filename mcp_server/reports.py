"""The structured results, made from what the engine gives: for tools, resources and commands alike.

Blocks while the index is read, and words nothing: that is `rendering`.
"""

import base64
import itertools
from dataclasses import asdict
from typing import Any, Literal

from engine.corpus import Document, Hit
from engine.decode.completion import Completion
from engine.decode.decoder import Decoder
from engine.documents.indexer import IndexReport
from engine.embed.embedder import Embeddings
from engine.engine import Engine, ModelStatus
from engine.errors import InvalidInput, StoreError
from engine.search.search import Matches
from mcp_server.placement import placement
from mcp_server.results import (
    AnswersEntry,
    DocumentEntry,
    EmbedResult,
    IndexEntry,
    IndexResult,
    MemoryEntry,
    ModelEntry,
    ModelsInfo,
    Passage,
    SearchResult,
    SkippedFile,
    StatusResult,
)
from mcp_server.settings import Settings

_DECIMALS = 6
"""Of a vector's floats: within 5e-7 of the vector, at half the characters of all digits."""


def search(engine: Engine, found: Matches, characters: int, total: int) -> SearchResult:
    """The passages that were found.

    Args:
        engine: Whose index was searched.
        found: In it.
        characters: Of one passage at most.
        total: Of all passages together at most.
    """
    each = min(characters, total // max(1, len(found.hits)))
    return SearchResult(
        passages=[_passage(hit, each) for hit in found.hits],
        documents=engine.index_statistics().documents,
        model=found.model_id,
        provider=found.provider,
    )


def _passage(hit: Hit, characters: int) -> Passage:
    text, cut = snippet(hit.chunk.text, characters)
    return Passage(
        document_id=hit.document.document_id,
        path=hit.document.path,
        line_start=hit.chunk.line_start,
        line_end=hit.chunk.line_end,
        heading=hit.chunk.heading,
        score=round(hit.score, 2),
        text=text,
        cut=cut,
    )


def snippet(text: str, characters: int) -> tuple[str, bool]:
    """The beginning of a text, cut at a word where it is too long, and whether it was cut."""
    text = text.strip()
    if len(text) <= characters:
        return text, False
    cut = text[:characters]
    space = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:space] if space > characters // 2 else cut).rstrip(), True


def embeddings(found: Embeddings, encoding: Literal["float", "base64"]) -> EmbedResult:
    """Vectors as numbers or as little-endian float32 in base64."""
    return EmbedResult(
        embeddings=[base64.b64encode(row.astype("<f4").tobytes()).decode() for row in found.vectors]
        if encoding == "base64"
        else [[round(float(x), _DECIMALS) for x in row] for row in found.vectors],
        dimensions=found.vectors.shape[1],
        prompt_tokens=found.prompt_tokens,
        truncated=list(found.truncated),
        model=found.model_id,
        provider=found.provider,
    )


def completion(found: Completion, decoder: Decoder) -> dict[str, Any]:
    """What there is to tell of an answer beside its text."""
    return {
        "finish_reason": found.finish_reason,
        **asdict(found.usage),
        "model": decoder.spec.model_id,
        "provider": decoder.provider,
    }


def index(engine: Engine, report: IndexReport, *, complete: bool, shown: int) -> IndexResult:
    """What a run of indexing did, with the first `shown` of the skipped files."""
    return IndexResult(
        complete=complete,
        indexed=report.indexed,
        unchanged=report.unchanged,
        removed=report.removed,
        skipped=len(report.skipped),
        skipped_files=[
            SkippedFile(path=file.path, reason=file.reason) for file in report.skipped[:shown]
        ],
        guessed_encodings=list(report.guessed_encodings[:shown]),
        documents=engine.index_statistics().documents,
    )


def document(found: Document) -> DocumentEntry:
    """One line of a list of documents."""
    return DocumentEntry(
        document_id=found.document_id,
        path=found.path,
        title=found.title,
        lines=found.line_count,
        chunks=found.chunk_count,
    )


def models_info(engine: Engine, settings: Settings, waiting: int) -> ModelsInfo:
    """Models, what they do, providers and versions; never waits for a model.

    Args:
        engine: Whose models they are.
        settings: How long an idle one stays, among others.
        waiting: Calls that wait for an answer to begin.
    """
    models = engine.models()
    return ModelsInfo(
        models=[_model(place, settings.idle_seconds) for place in models],
        placement=placement(engine, models[0].placement),
        answers=_answers(engine, settings.slots, waiting),
        memory=MemoryEntry(
            resident_bytes=engine.resident_bytes(),
            limit_bytes=engine.options.memory_limit_bytes,
        ),
        execution_providers=list(engine.available_providers),
        onnxruntime=engine.runtime_version,
        version=engine.version,
    )


def _model(place: ModelStatus, most_idle: int) -> ModelEntry:
    idle = place.idle_seconds
    unloads_in = -1 if idle is None or not most_idle else max(0, round(most_idle - idle))
    return ModelEntry(
        task=place.task,
        state=place.state,
        model=place.model_id,
        why=place.why if place.obstacle in place.why else f"{place.why}; {place.obstacle}",
        provider=place.provider,
        dimensions=place.dimensions,
        max_tokens=place.max_tokens,
        license=place.license,
        source=place.source,
        memory_bytes=place.memory_bytes,
        unloads_in=unloads_in,
    )


def _answers(engine: Engine, slots: int, waiting: int) -> AnswersEntry:
    now = engine.answering()
    return AnswersEntry(
        slots=slots,
        active=now.active if now else 0,
        waiting=waiting + (now.waiting if now else 0),
        kv_bytes=now.kv_bytes if now else 0,
        kv_tokens=now.kv_tokens if now else 0,
        prefixes=now.prefixes if now else 0,
        prefix_bytes=now.prefix_bytes if now else 0,
        prefill_tokens_per_second=round(now.prefill_tokens_per_second, 1) if now else 0,
        decode_tokens_per_second=round(now.decode_tokens_per_second, 1) if now else 0,
    )


def status(engine: Engine, settings: Settings, waiting: int) -> StatusResult:
    """`models_info` and the state of the index."""
    return StatusResult(
        **models_info(engine, settings, waiting).model_dump(),
        index=_index_entry(engine),
        roots=[str(root) for root in settings.root],
        read_only=settings.read_only,
    )


def _index_entry(engine: Engine) -> IndexEntry:
    try:
        statistics = engine.index_statistics()
    except StoreError as error:
        return IndexEntry(problem=str(error))
    return IndexEntry(
        documents=statistics.documents,
        chunks=statistics.chunks,
        size_bytes=statistics.size_bytes,
        model=statistics.embedder_id,
        dimensions=statistics.dimensions,
        vector_search=statistics.vector_search,
        problem=engine.index_problem(),
    )


def read_lines(
    engine: Engine, document_id: str, lines: tuple[int, int], skipped: int, characters: int
) -> tuple[str, str]:
    """Lines of a document that fit into a result, and how to read on where they were cut.

    Args:
        engine: Whose index is read.
        document_id: Which document.
        lines: The first and the last line, from 1; 0 as the last reads to the end.
        skipped: Characters of the first line to leave out.
        characters: How many fit.

    Raises:
        DocumentNotFound: No document has that id; near ids are named.
        InvalidInput: The lines do not exist.
    """
    found, all_lines = engine.read_document(document_id)
    first, last = lines[0], lines[1] or max(len(all_lines), 1)
    if first > max(len(all_lines), 1) or last < first:
        raise InvalidInput(
            f"Lines {first}-{last} do not exist in {found.path}: it has lines 1-{len(all_lines)}."
        )
    wanted = all_lines[first - 1 : last]
    if wanted:
        wanted[0] = wanted[0][skipped:]
    text = "".join(wanted)
    if len(text) <= characters:
        return text, ""
    ends = list(itertools.accumulate(map(len, wanted)))
    whole = sum(end <= characters for end in ends)
    if whole == 0:
        return text[:characters], _continued(first, skipped + characters, len(all_lines))
    return text[: ends[whole - 1]], _continued(first + whole, 0, len(all_lines))


def _continued(line: int, skipped: int, lines: int) -> str:
    start = f" character_start={skipped}" if skipped else ""
    return f"[cut here; of {lines} lines, continue with line_start={line}{start}]"
