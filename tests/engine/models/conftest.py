"""A package index and a model hub on this machine."""

import threading
from collections.abc import Callable, Generator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_sources import REVISION, Site, handler_of, only_index, write_wheel


@pytest.fixture
def models_folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only index pip and uv know of."""
    folder = tmp_path / "index"
    folder.mkdir()
    only_index(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return folder


@pytest.fixture
def site() -> Generator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(site))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def add_wheel(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, bytes]], None]:
    """Makes the site the only index, and puts a wheel on it."""
    only_index(monkeypatch, PIP_INDEX_URL=f"{site.address}/simple")

    def add(name: str, members: dict[str, bytes]) -> None:
        wheel = write_wheel(tmp_path / "built", name, members)
        link = f'<!DOCTYPE html><a href="/files/{wheel.name}">{wheel.name}</a>'
        site.pages[f"/simple/{name.replace('_', '-')}/"] = link.encode()
        site.pages[f"/files/{wheel.name}"] = wheel.read_bytes()

    return add


@pytest.fixture
def add_to_hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], None]:
    """Makes the site the model hub, and puts files into its repository owner/tiny."""
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    site.headers["X-Repo-Commit"] = REVISION

    def add(files: dict[str, bytes]) -> None:
        for path, content in files.items():
            site.pages[f"/owner/tiny/resolve/{REVISION}/{path}"] = content

    return add
