"""Chromium without a screen, told what to do over a pipe by its DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--window-size=1180,1500",
)

_PLACING = """
import fcntl, os, sys
# Copied out of the way first: each may have the other's number.
reading, writing = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(reading, 3)
os.dup2(writing, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the ends of two pipes where the browser looks for them."""

WAITING_SECONDS = 60


class Page:
    """One page, and everything that was told of it."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest = b""
        self._calls = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        told = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._calls:
                assert "error" not in told, told
                return told["result"]

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Looks until an expression is true in the page."""
        until = time.monotonic() + WAITING_SECONDS
        while not self.value(expression):
            assert time.monotonic() < until, (expression, self.problems())

    def open(self, url: str) -> None:
        """Opens an address."""
        self.call("Page.navigate", url=url)

    def screenshot(self, path: Path) -> None:
        """Keeps what the page looks like."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def requested(self) -> list[str]:
        """Addresses that the page has asked for."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]

    def problems(self) -> list[dict[str, Any]]:
        """Errors and warnings of the page's console, and exceptions of its script."""
        found = []
        for one in self.events:
            told = one["params"]
            level = told.get("entry", {}).get("level") or told.get("type", "")
            if one["method"] == "Runtime.exceptionThrown" or (
                one["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled")
                and level in ("error", "warning", "assert")
            ):
                found.append(told)
        return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], WAITING_SECONDS)
            assert ready, "the browser says nothing"
            read = os.read(self._from, 2**20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(message)
        if "id" not in told:
            self.events.append(told)
        return told


@contextmanager
def opened() -> Iterator[Page]:
    """A page of a new browser within the block."""
    assert PROGRAM
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        placing = [sys.executable, "-S", "-c", _PLACING, str(in_read), str(out_write)]
        browser = subprocess.Popen(
            [*placing, PROGRAM, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(in_read, out_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(in_read)
        os.close(out_write)
        try:
            page = Page(in_write, out_read)
            yield page
        finally:
            os.close(in_write)
            os.close(out_read)
            browser.terminate()
            browser.wait(WAITING_SECONDS)
