"""Reads snippets as the hosts do: each in its own format, its server by name."""

import json
import tomllib
from typing import Any

import yaml

from mcp_server.agent_hosts.launching import NAME, Launch
from mcp_server.agent_hosts.table import AgentHost

_READERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


def entry(host: AgentHost, text: str) -> dict[str, Any]:
    """What the host keeps for this server, and nothing stands beside it."""
    read = _READERS[host.format](text)
    assert list(read) == [host.key]
    servers = read[host.key]
    if isinstance(servers, list):
        servers = {one.pop("name"): one for one in servers}
    assert list(servers) == [NAME]
    return servers[NAME]


def launched(host: AgentHost, text: str) -> Launch:
    """What the host would start."""
    found = entry(host, text)
    return Launch(found["command"], tuple(found["args"]), found.get("env", {}))
