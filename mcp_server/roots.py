"""Which folders an agent may have indexed: those that lie under an allowed root."""

from collections.abc import Iterable, Sequence
from pathlib import Path

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
    if not roots:
        raise InvalidInput(_HOW_TO_ALLOW)
    shown = ", ".join(map(str, roots))
    if not Path(path).is_absolute():
        raise InvalidInput(f"path must be absolute; allowed are {shown} and what is below.")
    place = resolved(Path(path))
    if not any(place.is_relative_to(resolved(root)) for root in roots):
        raise InvalidInput(f"{path} is outside the allowed folders: {shown}.")
    return place


def allowed_among(paths: Iterable[str], roots: Sequence[Path]) -> list[str]:
    """Those of some resolved paths that lie under an allowed root."""
    resolved_roots = [resolved(root) for root in roots]
    return [
        path for path in paths if any(Path(path).is_relative_to(root) for root in resolved_roots)
    ]
