"""Which stored names a wrong one may have meant."""

import difflib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

_MOST = 3


def near_names(wanted: str, documents: Sequence[Sequence[Any]]) -> list[str]:
    """Up to three documents whose id, path or file name resembles what was asked for.

    Args:
        wanted: What the caller took for a document's id.
        documents: Pairs of document id and path.

    Returns:
        "id (path)" each, the nearest first.
    """
    asked = wanted[:1000]
    labels: dict[str, str] = {}
    for document_id, path in documents:
        label = f"{document_id} ({path})"
        labels.setdefault(PurePath(path).name, label)
        labels.setdefault(document_id, label)
        labels.setdefault(path, label)
    last = PurePath(asked).name
    near = difflib.get_close_matches(asked, labels, _MOST)
    if last != asked:
        near += difflib.get_close_matches(last, labels, _MOST)
    return list(dict.fromkeys(labels[name] for name in near))[:_MOST]


def nearest_words(wanted: str, words: Sequence[str]) -> list[str]:
    """Up to three of some words that resemble what was asked for, the nearest first."""
    folded = {word.casefold(): word for word in words}
    near = difflib.get_close_matches(wanted[:1000].casefold(), folded, _MOST)
    return [folded[one] for one in near]


def unknown_collection(name: str, known: Sequence[str]) -> str:
    """What to say of a collection that is not there."""
    if not known:
        return f'There is no collection "{name[:200]}": nothing is indexed yet.'
    near = nearest_words(name, known) or known[:3]
    return f'There is no collection "{name[:200]}"; there is {", ".join(near)}.'
