"""Options: declares settings as fields of a frozen dataclass, and reads them.

A field is declared once, with `option`; its flag, its name in the environment and in a file, its
help and README's table follow from that. Every source is read into a dictionary by field, and the
caller lays them over each other. Knows no setting: every function takes the dataclass whose fields
are options.
"""

import argparse
import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, cast


class BadSetting(ValueError):
    """A setting has a value it cannot have; the text names the setting and what it takes."""


@dataclass(frozen=True, slots=True)
class Use:
    """Where a setting does something."""

    commands: frozenset[str] = frozenset()
    """Commands that take it; empty for all."""
    needs: str = ""
    """The field of the switch without which it does nothing; empty for none."""


EVERYWHERE = Use()


@dataclass(frozen=True, slots=True)
class _Option:
    help: str
    parse: Callable[[str], Any]
    metavar: str | None
    many: str
    use: Use


def option(
    default: Any,
    help_text: str,
    parse: Callable[[str], Any],
    metavar: str | None,
    *,
    many: str = "",
    use: Use = EVERYWHERE,
) -> Any:
    """A field of a dataclass that can be set from outside.

    Args:
        default: Its value, or a function that makes it.
        help_text: One sentence.
        parse: Text to value; raises ValueError, worded to follow a name.
        metavar: What stands for the value in help; None for a switch.
        many: What separates several in the environment; empty where there is but one. Otherwise
            the flag may be repeated, and `parse` gives a tuple.
        use: Where it does something.
    """
    facts = {"option": _Option(help_text, parse, metavar, many, use)}
    if callable(default):
        return field(default_factory=default, metadata=facts)
    return field(default=default, metadata=facts)


def _option_of(item: "Field[Any]") -> _Option:
    return item.metadata["option"]


def _taken(cls: type[Any], command: str) -> Iterator["tuple[Field[Any], _Option]"]:
    for item in fields(cls):
        commands = _option_of(item).use.commands
        if not commands or command in commands:
            yield item, _option_of(item)


def flag(name: str) -> str:
    """A field's flag."""
    return "--" + name.replace("_", "-")


def _environment_name(name: str) -> str:
    return "NPU_GATEWAY_" + name.upper()


def _help(item: "Field[Any]") -> str:
    """What a setting does, its default where that is a number or a word, and what it needs."""
    facts, default = _option_of(item), item.default
    needs = f" Only with {flag(facts.use.needs)}." if facts.use.needs else ""
    if isinstance(default, bool) or not isinstance(default, int | float | str) or default == "":
        return facts.help + needs
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"{facts.help.removesuffix('.')} (default {shown}).{needs}"


