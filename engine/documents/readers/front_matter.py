"""Reads what a text says of itself in the lines before it: title, author, date, tags.

Takes names with a value or a list of values, as YAML has them; what is nested deeper is passed
over. A library that reads all of YAML is not there for every machine, and some of YAML grows
without bounds.
"""

import re
from collections.abc import Sequence

_PAIR = re.compile(r"([A-Za-z_][\w .-]{0,63}?)[ \t]*:(?:[ \t]+(.*))?$")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)$")
_COMMENT = re.compile(r"[ \t]#.*$")
_PARTS = re.compile(r"[ \t]*(\"[^\"]*\"|'[^']*'|[^,]+)")
# Values that go on in the lines below, which are passed over.
_OPENERS = ("|", ">", "{", "&", "*", "!")

_MOST_NAMES = 50
_LONGEST_VALUE = 500
# Lists within lists: [[a link]] is one.
_DEEPEST = 3


def metadata_of(lines: Sequence[str]) -> dict[str, str]:
    """Values by names in small letters; those of a list are joined by commas.

    Args:
        lines: Those between the marks; whatever is no pair of name and value does no harm.
    """
    values: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if pair := _PAIR.match(line):
            name = pair[1].lower()
            values[name] = _values(pair[2] or "")
        elif (item := _ITEM.match(line)) and name:
            values[name] += _values(item[1])[:1]
        elif not line[:1].isspace():
            name = ""
    found = {name: ", ".join(parts)[:_LONGEST_VALUE] for name, parts in values.items() if parts}
    return dict(list(found.items())[:_MOST_NAMES])


def _values(text: str, depth: int = 0) -> list[str]:
    text = text.strip()
    if not text or text.startswith((*_OPENERS, "#")):
        return []
    if text[0] in "\"'" and (end := text.find(text[0], 1)) > 0:
        return [text[1:end]]
    text = _COMMENT.sub("", text).strip()
    if text.startswith("[") and text.endswith("]") and depth < _DEEPEST:
        parts = _PARTS.findall(text[1:-1])
        return [value for part in parts for value in _values(part, depth + 1)]
    return [text]
