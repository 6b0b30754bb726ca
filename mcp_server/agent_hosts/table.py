"""Where each agent host keeps its list of servers, in which format and with which limits of time.

From the hosts' own documentation and trackers, read in November 2026; the source stands in each
row. None of it was tried in the host itself. What the tests hold is that a snippet is sound in its
own format and that what it says starts a server which the official client talks to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["json", "toml", "yaml"]

MACOS, WINDOWS, LINUX = "macOS", "Windows", "Linux"

_ROAMING = "%APPDATA%\\"
_SUPPORT = "~/Library/Application Support/"


def _everywhere(path: str) -> dict[str, str]:
    return dict.fromkeys((MACOS, WINDOWS, LINUX), path)


@dataclass(frozen=True, slots=True)
class AgentHost:
    """A program whose agent calls tools."""

    name: str
    """As it is typed."""
    title: str
    """As it calls itself."""
    key: str
    """What holds its servers at the top of the file: a table by name, or a list in YAML."""
    files: Mapping[str, str]
    """The file of settings by system, written as people of that system write paths."""
    advice: str
    """One or two sentences: how to open the file, and what to know."""
    source: str
    """Where these facts come from."""
    format: Format = "json"
    fields: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    """What stands beside command and arguments: kind of connection and limits of time."""
    adds: tuple[str, ...] = ()
    """Words that do the same in a terminal, before the server's command; often there are none."""


HOSTS = (
    AgentHost(
        name="claude-desktop",
        title="Claude Desktop",
        key="mcpServers",
        files={
            MACOS: _SUPPORT + "Claude/claude_desktop_config.json",
            WINDOWS: _ROAMING + "Claude\\claude_desktop_config.json",
            LINUX: "~/.config/Claude/claude_desktop_config.json",
        },
        advice="Settings, Developer, Edit Config opens it. On Windows, an installation from an "
        "MSIX package reads the one under %LOCALAPPDATA%\\Packages\\Claude_pzs8sxrjxfjjc"
        "\\LocalCache\\Roaming\\Claude instead.",
        source="modelcontextprotocol.io/docs/develop/connect-local-servers; MSIX: "
        "anthropics/claude-code#26073; Linux: aaddrick/claude-desktop-debian#1",
    ),
    AgentHost(
        name="claude-code",
        title="Claude Code",
        key="mcpServers",
        files=_everywhere(".mcp.json"),
        fields={"type": "stdio"},
        advice="The file stands in the folder of a project. It waits 30 s for a server, or as many "
        "milliseconds as MCP_TIMEOUT says.",
        source="code.claude.com/docs/en/mcp",
        adds=("claude", "mcp", "add", "--scope", "user", "npu-gateway", "--"),
    ),
    AgentHost(
        name="vscode",
        title="VS Code",
        key="servers",
        files={
            MACOS: _SUPPORT + "Code/User/mcp.json",
            WINDOWS: _ROAMING + "Code\\User\\mcp.json",
            LINUX: "~/.config/Code/User/mcp.json",
        },
        fields={"type": "stdio"},
        advice="The command MCP: Open User Configuration opens it; for one project it is "
        ".vscode/mcp.json.",
        source="code.visualstudio.com/docs/agents/reference/mcp-configuration",
    ),
    AgentHost(
        name="cursor",
        title="Cursor",
        key="mcpServers",
        files={
            **_everywhere("~/.cursor/mcp.json"),
            WINDOWS: "%USERPROFILE%\\.cursor\\mcp.json",
        },
        fields={"type": "stdio"},
        advice="For one project it is .cursor/mcp.json.",
        source="cursor.com/docs/mcp",
    ),
    AgentHost(
        name="zed",
        title="Zed",
        key="context_servers",
        files={
            **_everywhere("~/.config/zed/settings.json"),
            WINDOWS: _ROAMING + "Zed\\settings.json",
        },
        advice="The command zed: open settings opens it. A call ends after 60 s unless timeout "
        "beside command, or context_server_timeout, gives it more seconds.",
        source="zed.dev/docs/ai/mcp; times: zed-industries/zed#45378",
    ),
    AgentHost(
        name="codex",
        title="Codex",
        key="mcp_servers",
        files={
            **_everywhere("~/.codex/config.toml"),
            WINDOWS: "%USERPROFILE%\\.codex\\config.toml",
        },
        format="toml",
        fields={"startup_timeout_sec": 60, "tool_timeout_sec": 300},
        advice="Without the two times it gives up on a start after 10 s and on a call after 60 s.",
        source="openai/codex, docs/config.md; times: openai/codex#3182",
    ),
    AgentHost(
        name="continue",
        title="Continue",
        key="mcpServers",
        files={
            **_everywhere("~/.continue/config.yaml"),
            WINDOWS: "%USERPROFILE%\\.continue\\config.yaml",
        },
        format="yaml",
        fields={"connectionTimeout": 60_000},
        advice="Tools work in its agent mode alone. Without the time, in milliseconds, it gives up "
        "on a start after 20 s.",
        source="docs.continue.dev/customize/deep-dives/mcp; time: continuedev/continue, "
        "packages/config-yaml/src/schemas/mcp and core/context/mcp/MCPConnection.ts",
    ),
)
"""One row a host."""

BY_NAME = {host.name: host for host in HOSTS}
