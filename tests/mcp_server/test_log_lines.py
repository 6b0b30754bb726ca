"""What a served process writes to stderr."""

import json

from raw import raw_server


def test_log_lines_are_json_objects_where_asked_for(tmp_path):
    folders = ["--data-dir", str(tmp_path / "data"), "--models-dir", str(tmp_path / "none")]
    with raw_server(*folders, "--json-logs") as server:
        server.initialize()
        call = {"name": "generate", "arguments": {"prompt": "Hello"}}
        assert server.ask(1, "tools/call", call)["result"]["isError"]
        server.close_stdin()
        assert server.ended() == 0
        lines = [json.loads(line) for line in server.errors.splitlines()]
    assert {line["level"] for line in lines} == {"warning"}
    assert any("The language model is not available" in line["message"] for line in lines)
