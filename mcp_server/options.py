"""Options: declares settings as fields of a frozen dataclass, and reads them.

A field is declared once, with `option`; its flag, its environment name, its help and README's table
follow from that. Knows no setting: every function takes the dataclass whose fields are options.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from itertools import chain
from typing import Any


class BadSetting(ValueError):
    """A setting has a value it cannot have; the text names the setting and what it takes."""


@dataclass(frozen=True, slots=True)
class _Option:
    help: str
    parse: Callable[[str], Any]
    metavar: str | None
    """None for a switch."""
    many: str
    """What separates several in the environment; empty where there is but one. Otherwise the flag
    may be repeated, and `parse` gives a tuple."""
    commands: frozenset[str]
    """Commands that take the flag; empty for all."""
    needs: str
    """The switch without which it does nothing; empty for none."""


def option(
    default: Any,
    help_text: str,
    parse: Callable[[str], Any],
    metavar: str | None,
    *,
    many: str = "",
    commands: Sequence[str] = (),
    needs: str = "",
) -> Any:
    """A field of a dataclass that can be set from outside.

    Args:
        default: Its value, or a function that makes it.
        help_text: One sentence.
        parse: Text to value; raises ValueError, worded to follow a name.
        metavar: What stands for the value in help; None for a switch.
        many: What separates several in the environment, where several may be given.
        commands: Commands that take it; empty for all.
        needs: The field of the switch without which it does nothing.
    """
    facts = _Option(help_text, parse, metavar, many, frozenset(commands), needs)
    if callable(default):
        return field(default_factory=default, metadata={"option": facts})
    return field(default=default, metadata={"option": facts})


def _option_of(item: "Field[Any]") -> _Option:
    return item.metadata["option"]


def _taken(cls: type[Any], command: str) -> Iterator["tuple[Field[Any], _Option]"]:
    for item in fields(cls):
        commands = _option_of(item).commands
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
    needs = f" Only with {flag(facts.needs)}." if facts.needs else ""
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


def _parsed(name: str, facts: _Option, given: str | list[str]) -> Any:
    if isinstance(given, str):
        return _value(name, facts, given)
    return tuple(chain.from_iterable(_value(name, facts, word) for word in given if word))


def _value(name: str, facts: _Option, word: str) -> Any:
    try:
        return facts.parse(word)
    except ValueError as error:
        raise BadSetting(f"{name} {error}, not {word!r}.") from error


def check_needs(cls: type[Any], line: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Refuses what was asked for on the command line and would do nothing.

    Environment and file serve several starts, and may hold what one of them does not need.

    Raises:
        BadSetting: A flag needs a switch that is not on.
    """
    for item in fields(cls):
        needs = _option_of(item).needs
        if needs and item.name in line and not chosen.get(needs):
            raise BadSetting(f"{flag(item.name)} does nothing without {flag(needs)}; add that.")


def words(cls: type[Any], settings: Any, command: str) -> list[str]:
    """The flags that give another process these settings; what does nothing is left out."""
    said, defaults = list[str](), cls()
    for item, facts in _taken(cls, command):
        value = getattr(settings, item.name)
        idle = facts.needs and not getattr(settings, facts.needs)
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
