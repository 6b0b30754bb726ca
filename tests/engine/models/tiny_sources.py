"""A small package index and a small model hub on this machine, and models that they serve."""

import hashlib
import os
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from engine.models import manifest
from engine.models.catalog import (
    DecoderFacts,
    EmbedderFacts,
    HubSource,
    KnownFile,
    KnownModel,
    WheelSource,
)

FILES = {
    "model.onnx": b"".join(b"weight %d " % number for number in range(4000)),
    "tokenizer.json": b'{"version": "1.0"}',
    "config.json": b'{"hidden_size": 4}',
}
REVISION = "0123456789abcdef0123456789abcdef01234567"


def known_file(path: str, content: bytes) -> KnownFile:
    return KnownFile(path, len(content), hashlib.sha256(content).hexdigest())


def known_model(*sources: WheelSource | HubSource, files: dict[str, bytes] = FILES) -> KnownModel:
    """A catalogue entry that needs no conversion."""
    return KnownModel(
        model_id="tiny-embedder",
        title="For tests.",
        license="MIT",
        files=tuple(known_file(path, content) for path, content in files.items()),
        sources=sources,
        weights="onnx",
        facts=EmbedderFacts(dimensions=4, max_tokens=16, pooling="cls", query_prefix="query: "),
        rank=1,
    )


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A wheel as pip takes it, version 1.0, with these files in it."""
    info = f"{name}-1.0.dist-info"
    tag = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-wanted\n"
    files = {**members, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": tag.encode()}
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, content)
    return wheel


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def install(models_dir: Path, model_id: str, *, task: str = "embed") -> Path:
    """A folder as the fetcher leaves it, with tiny files."""
    place = models_dir / model_id
    place.mkdir(parents=True)
    for path, content in FILES.items():
        (place / path).write_bytes(content)
    if task == "generate":
        text = '{"chat_template": "{{ messages }}", "bos_token": "<s>", "eos_token": "</s>"}'
        (place / "tokenizer_config.json").write_text(text, encoding="utf-8")
        facts = DecoderFacts(max_tokens=64, stop_token_ids=(2, 7))
    else:
        facts = EmbedderFacts(dimensions=4, max_tokens=16, pooling="mean", query_prefix="q: ")
    record = manifest.Manifest(
        model_id=model_id,
        license="MIT",
        source="wheel tiny 1.0",
        converter="",
        onnx_file="model.onnx",
        facts=facts,
        files=tuple(known_file(file.name, file.read_bytes()) for file in sorted(place.iterdir())),
    )
    manifest.write(place, record)
    return place


def only_index(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Leaves pip no configuration but this."""
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "CERT"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    for name, value in {**fixed, **settings}.items():
        monkeypatch.setenv(name, value)


@dataclass
class Site:
    """A web site on this machine: what it serves, what it was asked, and when it holds back."""

    address: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    """From the path of a page to the address of the site where its bytes are."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every page."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers (lower case) of each request, in order."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once a page has been half sent."""
    visitor_gone: threading.Event = field(default_factory=threading.Event)
    """Set once whoever waits for the other half has hung up."""
    stalls: bool = False
    """Whether pages over 1 kB are sent by half and then held back until the visitor hangs up."""

    holds: threading.Event | None = None
    """Holds wheels back until it is set."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a wheel has been asked for."""

    def downloads(self, part: str) -> list[dict[str, str]]:
        return [h for method, path, h in self.requests if method == "GET" and part in path]


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            site.requests.append((self.command, self.path, headers))
            if site.holds and self.path.startswith("/files/"):
                site.held.set()
                site.holds.wait(60)
            page = site.pages.get(self.path)
            if page is not None and self.path in site.redirects:
                self._redirect(site.redirects[self.path], len(page))
                return
            if page is None:
                self.send_error(404)
                return
            start = self._start(len(page))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(page) - 1}/{len(page)}")
            kind = "text/html" if self.path.startswith("/simple") else "application/octet-stream"
            etag = hashlib.sha256(page).hexdigest()
            fixed = {"Content-Type": kind, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
            for name, value in {**fixed, **site.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page) - start))
            self.end_headers()
            if body:
                self._send(page[start:])

        def _redirect(self, address: str, size: int) -> None:
            self.send_response(302)
            fixed = {"Location": address, "ETag": '"e"', "X-Linked-Size": str(size)}
            for name, value in {**fixed, **site.headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def _start(self, size: int) -> int:
            wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
            return min(int(wanted), size)

        def _send(self, page: bytes) -> None:
            if not site.stalls or len(page) < 1_000:
                self.wfile.write(page)
                return
            self.wfile.write(page[: len(page) // 2])
            self.wfile.flush()
            site.stalled.set()
            self.connection.recv(1)
            site.visitor_gone.set()

    return Handler


def finish(steps):
    """The generator's return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
