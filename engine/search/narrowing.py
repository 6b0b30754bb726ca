"""Words of a caller that narrow a search, to the `Filter` they mean.

Pure: the collections there are come in as values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from engine.corpus import KINDS, Collection, Filter
from engine.errors import CollectionNotFound, InvalidInput
from engine.store.near_names import nearest_words, unknown_collection

_NS = 1_000_000_000
# Longer than any path; SQLite refuses those of 50,000 bytes.
_LONGEST_PATTERN = 5_000
# The largest number that an index holds: in 2262.
_LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What a caller says of the documents that may answer."""

    collections: Sequence[str] = ()
    """Names; one of them."""
    paths: Sequence[str] = ()
    """Patterns; see `Filter.path_globs`."""
    kinds: Sequence[str] = ()
    modified_after: str = ""
    """A day or a moment in ISO 8601, in local time unless it says another; included."""
    modified_before: str = ""
    """The same; a day is included as a whole, a moment is not."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


def narrowed(wanted: Narrowing, known: Sequence[Collection]) -> Filter:
    """The filter.

    Raises:
        CollectionNotFound: There is no collection of a name; the message names near ones.
        InvalidInput: A kind is none, a time is not ISO 8601, or a pattern is too long.
    """
    roots = {one.name: one.root for one in known}
    for name in wanted.collections:
        if name not in roots:
            raise CollectionNotFound(unknown_collection(name, list(roots)))
    for kind in wanted.kinds:
        if kind not in KINDS:
            near = nearest_words(kind, KINDS) or list(KINDS)
            raise InvalidInput(f'No file is of the kind "{kind[:100]}"; say {" or ".join(near)}.')
    if any(len(pattern) > _LONGEST_PATTERN for pattern in wanted.paths):
        raise InvalidInput(f"A pattern of paths may have {_LONGEST_PATTERN:,} characters at most.")
    return Filter(
        roots=tuple(roots[name] for name in wanted.collections),
        path_globs=tuple(wanted.paths),
        kinds=tuple(wanted.kinds),
        modified_after_ns=_moment(wanted.modified_after, "modified_after"),
        modified_before_ns=_moment(wanted.modified_before, "modified_before", whole_day=True),
        metadata=tuple(wanted.metadata.items()),
    )


def _moment(text: str, name: str, *, whole_day: bool = False) -> int:
    """Nanoseconds since 1970; 0 for no text."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text.strip())
        if whole_day and len(text.strip()) <= len("2026-12-31"):
            moment += timedelta(days=1)
        return min(max(1, int(moment.timestamp() * _NS)), _LATEST)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput(
            f'{name} must be a day or a time such as 2026-12-31 or 2026-12-31T18:00, but is "'
            f'{text[:100]}".'
        ) from error
