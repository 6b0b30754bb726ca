"""What is pasted into a host's file: its table and a launch, in the host's own format.

Rule: a text in quotes is written as JSON writes it, which TOML and YAML read alike.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mcp_server.agent_hosts.launching import NAME, Launch
from mcp_server.agent_hosts.table import AgentHost, Format


def snippet(host: AgentHost, launch: Launch) -> str:
    """Lines that are a whole file, or are merged into what the host's file holds."""
    return _WRITERS[host.format](host, _entry(host, launch))


def _entry(host: AgentHost, launch: Launch) -> dict[str, Any]:
    kind = {key: value for key, value in host.fields.items() if key == "type"}
    times = {key: value for key, value in host.fields.items() if key != "type"}
    entry: dict[str, Any] = {**kind, "command": launch.command, "args": list(launch.args)}
    if launch.env:
        entry["env"] = dict(launch.env)
    return entry | times


def _json(host: AgentHost, entry: dict[str, Any]) -> str:
    return json.dumps({host.key: {NAME: entry}}, ensure_ascii=False, indent=2) + "\n"


def _toml(host: AgentHost, entry: dict[str, Any]) -> str:
    table = f"{host.key}.{NAME}"
    plain = {key: value for key, value in entry.items() if not isinstance(value, Mapping)}
    lines = [f"[{table}]", *(f"{key} = {_quoted(value)}" for key, value in plain.items())]
    for key, value in entry.items():
        if key not in plain:
            lines += ["", f"[{table}.{key}]"]
            lines += [f"{name} = {_quoted(one)}" for name, one in value.items()]
    return "\n".join(lines) + "\n"


def _yaml(host: AgentHost, entry: dict[str, Any]) -> str:
    """A list of servers, each with its name."""
    lines = [f"{host.key}:", f"  - name: {NAME}"]
    for name, value in entry.items():
        lines += _yaml_field(name, value)
    return "\n".join(lines) + "\n"


def _yaml_field(name: str, value: str | int | list[str] | dict[str, str]) -> Iterator[str]:
    if isinstance(value, str | int):
        yield f"    {name}: {_quoted(value)}"
        return
    yield f"    {name}:"
    if isinstance(value, dict):
        yield from (f"      {key}: {_quoted(one)}" for key, one in value.items())
    else:
        yield from (f"      - {_quoted(one)}" for one in value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_WRITERS: dict[Format, Callable[[AgentHost, dict[str, Any]], str]] = {
    "json": _json,
    "toml": _toml,
    "yaml": _yaml,
}
