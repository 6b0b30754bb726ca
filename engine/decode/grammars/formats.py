"""The formats of JSON Schema, as patterns or as the formats that llguidance knows.

Rule: what passes here passes the strictest checkers: a date is a day that there was, a year has
four digits and is not 0, a time has a zone and no leap second.
"""

from engine.errors import InvalidInput

_DATE = (
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_NOT_YEAR_0: dict[str, object] = {"pattern": "^(?:[1-9]|0[1-9]|00[1-9]|000[1-9])"}

_SCHEMAS: dict[str, list[dict[str, object]]] = {
    "date": [{"pattern": f"^(?:{_DATE})$"}, _NOT_YEAR_0],
    "date-time": [{"pattern": f"^(?:{_DATE}T{_TIME})$"}, _NOT_YEAR_0],
    "time": [{"pattern": f"^(?:{_TIME})$"}],
    "hostname": [{"format": "hostname", "maxLength": 253}],
    **{name: [{"format": name}] for name in ("duration", "email", "ipv4", "ipv6", "uuid", "uri")},
}

# Formats of the standard that are not written here. Any other name says nothing to a checker.
_UNSERVED = frozenset(
    {"idn-email", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template"}
    | {"json-pointer", "relative-json-pointer", "regex"}
)


def schemas_of(name: str) -> list[dict[str, object]]:
    """Schemas, with keywords of llguidance's, that strings of a format satisfy all of.

    Raises:
        InvalidInput: The standard has such a format, but it is not served.
    """
    if name in _UNSERVED:
        raise InvalidInput(
            f"The schema's format {name} is not supported; use a pattern or one of "
            f"{', '.join(_SCHEMAS)}."
        )
    return _SCHEMAS.get(name, [])


SAMPLES: dict[str, str] = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "hostname": "a",
    "duration": "P1D",
    "email": "a@b",
    "ipv4": "0.0.0.0",
    "ipv6": "::",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "uri": "a:b",
}
"""A short text of each format."""
