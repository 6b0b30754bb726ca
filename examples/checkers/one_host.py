"""A host of one server, that does what starts_and_stops.py tells it and may be killed at any time.

Its one argument is a plan as JSON. It prints what happened as lines of JSON, then waits for a line
that says how the server is to end: "end of stdin" or the name of a signal.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "starts and stops", "version": "1"},
}
CALLS = {
    "generate": {"prompt": "Tell a very long story.", "max_tokens": 4000},
    "index": {"path": ""},
}
TOOLS = {"generate": "generate", "index": "index_documents"}
MOST_SECONDS = 120


def tell(event: str, **fields: object) -> None:
    """One line for whoever started this."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Server:
    """A server process and the pipe to it, the writing end of which may be held elsewhere, too."""

    def __init__(self, plan: dict) -> None:
        self.era = plan["era"]
        self.writing = plan["writing"]
        self.began = time.monotonic()
        with Path(plan["log"]).open("wb") as log:
            self.process = subprocess.Popen(
                plan["command"], stdin=plan["reading"], stdout=subprocess.PIPE, stderr=log
            )
        os.close(plan["reading"])
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.unsound = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.unsound += json.loads(line).get("jsonrpc") != "2.0"
            except ValueError:
                self.unsound += 1
            self.lines.put(line)

    def send(self, method: str, params: dict, request_id: int | None = None) -> None:
        """Sends a request, or a notification without an id."""
        if request_id is not None and self.era == "modern":
            params = params | {"_meta": META | params.get("_meta", {})}
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if request_id is not None:
            message["id"] = request_id
        os.write(self.writing, json.dumps(message).encode() + b"\n")

    def told(self, *parts: bytes) -> dict:
        """The next line with one of these in it."""
        while True:
            line = self.lines.get(timeout=MOST_SECONDS)
            if any(part in line for part in parts):
                return json.loads(line)

    def hello(self) -> None:
        """The handshake and the list of tools, and how long both took since the start."""
        if self.era == "modern":
            self.send("server/discover", {}, 0)
        else:
            self.send("initialize", HANDSHAKE, 0)
        self.told(b'"id":0')
        if self.era == "legacy":
            self.send("notifications/initialized", {})
        self.send("tools/list", {}, 1)
        self.told(b'"id":1')
        seconds = time.monotonic() - self.began
        tell("hello", seconds=seconds, cpu_seconds=cpu_seconds(self.process.pid))

    def begin(self, moment: str, folder: str, request_id: int) -> None:
        """Gets it to work of that kind; returns once it is at it."""
        arguments = CALLS[moment] | ({"path": folder} if moment == "index" else {})
        params = {"name": TOOLS[moment], "arguments": arguments, "_meta": {"progressToken": moment}}
        self.send("tools/call", params, request_id)
        token = f'"progressToken":"{moment}","progress":'.encode()
        while True:
            message = self.told(token, f'"id":{request_id}'.encode())
            if "id" in message or not is_waiting(message["params"]):
                break
        if message.get("result", {}).get("isError"):
            tell("refused", text=str(message["result"]["content"])[:300])

    def end(self, how: str) -> None:
        """Ends it that way."""
        began = time.monotonic()
        if how == "end of stdin":
            os.close(self.writing)
        else:
            self.process.send_signal(getattr(signal, how))
        code = self.process.wait(MOST_SECONDS)
        seconds = time.monotonic() - began
        self.reader.join(MOST_SECONDS)
        tell("ended", code=code, seconds=seconds, unsound=self.unsound)


def cpu_seconds(pid: int) -> float:
    """Seconds of the CPU that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_waiting(progress: dict) -> bool:
    """Whether progress tells of a model that is being loaded, and not of the work itself."""
    return progress["progress"] < 0.001


def main(plan: dict) -> None:
    """Carries out a plan."""
    # A shell lets what it runs in the background ignore it, and the server would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = Server(plan)
    tell("started", pid=server.process.pid)
    if plan["moment"] != "start":
        server.hello()
        if plan["indexes_first"]:
            server.begin("index", plan["folder"], 2)
            server.send("notifications/cancelled", {"requestId": 2})
    if plan["moment"] in CALLS:
        server.begin(plan["moment"], plan["folder"], 3)
    time.sleep(plan["delay"])
    tell("at")
    server.end(sys.stdin.readline().strip())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
