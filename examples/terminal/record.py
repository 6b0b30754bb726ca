"""Records a session with the installed command in a terminal, as the picture terminal.svg.

Every command runs, in a terminal of its own and with real models; what it prints is what is drawn.

    npu-gateway pull
    python examples/terminal/record.py --home /home/ann

Needs POSIX. The home is a new folder; its path is in the picture.
"""

import argparse
import io
import os
import pty
import shlex
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from mcp_server.settings import Settings

COLUMNS = 100

COMMANDS = (
    "npu-gateway index notes",
    'npu-gateway search "It is freezing in my bedroom. What should I check first?" --top-k 1',
    'npu-gateway generate "Ann Lee ordered 12 chairs on 3 May." --json-schema \'{"type": "object", '
    '"properties": {"name": {"type": "string"}, "chairs": {"type": "integer"}, '
    '"day": {"type": "string"}}, "required": ["name", "chairs", "day"], '
    '"additionalProperties": false}\'',
)

FRAME = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own picture fetches its font from a web address; this one takes the reader's."""


def main() -> None:
    """Makes the home, runs the commands there and draws what they print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--models-dir", type=Path, default=Settings().models_folder)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("terminal.svg"))
    chosen = parser.parse_args()
    chosen.home.mkdir(parents=True)
    with resources.as_file(resources.files("mcp_server") / "sample_documents") as documents:
        shutil.copytree(documents, chosen.home / "notes")
    settings = {
        "HOME": str(chosen.home),
        "NPU_GATEWAY_MODELS_DIR": str(chosen.models_dir.absolute()),
        "COLUMNS": str(COLUMNS),
        "TERM": "xterm-256color",
    }
    drawn = Console(record=True, width=COLUMNS, file=io.StringIO())
    for command in COMMANDS:
        drawn.print(Text.assemble(("~ $ ", "bold green"), command))
        drawn.print(Text.from_ansi(printed_by(command, chosen.home, settings)))
    svg = drawn.export_svg(title="npu-gateway", theme=MONOKAI, code_format=FRAME, unique_id="t")
    chosen.out.write_text(svg, encoding="utf-8")


def printed_by(command: str, folder: Path, settings: dict[str, str]) -> str:
    """What a command prints in a terminal.

    Raises:
        RuntimeError: It failed.
    """
    words = shlex.split(command)
    reading, writing = pty.openpty()
    running = subprocess.Popen(
        [str(Path(sys.executable).with_name(words[0])), *words[1:]],
        cwd=folder,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    printed = b""
    with open(reading, "rb", buffering=0) as terminal:
        while part := _read(terminal):
            printed += part
    if running.wait():
        raise RuntimeError(f"{command}: {printed.decode()}")
    return printed.decode().replace("\r\n", "\n")


def _read(terminal: io.RawIOBase) -> bytes:
    """The next bytes; none once the program has closed the terminal, which Linux calls an error."""
    try:
        return terminal.read(65_536) or b""
    except OSError:
        return b""


if __name__ == "__main__":
    main()
