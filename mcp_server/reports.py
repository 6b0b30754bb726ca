"""The structured results, made from what the engine gives: for tools, resources and commands alike.

Blocks while the index is read, and words nothing: that is `rendering`.
"""

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from engine import corpus
from engine.decode.completion import Completion
from engine.decode.decoder import Decoder
from engine.documents.progress import IndexProgress
from engine.embed.embeddings import Embeddings
from engine.engine import Engine, ModelStatus
from engine.errors import StoreError
from engine.library import CollectionStatus, Library
from mcp_server.budgets import (
    COLLECTIONS_TOKENS,
    FILES_TOKENS,
    FOLDERS_TOKENS,
    REASON_CHARACTERS,
    briefly,
    first,
    shown_path,
)
from mcp_server.placement import placement
from mcp_server.results import (
    AnswersEntry,
    CollectionEntry,
    EmbedResult,
    IndexEntry,
    IndexResult,
    MemoryEntry,
    ModelEntry,
    ModelsInfo,
    SkippedFile,
    StatusResult,
)
from mcp_server.settings import Settings

COLLECTIONS = 200
"""Looked at for one result at most."""

_DECIMALS = 6
"""Of a vector's floats: within 5e-7 of the vector, at half the characters of all digits."""


def embeddings(found: Embeddings, encoding: Literal["float", "base64"]) -> EmbedResult:
    """Vectors as numbers or as little-endian float32 in base64."""
    return EmbedResult(
        embeddings=[base64.b64encode(row.astype("<f4").tobytes()).decode() for row in found.vectors]
        if encoding == "base64"
        else [[round(float(x), _DECIMALS) for x in row] for row in found.vectors],
        dimensions=found.vectors.shape[1],
        prompt_tokens=found.prompt_tokens,
        tokens=list(found.token_counts),
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


def index(
    library: Library, last: IndexProgress, *, shown: int, problem: str = "", notice: str = ""
) -> IndexResult:
    """What a run of indexing did.

    Args:
        library: That was indexed.
        last: Its last step.
        shown: How many files of a list are named at most; fewer where their names are long.
        problem: Why texts have no vectors, if that is known.
        notice: What to do next, if anything.
    """
    report = last.report
    lacking = library.coverage()
    unavailable = _files(report.unavailable[:shown], least=1)
    guessed = first([shown_path(one) for one in report.guessed_encodings[:shown]], FILES_TOKENS)
    return IndexResult(
        complete=last.is_last,
        notice=notice,
        indexed=report.indexed,
        unchanged=report.unchanged,
        removed=report.removed,
        skipped=len(report.skipped),
        skipped_files=_files(report.skipped[:shown]),
        unavailable=unavailable,
        guessed_encodings=guessed,
        more_unavailable=len(report.unavailable) - len(unavailable),
        more_guessed=len(report.guessed_encodings) - len(guessed),
        lacking=lacking.texts - lacking.embedded,
        problem=problem,
        documents=library.index_statistics().documents,
    )


def _files(files: Sequence[corpus.SkippedFile], least: int = 0) -> list[SkippedFile]:
    return first([skipped(file) for file in files], FILES_TOKENS, least)


def skipped(file: corpus.SkippedFile) -> SkippedFile:
    """A file that is left out."""
    return SkippedFile(path=shown_path(file.path), reason=briefly(file.reason, REASON_CHARACTERS))


def collections(library: Library, *, after: str = "") -> list[CollectionEntry]:
    """The first of the collections whose names come behind one."""
    return [collection(one) for one in library.collections(after=after, limit=COLLECTIONS)]


def collection(found: CollectionStatus) -> CollectionEntry:
    """A collection and how it is with it."""
    return CollectionEntry(
        name=found.collection.name,
        root=shown_path(found.collection.root),
        documents=found.documents,
        is_there=found.is_there,
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
    why = place.why if place.obstacle in place.why else f"{place.why}; {place.obstacle}"
    unloads_in = -1 if idle is None or not most_idle else max(0, round(most_idle - idle))
    return ModelEntry(
        task=place.task,
        state=place.state,
        model=place.model_id,
        why=briefly(why, REASON_CHARACTERS),
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


def status(engine: Engine, settings: Settings, waiting: int, indexing: str) -> StatusResult:
    """`models_info` and the state of the index.

    Args:
        engine: Whose models and index they are.
        settings: Which folders may be indexed, among others.
        waiting: Calls that wait for an answer to begin.
        indexing: What is being indexed, and how far; empty if nothing is.
    """
    roots = [shown_path(str(root)) for root in settings.root]
    shown = first(roots, FOLDERS_TOKENS, least=1)
    return StatusResult(
        **models_info(engine, settings, waiting).model_dump(),
        index=_index_entry(engine.library, indexing),
        roots=shown,
        more_roots=len(roots) - len(shown),
        read_only=settings.read_only,
    )


def _index_entry(library: Library, indexing: str) -> IndexEntry:
    try:
        statistics, coverage = library.index_statistics(), library.coverage()
        shown = first(collections(library), COLLECTIONS_TOKENS, least=1)
        known = len(library.store().collections())
    except StoreError as error:
        return IndexEntry(problem=str(error))
    return IndexEntry(
        documents=statistics.documents,
        chunks=statistics.chunks,
        skipped=statistics.skipped,
        size_bytes=statistics.size_bytes,
        model=next(iter(statistics.vectors), ""),
        texts=coverage.texts,
        embedded=coverage.embedded,
        vector_search=statistics.vector_search,
        collections=shown,
        more_collections=known - len(shown),
        indexing=indexing,
        problem=library.index_problem(),
    )
