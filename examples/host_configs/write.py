"""Writes what stands beside it: a snippet for each agent host, and HOSTS.md.

    python examples/host_configs/write.py

All is made from the table in mcp_server/agent_hosts; a test fails where a file here is not what the
table makes. `npu-gateway config HOST` prints the same with the absolute command of a machine.
"""

from pathlib import Path

from mcp_server.agent_hosts.launching import PORTABLE
from mcp_server.agent_hosts.snippets import snippet
from mcp_server.agent_hosts.table import HOSTS, LINUX, MACOS, WINDOWS, AgentHost

FOLDER = Path(__file__).parent

_HEAD = """# Agent hosts

Made from `mcp_server/agent_hosts/table.py` by `python examples/host_configs/write.py`.

These snippets run `uvx npu-gateway`, which needs uv on the PATH that the host has and asks the
package index at every start: without a network it starts only after `uv tool install npu-gateway`.
`npu-gateway config HOST` prints them with the absolute command of the machine it runs on, which
needs neither, and with the settings it is given. `--root` names a folder that the agent may index.

The formats are the hosts' own, as documented where the last line of each part says. None was tried
in the host itself: a test reads each snippet in its format and starts what it says, with the
official client.
"""


def file_name(host: AgentHost) -> str:
    """Where a host's snippet is kept."""
    return f"{host.name}.{host.format}"


def page() -> str:
    """HOSTS.md."""
    return "\n".join([_HEAD, *map(_part, HOSTS)])


def _part(host: AgentHost) -> str:
    systems = {path: [] for path in host.files.values()}
    for system in (MACOS, WINDOWS, LINUX):
        systems[host.files[system]].append(system)
    files = [f"- {', '.join(names)}: `{path}`" for path, names in systems.items()]
    lines = [f"## {host.title}", "", f"[{file_name(host)}]({file_name(host)}), into", "", *files]
    lines += ["", host.advice]
    if host.adds:
        words = " ".join((*host.adds, PORTABLE.command, *PORTABLE.args))
        lines += ["", f"For all projects: `{words}`"]
    return "\n".join([*lines, "", f"Source: {host.source}.", ""])


def files() -> dict[str, str]:
    """All that is written, by name."""
    return {file_name(host): snippet(host, PORTABLE) for host in HOSTS} | {"HOSTS.md": page()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(files())} files are written.")
