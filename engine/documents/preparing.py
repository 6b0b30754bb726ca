"""Prepares one file for the index: reads it, compares its hash, cuts it.

Knows no store and no model.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from engine.corpus import Chunk, Document, document_id_of
from engine.documents import kinds
from engine.documents.chunker import CountTokens, cutting
from engine.documents.contents import Moment, Unsettled, read_contents, read_moment
from engine.documents.finder import FoundFile, Skipped
from engine.documents.readers.interface import Reading, Unreadable
from engine.documents.reading import ReadingProcess

NowNs = Callable[[], int]
"""Nanoseconds since 1970."""

# Some file systems keep times in steps of 2 s: a file that changed within the last step may change
# again and its time stay as it was.
_COARSEST_STEP_NS = 2_000_000_000

_TITLE_CHARACTERS = 200

# What a file says of itself may be anything: this is what a list of documents can show.
_METADATA_ENTRIES = 20
_METADATA_NAME_CHARACTERS = 50
_METADATA_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Cutting:
    """What the embedder takes."""

    count_tokens: CountTokens
    """How it counts."""
    max_tokens: int
    """Of one text."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that is to be embedded and stored."""

    document: Document
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class AsKnown:
    """A file whose content is as it was indexed."""

    stamp_ns: int
    """As it is now, like the modification time."""
    modified_ns: int


def preparing(
    file: FoundFile,
    known_sha256: str,
    wanted: Cutting,
    process: ReadingProcess,
    now_ns: NowNs,
) -> Generator[None, None, Prepared | AsKnown | Skipped]:
    """Prepares a file.

    Closing the generator gives the file up.

    Args:
        file: The file.
        known_sha256: Of its content as it was indexed; empty if it is to be cut in any case.
        wanted: What the embedder takes.
        process: Reads foreign documents.
        now_ns: The clock that files are dated by.

    Yields:
        Several times a second where reading or cutting takes that long.
    """
    try:
        moment, reading = yield from _read(file.path, known_sha256, process)
    except OSError as error:
        return Skipped(file.path, f"it cannot be read ({error.strerror})", unseen=True)
    except Unreadable as error:
        return Skipped(file.path, str(error), unseen=isinstance(error, Unsettled))
    moment = _settled(moment, now_ns())
    if not reading:
        return AsKnown(moment.stamp_ns, moment.modified_ns)
    chunks = yield from cutting(reading, wanted.count_tokens, wanted.max_tokens)
    return Prepared(_document(file.path, moment, reading, len(chunks)), chunks)


def _read(
    path: str, known_sha256: str, process: ReadingProcess
) -> Generator[None, None, tuple[Moment, Reading | None]]:
    """What a file holds, or nothing if it is what is known; tried again if it changed meanwhile."""
    kind = kinds.kind_of(path)
    if not kind.is_foreign:
        contents = read_contents(path, kind.largest_bytes)
        if contents.moment.sha256 == known_sha256:
            return contents.moment, None
        return contents.moment, kinds.read(path, contents.content)
    for last in (False, True):
        moment = read_moment(path, kind.largest_bytes)
        if moment.sha256 == known_sha256:
            return moment, None
        try:
            return moment, (yield from process.read(path, moment))
        except Unsettled:
            if last:
                raise
    raise AssertionError("the last time returns or raises")


def is_young(stamp_ns: int, now_ns: int) -> bool:
    """Whether a file changed so lately that its stamp may not show the next change."""
    return stamp_ns > now_ns - _COARSEST_STEP_NS


def _settled(moment: Moment, now_ns: int) -> Moment:
    """With no stamp where it says nothing, so that the next run compares hashes."""
    return replace(moment, stamp_ns=0) if is_young(moment.stamp_ns, now_ns) else moment


def _document(path: str, moment: Moment, reading: Reading, chunk_count: int) -> Document:
    kind = kinds.kind_of(path)
    title = reading.title if kind.has_title else reading.metadata.get("title", "")
    return Document(
        document_id=document_id_of(path),
        path=path,
        title=" ".join(title.split())[:_TITLE_CHARACTERS] or PurePath(path).name,
        content_sha256=moment.sha256,
        size=moment.size,
        stamp_ns=moment.stamp_ns,
        line_count=len(reading.lines),
        chunk_count=chunk_count,
        encoding=reading.encoding,
        kind=kind.name,
        modified_ns=moment.modified_ns,
        page_count=len(reading.pages),
        metadata=_bounded(reading.metadata),
    )


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    entries = [(name.lower(), value) for name, value in metadata.items() if name and value]
    return {
        name[:_METADATA_NAME_CHARACTERS]: value[:_METADATA_CHARACTERS]
        for name, value in entries[:_METADATA_ENTRIES]
    }
