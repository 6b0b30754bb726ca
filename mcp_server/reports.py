"""What tools and resources both report: models, the state of everything, lines of a document.

Knows engine and settings, blocks while the index is read, and words nothing: that is `rendering`.
"""

from engine.engine import Engine
from engine.errors import InvalidInput, StoreError
from mcp_server.results import IndexEntry, ModelEntry, ModelsInfo, StatusResult
from mcp_server.settings import Settings


def models_info(engine: Engine) -> ModelsInfo:
    """Models, providers and versions; never waits for a model to load."""
    return ModelsInfo(
        models=[
            ModelEntry(
                task=place.task,
                state=place.state,
                model=place.model_id,
                why=place.why,
                provider=place.provider,
                dimensions=place.dimensions,
                max_tokens=place.max_tokens,
                license=place.license,
                source=place.source,
                warm=place.state == "ready",
            )
            for place in engine.models()
        ],
        execution_providers=list(engine.available_providers),
        onnxruntime=engine.runtime_version,
        version=engine.version,
    )


def status(engine: Engine, settings: Settings) -> StatusResult:
    """`models_info` and the state of the index."""
    return StatusResult(
        **models_info(engine).model_dump(),
        index=_index_entry(engine),
        roots=[str(root) for root in settings.root],
        read_only=settings.read_only,
    )


def _index_entry(engine: Engine) -> IndexEntry:
    try:
        statistics = engine.index_statistics()
    except StoreError as error:
        return IndexEntry(
            documents=0,
            chunks=0,
            size_bytes=0,
            model="",
            dimensions=0,
            vector_search="",
            problem=str(error),
        )
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
    engine: Engine, document_id: str, line_start: int, line_end: int, characters: int
) -> tuple[str, str]:
    """Lines of a document that fit into a result, and how to read on where they were cut.

    Raises:
        DocumentNotFound: No document has that id; near ids are named.
        InvalidInput: The lines do not exist.
    """
    document, lines = engine.read_document(document_id)
    last = line_end or max(len(lines), 1)
    if line_start > max(len(lines), 1) or last < line_start:
        raise InvalidInput(
            f"Lines {line_start}-{last} do not exist in {document.path}: it has lines "
            f"1-{len(lines)}."
        )
    wanted = lines[line_start - 1 : last]
    taken, length = 0, 0
    while taken < len(wanted) and length + len(wanted[taken]) <= characters:
        length += len(wanted[taken])
        taken += 1
    if taken == len(wanted):
        return "".join(wanted), ""
    if taken == 0:
        return wanted[0][:characters], (
            f"[line {line_start} has {len(wanted[0]):,} characters and was cut; "
            f"continue with line_start={line_start + 1}]"
        )
    reached = line_start + taken - 1
    return "".join(wanted[:taken]), (
        f"[lines {line_start}-{reached} of {len(lines)}; continue with line_start={reached + 1}]"
    )
