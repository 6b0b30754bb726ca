"""Which folders an agent may have indexed: those that lie under an allowed root."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

from engine import paths
from engine.documents.finder import resolved
from engine.errors import InvalidInput

_HOW_TO_ALLOW = (
    "No folder may be indexed yet: start the server with --root DIR "
    "(or NPU_GATEWAY_ROOT=DIR) to allow one and what is below it."
)


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """The path with symbolic links resolved, if it lies under an allowed root.

    Raises:
        InvalidInput: No root is allowed, or the path is relative, malformed or outside all roots.
    """
    return Path(place_of(path, [str(root) for root in roots], _resolved))


def place_of(
    path: str,
    roots: Sequence[str],
    resolve: Callable[[str], str],
    rules: ModuleType = os.path,
) -> str:
    """The same by the rules of any system.

    Of a path that is refused by what it is called, and of one on a machine that no root is on, the
    disk is not asked: asking would open a device, or tell that machine who is logged in.

    Args:
        path: As an agent gives it.
        roots: As the settings say.
        resolve: What a path is on the disk, links resolved.
        rules: See `engine.paths`.
    """
    if not roots:
        raise InvalidInput(_HOW_TO_ALLOW)
    shown = ", ".join(roots)
    if not paths.is_absolute(path, rules):
        raise InvalidInput(f"path must be absolute; allowed are {shown} and what is below.")
    if reason := paths.objection(path, rules):
        raise InvalidInput(f"{path} {reason}; allowed are {shown} and what is below.")
    outside = InvalidInput(f"{path} is outside the allowed folders: {shown}.")
    places = [resolve(root) for root in roots]
    drives = {paths.drive(one, rules) for one in (*roots, *places)}
    if paths.is_remote(path, rules) and paths.drive(path, rules) not in drives:
        raise outside
    place = resolve(path)
    if not any(paths.is_under(place, root, rules) for root in places):
        raise outside
    return place


def allowed_among(known: Iterable[str], roots: Sequence[Path]) -> list[str]:
    """Those of some resolved paths that lie under an allowed root."""
    places = [_resolved(str(root)) for root in roots]
    return [path for path in known if any(paths.is_under(path, root) for root in places)]


def _resolved(path: str) -> str:
    return str(resolved(Path(path)))
