"""What values settings take: text to a value, or a sentence's part that says what is taken.

Knows neither flags nor environment. Every function raises ValueError, worded to follow a name.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

TOOL_NAMES = (
    "semantic_search",
    "get_document",
    "list_documents",
    "index_documents",
    "remove_documents",
    "embed",
    "generate",
    "status",
)

_FALSE_AND_TRUE = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A name whose last part is one would be read as an address: 127.1 and 0x7f000001 are 127.0.0.1."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/@:\[\]]+|\[[^/@\[\]]+\])(?::([0-9]{1,5}))?")
_MOST_PORT = 65_535
_PORTS = {"http": "80", "https": "443"}
"""Ports that browsers leave out of an origin."""


def folder(value: str) -> Path:
    """An absolute path; ~ is the home folder."""
    if not value.isprintable():
        raise ValueError("takes a path of printable characters")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("takes a path whose ~ is a home folder that can be found") from None


def switch(value: str) -> bool:
    """On or off."""
    if value.lower() not in _FALSE_AND_TRUE:
        raise ValueError("takes 1 or 0")
    return _FALSE_AND_TRUE[value.lower()]


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Reads one of some words, in capitals or not."""

    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"takes one of {', '.join(words)}")
        return value.lower()

    return parse


def soc_number(value: str) -> str:
    """Digits; which numbers are known is not known here."""
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("takes the number of a SoC, such as 60")
    return value


def named_values(value: str) -> tuple[str, ...]:
    """One NAME=VALUE, whatever the name."""
    name, separator, _ = value.partition("=")
    if not (name.strip() and separator):
        raise ValueError("takes NAME=VALUE")
    return (value.strip(),)


def not_negative(value: str) -> float:
    """A number that is neither negative nor endless."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise ValueError("takes a number from 0 on")
    return number


def folders(value: str) -> tuple[Path, ...]:
    """One path."""
    return (folder(value),)


def host(value: str) -> str:
    """A name in small letters or an address, which is without brackets if it is of version 6."""
    word = value.strip().lower().removesuffix(".")
    bare = word[1:-1] if word.startswith("[") and word.endswith("]") and ":" in word else word
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if _NAME.fullmatch(word) and not _NUMBER.fullmatch(word.rpartition(".")[2]):
            return word
    raise ValueError("takes a name or an address, without scheme and port")


def hosts(value: str) -> tuple[str, ...]:
    """One name or address."""
    return (host(value),)


def is_loopback(name: str) -> bool:
    """Whether a host is this machine alone; a name but localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def origins(value: str) -> tuple[str, ...]:
    """One web origin, as browsers write it."""
    found = _ORIGIN.fullmatch(value.strip().lower())
    try:
        if not found or int(found[3] or 0) > _MOST_PORT:
            raise ValueError
        scheme, name, port = found[1], host(found[2]), found[3]
    except ValueError:
        raise ValueError("takes scheme://host or scheme://host:port, without path or *") from None
    shown = f"[{name}]" if ":" in name else name
    return (f"{scheme}://{shown}" + (f":{port}" if port and port != _PORTS.get(scheme) else ""),)


def tool_names(value: str) -> tuple[str, ...]:
    """Names of tools between commas."""
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    if not set(names) <= set(TOOL_NAMES):
        raise ValueError(f"takes names of tools ({', '.join(TOOL_NAMES)})")
    return names


def whole(least: int, most: int, note: str = "") -> Callable[[str], int]:
    """Reads a whole number within limits; `note` says what the least one means."""

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdecimal()) or not least <= int(value) <= most:
            raise ValueError(f"takes a whole number from {least}{note} to {most}")
        return int(value)

    return parse
