"""The command line: each command with its arguments, in the one table that README shows.

Only the parser is here. Each command is a function in `commands`, found by the name of its module.
"""

import argparse
from collections.abc import Callable

from engine import __version__
from engine.corpus import KINDS
from mcp_server import settings
from mcp_server.misuse import Parser

Add = Callable[[argparse.ArgumentParser], object]


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _nothing(_: argparse.ArgumentParser) -> None:
    """For commands that take settings only."""


def _pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="*", metavar="ID", help="default: the two default models")


def _remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="ID", help="an installed model")


def _index(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    parser.add_argument("--name", help="name of its collection (default: the folder's)")
    parser.add_argument(
        "--include",
        action="append",
        metavar="PATTERN",
        help="only these files, as in .gitignore; may be repeated",
    )
    parser.add_argument(
        "--exclude", action="append", metavar="PATTERN", help="never these; may be repeated"
    )
    parser.add_argument("--rebuild", action="store_true", help="read every file anew")
    _json(parser)


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        default="",
        help="a folder or file (default: all that is indexed)",
    )


def _reindex(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    _json(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help='a question or key words; "exact phrases" in quotes')
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="N", help="passages (default %(default)s)"
    )
    for flag, metavar, help_text in (
        ("--collection", "NAME", "only in this one; may be repeated"),
        ("--path", "GLOB", "only paths that match, such as '*/notes/*.md'; may be repeated"),
        ("--kind", "KIND", f"only this one of {', '.join(KINDS)}; may be repeated"),
        ("--metadata", "NAME=VALUE", "only what states this, such as author=Ann; may be repeated"),
    ):
        parser.add_argument(flag, action="append", metavar=metavar, help=help_text)
    for flag, help_text in (("--after", "on it or after"), ("--before", "on it or before")):
        parser.add_argument(
            flag, default="", metavar="DAY", help=f"only what was modified {help_text}: 2026-12-31"
        )
    parser.add_argument(
        "--mode",
        choices=["hybrid", "dense", "keyword"],
        default="hybrid",
        help="by words and meaning, by meaning, or by words (default %(default)s)",
    )
    parser.add_argument("--explain", action="store_true", help="show what each score is made of")
    _json(parser)


def _collections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drop", metavar="NAME", help="no longer keep this one; files stay")
    parser.add_argument("--skipped", action="store_true", help="files left out, with reasons")
    _json(parser)


def _backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a new file")
    _json(parser)


def _embed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="+", help="texts; - reads lines from stdin")
    parser.add_argument("--kind", choices=["document", "query"], default="document")
    parser.add_argument(
        "--no-truncate", action="store_true", help="refuse texts longer than the model reads"
    )
    _json(parser)


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what to answer or write; - reads stdin")
    parser.add_argument("--system", default="", help="instructions above the prompt")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument(
        "--json-schema", default=None, metavar="JSON", help="the answer is JSON valid under this"
    )
    _json(parser)


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", default="", metavar="FILE.png", help="draw it, too (extra: plot)")
    _json(parser)


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "agent_host",
        metavar="HOST",
        nargs="?",
        default="",
        help="such as claude-code or vscode (default: list them all)",
    )


def _create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose it is, for the list of keys")
    parser.add_argument(
        "--scope",
        action="append",
        choices=["infer", "search", "admin"],
        metavar="SCOPE",
        help="what for: infer (models), search (documents) or admin (measures, changing the "
        "index); may be repeated (default: infer and search)",
    )
    _json(parser)


def _revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="ID|NAME", help="as npu-gateway keys list shows it")


COMMANDS: dict[str, tuple[str, str, Add]] = {
    "serve": (
        "serve",
        "Serve an agent host over stdin and stdout (MCP), or many callers over HTTP.",
        _nothing,
    ),
    "config": ("config", "Print what to paste into an agent host, with the command.", _config),
    "demo": ("demo", "Show everything once, on this machine, with real models.", _nothing),
    "pull": ("models", "Fetch models.", _pull),
    "models": ("models", "List known and installed models and which one each tool uses.", _json),
    "remove": ("models", "Delete an installed model.", _remove),
    "index": ("indexing", "Make a folder searchable, or bring it or all up to date.", _index),
    "search": ("searching", "Search the indexed documents by words and meaning.", _search),
    "watch": ("indexing", "Keep the index up to date while files change.", _nothing),
    "collections": ("care", "List what is kept indexed and what was left out.", _collections),
    "reindex": ("indexing", "Read every indexed file anew, changed or not.", _reindex),
    "gc": ("care", "Give back the space of what was removed.", _json),
    "backup": ("care", "Copy the index into a file while it is used.", _backup),
    "verify": ("care", "Examine the index from end to end.", _json),
    "embed": ("inference", "Turn texts into vectors.", _embed),
    "generate": ("inference", "Let the language model answer a prompt.", _generate),
    "calibrate": ("calibrate", "Measure what each device takes to embed texts.", _calibrate),
    "doctor": ("doctor", "Examine this machine and say what to do about each problem.", _json),
    "keys create": ("keys", "Let somebody call over HTTP; prints the key, once.", _create),
    "keys list": ("keys", "List who may call over HTTP, and for what.", _json),
    "keys revoke": ("keys", "Let somebody no longer call over HTTP.", _revoke),
}
"""Command to module in `commands`, help and arguments. The function has the command's name."""

FAMILIES = {"keys": "Say who may call over HTTP."}
"""What the first word of commands with two is about."""


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="npu-gateway",
        description="Private generate, embed and semantic_search on your own machine, over MCP.",
    )
    top.add_argument("--version", action="version", version=f"npu-gateway {__version__}")
    below = {"": top.add_subparsers(metavar="COMMAND", required=True)}
    for name, (_, help_text, add) in COMMANDS.items():
        family, _, word = name.rpartition(" ")
        if family not in below:
            said = FAMILIES[family]
            first = below[""].add_parser(family, help=said, description=said)
            below[family] = first.add_subparsers(metavar="ACTION", required=True)
        sub = below[family].add_parser(word, help=help_text, description=help_text)
        sub.set_defaults(command=name, parser=sub)
        add(sub)
        settings.add_flags(sub, name)
    return top