def add_flags(cls: type[Any], parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the flags that a command takes; all are kept as text until they are read."""
    group = parser.add_argument_group("settings")
    for item, facts in _taken(cls, command):
        text = f"{_help(item)} [{_environment_name(item.name)}]"
        if facts.metavar is None:
            group.add_argument(flag(item.name), action="store_const", const="1", help=text)
        elif facts.many:
            group.add_argument(flag(item.name), action="append", metavar=facts.metavar, help=text)
        else:
            group.add_argument(flag(item.name), metavar=facts.metavar, help=text)


def from_line(cls: type[Any], command: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a command's line says, by field.

    Raises:
        BadSetting: A value cannot be what the setting takes.
    """
    return {
        item.name: _parsed(flag(item.name), facts, given)
        for item, facts in _taken(cls, command)
        if (given := getattr(arguments, item.name, None)) is not None
    }


def from_environment(
    cls: type[Any], command: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """What an environment says to a command, by field; an empty value says nothing.

    Raises:
        BadSetting: A value cannot be what the setting takes.
    """
    named = ((*taken, _environment_name(taken[0].name)) for taken in _taken(cls, command))
    return {
        item.name: _parsed(name, facts, given.split(facts.many) if facts.many else given)
        for item, facts, name in named
        if (given := environment.get(name))
    }


def from_file(cls: type[Any], file: Path, *, required: bool) -> dict[str, Any]:
    """What a TOML file says, by field; it serves all commands, and is checked as a whole.

    Args:
        cls: The dataclass; keys are the names of its fields, in one flat table.
        file: The file.
        required: Whether it has to be there.

    Raises:
        BadSetting: It cannot be read, or holds a key or a value that there is not.
    """
    known = {item.name: item for item in fields(cls)}
    chosen: dict[str, Any] = {}
    for key, given in _toml(file, required=required).items():
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            offer = f"; did you mean {near[0]}?" if near else "."
            raise BadSetting(f"{file}: {key} is no setting{offer}")
        text = _text(file, known[key], given)
        chosen[key] = _parsed(f"{file}: {key}", _option_of(known[key]), text)
    return chosen


_IN_A_FILE = (
    (bool, (bool,), "true or false"),
    (int, (int,), "a whole number"),
    (float, (int, float), "a number"),
    (tuple, (list,), "a list of texts in quotes"),
    (object, (str,), "a text in quotes"),
)
"""What TOML may say of a field, by the first type that its default is of."""


def _toml(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        # Editors on Windows may begin it with a byte order mark, which TOML does not know.
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise BadSetting(f"The file of settings {file} is not there.") from error
        return {}
    except OSError as error:
        raise BadSetting(
            f"The file of settings {file} cannot be read ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"The file of settings {file} is not TOML: {error}.") from error


def _text(file: Path, item: "Field[Any]", given: Any) -> str | list[str]:
    """A value of the right type as the text, or the texts, that `parse` takes."""
    types, taken = next(row[1:] for row in _IN_A_FILE if isinstance(item.default, row[0]))
    kind = type(cast(object, given))
    if kind not in types or (kind is list and not all(isinstance(word, str) for word in given)):
        raise BadSetting(f"{file}: {item.name} takes {taken}, not {given!r}.")
    return given if kind is list else str(given)


def _parsed(name: str, facts: _Option, given: str | list[str]) -> Any:
    if isinstance(given, str):
        return _value(name, facts, given)
    return tuple(chain.from_iterable(_value(name, facts, word) for word in given if word))


def _value(name: str, facts: _Option, word: str) -> Any:
    try:
        return facts.parse(word)
    except ValueError as error:
        raise BadSetting(f"{name} {error}, not {word!r}.") from error


def for_command(cls: type[Any], command: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What of it a command takes."""
    return {item.name: chosen[item.name] for item, _ in _taken(cls, command) if item.name in chosen}


def check_needs(cls: type[Any], line: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Refuses what was asked for on the command line and would do nothing.

    Environment and file serve several starts, and may hold what one of them does not need.

    Raises:
        BadSetting: A flag needs a switch that is not on.
    """
    for item in fields(cls):
        needs = _option_of(item).use.needs
        if needs and item.name in line and not chosen.get(needs):
            raise BadSetting(f"{flag(item.name)} does nothing without {flag(needs)}; add that.")


def words(cls: type[Any], settings: Any, command: str) -> list[str]:
    """The flags that give another process these settings; what does nothing is left out."""
    said, defaults = list[str](), cls()
    for item, facts in _taken(cls, command):
        value = getattr(settings, item.name)
        idle = facts.use.needs and not getattr(settings, facts.use.needs)
        if idle or value == getattr(defaults, item.name):
            continue
        given = [""] if value is True else list(value) if facts.many else [value]
        said += [part for one in given for part in (flag(item.name), str(one)) if part]
    return said


def table(cls: type[Any]) -> list[tuple[str, str, str]]:
    """Flag, environment name and help of every setting, as README shows them."""
    return [
        (
            " ".join(filter(None, (flag(item.name), _option_of(item).metavar))),
            _environment_name(item.name),
            _help(item),
        )
        for item in fields(cls)
    ]
