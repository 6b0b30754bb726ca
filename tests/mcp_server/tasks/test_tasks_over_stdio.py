"""Tasks over stdio: a whole process, whose end and index are real."""

import os
import sys
from pathlib import Path

import anyio
import pytest
from following import Following, begin, ended
from homes import NOTES
from mcp import Client, StdioServerParameters

pytestmark = pytest.mark.anyio


async def test_a_folder_is_indexed_as_a_task(home):
    script = Path(__file__).with_name("task_server.py")
    places = [str(home.settings.data_dir), str(home.documents)]
    server = StdioServerParameters(
        command=sys.executable, args=[str(script), *places], env=dict(os.environ)
    )
    with anyio.fail_after(60):
        async with Client(server, extensions=[Following()]) as client:
            begun = await begin(client, "index_documents", {"path": str(home.documents)})
            told = await ended(client.session, begun.task_id)
            listed = await client.call_tool("list_documents", {})
    assert told.result["structuredContent"]["indexed"] == len(NOTES)
    assert {Path(one["path"]).name for one in listed.structured_content["documents"]} == set(NOTES)
