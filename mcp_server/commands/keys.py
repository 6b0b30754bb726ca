"""The commands keys create, keys list and keys revoke: who may call over HTTP, and for what."""

import argparse
import sys

from mcp_server.commands import tables
from mcp_server.commands.opening import notes, print_json, results
from mcp_server.keys import USUAL_SCOPES, KeyEntry, Keys
from mcp_server.plain import in_a_line
from mcp_server.settings import Settings


def keys_create(arguments: argparse.Namespace, settings: Settings) -> int:
    """Makes a key and prints it alone on its line, this once."""
    keys = Keys(settings.keys_file)
    needed = keys.any()
    key, made = keys.create(arguments.name, arguments.scope or USUAL_SCOPES)
    if arguments.json:
        print_json(_shown(made) | {"key": key})
    else:
        sys.stdout.write(key + "\n")
    notes().print(
        f"{made.name} ({made.id}) may call for {_scopes(made)}, with the header\n"
        "  Authorization: Bearer KEY\n"
        "Keep the key now: only its hash is stored, and it is not shown again.",
        markup=False,
    )
    if not needed:
        notes().print("It is the first: from now on nobody may call over HTTP without a key.")
    return 0


def keys_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """Lists all keys; what they are nobody can tell."""
    keys = Keys(settings.keys_file)
    entries = keys.list()
    if arguments.json:
        print_json({"needed": keys.any(), "keys": [_shown(entry) for entry in entries]})
        return 0
    if entries:
        rows = [(entry.id, entry.name, _scopes(entry), entry.created) for entry in entries]
        lines = [[in_a_line(text) for text in row] for row in rows]
        tables.show(results(), ("id", "name", "scopes", "created"), lines)
    else:
        notes().print(_nobody(settings) if keys.any() else _everybody(), markup=False)
    return 0


def keys_revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    """Takes a key back, also from a running server."""
    keys = Keys(settings.keys_file)
    gone = keys.revoke(arguments.key)
    sentence = f"{in_a_line(gone.name)} ({gone.id}) may no longer call."
    notes().print(sentence if keys.list() else f"{sentence} {_nobody(settings)}", markup=False)
    return 0


def _shown(entry: KeyEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "name": entry.name,
        "scopes": sorted(entry.scopes),
        "created": entry.created,
    }


def _scopes(entry: KeyEntry) -> str:
    return ", ".join(sorted(entry.scopes))


def _nobody(settings: Settings) -> str:
    return (
        "No key is left, and one is needed still: nobody may call over HTTP until one is created. "
        f"To go back to a server without keys, stop it and remove {settings.keys_file}."
    )


def _everybody() -> str:
    return (
        "No key was ever created: whoever reaches this machine's own address may call. "
        "npu-gateway keys create NAME ends that."
    )
