"""Which collection a path belongs to, and which parts of collections a run goes through.

Pure: collections come in as values, and no disk is looked at.
Rule: a document belongs to the innermost collection around it; the walk of an outer one stops
where an inner one begins.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.corpus import Collection
from engine.documents.ignoring import Globs
from engine.errors import InvalidInput
from engine.paths import is_under, respelled, same

_LONGEST_NAME = 100
# More paths than this are walked faster together.
_MANY_PATHS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A collection, or what lies at or below a path in it, without the collections inside."""

    root: str
    """Absolute, with symbolic links resolved; at or below the collection's."""
    collection: Collection
    inner: tuple[str, ...] = ()
    """Roots of the collections inside."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole collection."""
        return same(self.root, self.collection.root)

    def covers(self, path: str) -> bool:
        """Whether a path is its own, not an inner collection's."""
        return is_under(path, self.root) and not any(is_under(path, root) for root in self.inner)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants a collection to be; None leaves it as it is."""

    name: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    @property
    def are_none(self) -> bool:
        """Whether everything may stay as it is."""
        return self == Wishes()


def around(path: str, collections: Iterable[Collection]) -> Collection | None:
    """The innermost collection that a path is at or below."""
    covering = [one for one in collections if is_under(path, one.root)]
    return max(covering, key=lambda one: len(one.root), default=None)


def as_known(root: Path, collections: Iterable[Collection]) -> Path:
    """A path written as the collection around it is, where a system takes several ways for one."""
    known = around(str(root), collections)
    return Path(respelled(str(root), known.root)) if known else root


def collection_for(
    root: Path, collections: Sequence[Collection], wishes: Wishes | None = None
) -> Collection:
    """The collection that a path is indexed in: the one around it, or a new one.

    Args:
        root: As `finder.resolved` gives it.
        collections: All that there are.
        wishes: Where any are told, the path becomes a collection of its own.

    Raises:
        InvalidInput: The name is taken or no name, or a pattern is none.
    """
    wishes = wishes or Wishes()
    known = around(str(root), collections)
    if known and (wishes.are_none or known.root == str(root)):
        return _changed(known, collections, wishes)
    others = [one.name for one in collections]
    return _changed(Collection(_free_name(root, others), str(root)), collections, wishes)


def part_at(path: str, collections: Sequence[Collection]) -> Part | None:
    """What a path is of the collection around it; None where there is none."""
    collection = around(path, collections)
    return _part(path, collection, collections) if collection else None


def parts(collections: Sequence[Collection], path: str = "") -> list[Part]:
    """What is to be gone through to bring a path up to date, or, without one, everything.

    Collections inside the path are parts of their own.
    """
    inside = [one for one in collections if not path or is_under(one.root, path)]
    inside.sort(key=lambda one: one.root)
    whole = [_part(one.root, one, collections) for one in inside]
    if path and all(part.root != path for part in whole):
        first = part_at(path, collections)
        return [first, *whole] if first else whole
    return whole


def parts_changed(collections: Sequence[Collection], paths: Iterable[str]) -> list[Part]:
    """What is to be gone through after paths changed; nothing twice.

    Where many paths of a collection did, that is the whole of it.
    """
    roots = {path: found.root for path in paths if (found := around(path, collections))}
    many = {root for root, count in Counter(roots.values()).items() if count > _MANY_PATHS}
    outermost: list[str] = []
    for path in sorted({root if root in many else path for path, root in roots.items()}):
        if not any(is_under(path, other) for other in outermost):
            outermost.append(path)
    return [part for path in outermost for part in parts(collections, path)]


def _part(root: str, collection: Collection, collections: Iterable[Collection]) -> Part:
    inner = (one.root for one in collections if one.root != collection.root)
    return Part(root, collection, tuple(other for other in inner if is_under(other, root)))


def _changed(known: Collection, collections: Iterable[Collection], wishes: Wishes) -> Collection:
    told = {"name": wishes.name, "include": wishes.include, "exclude": wishes.exclude}
    changed = replace(known, **{key: value for key, value in told.items() if value is not None})
    for patterns in (changed.include, changed.exclude):
        Globs(changed.root, patterns)
    _check_name(changed, collections)
    return changed


def _check_name(collection: Collection, collections: Iterable[Collection]) -> None:
    name = collection.name
    if not name or len(name) > _LONGEST_NAME or name != name.strip() or not name.isprintable():
        raise InvalidInput(
            f"A collection's name is 1 to {_LONGEST_NAME} visible characters without spaces at its "
            "ends; choose another one."
        )
    for other in collections:
        if other.name == name and other.root != collection.root:
            raise InvalidInput(
                f'The collection "{name}" is {other.root}; choose another name for '
                f"{collection.root}."
            )


def _free_name(root: Path, taken: Sequence[str]) -> str:
    """A folder's name, numbered if another collection has it."""
    visible = "".join(sign for sign in root.name or root.drive if sign.isprintable())
    name = visible.strip(" :")[: _LONGEST_NAME - 10].strip() or "root"
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)
