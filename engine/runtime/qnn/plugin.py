"""Plugin: the library that teaches ONNX Runtime the NPU, found, checked and loaded once.

Alone imports onnxruntime-qnn, which need not be there. Rule: what is loaded stays loaded until the
process ends; unregistering it under a live session crashes (2.7.0).
"""
# Neither library carries types; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import os
import sysconfig
import threading
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import onnxruntime as ort

from engine.errors import NpuFailed
from engine.runtime.native_errors import reason

try:
    import onnxruntime_qnn
    from onnxruntime_qnn import build_and_package_info
except ImportError:  # An extra, and not on every platform.
    onnxruntime_qnn = None
    build_and_package_info = None

PACKAGE = "onnxruntime-qnn"

RUNTIME_NAME = "QNNExecutionProvider"
"""What ONNX Runtime calls the NPU, and its simulator too."""

PLATFORM = sysconfig.get_platform()
"""What this Python was built for, which an emulated one hides from `platform`."""

# Where there are wheels of the package.
_PLATFORMS = ("win-arm64", "win-amd64", "linux-aarch64", "linux-x86_64")

# (onnxruntime, onnxruntime-qnn) that were run together, and whether they work: minor versions.
_PAIRS = {
    ("1.32", "2.7"): True,
    ("1.32", "2.6"): True,
    ("1.32", "2.3"): False,  # "invalid ort_version_supported=0 (expected at least 22)"
}

_loading = threading.Lock()
_loaded: list[Path] = []


@dataclass(frozen=True, slots=True)
class Plugin:
    """What was loaded."""

    version: str
    """Of the package, or the path of a library that is not the package's."""
    qairt: str
    """Version of Qualcomm's libraries in the package, if it tells."""
    note: str
    """A sentence where this pair of versions was never tried."""


def load(library: Path | None) -> Plugin:
    """Loads the package's library, or the one given, unless that is done.

    Raises:
        NpuFailed: "not-installed", "versions-do-not-match" or "library-broken".
    """
    if library is not None:
        _load(library, "check its path")
        return Plugin(str(library), "", _untried(f"The plugin library {library}"))
    packaged = _packaged_library()
    version = _packaged_version()
    works = _PAIRS.get((_minor(str(ort.__version__)), _minor(version)))
    if works is False:
        raise NpuFailed("versions-do-not-match", _known_bad(version))
    _load(packaged, f"install {PACKAGE} again")
    qairt = str(getattr(build_and_package_info, "qnn_version", ""))
    return Plugin(version, qairt, "" if works else _untried(f"{PACKAGE} {version}"))


def _packaged_library() -> Path:
    if onnxruntime_qnn is not None:
        return Path(str(onnxruntime_qnn.get_library_path()))
    if PLATFORM not in _PLATFORMS:
        raise NpuFailed("not-installed", f"There is no {PACKAGE} for {PLATFORM}.")
    raise NpuFailed(
        "not-installed",
        f"The package {PACKAGE} is not installed; where there is an NPU: "
        f"pip install npu-gateway[qnn].",
    )


def _packaged_version() -> str:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _known_bad(version: str) -> str:
    good = [f"{ours} with {theirs}" for (ours, theirs), works in _PAIRS.items() if works]
    return (
        f"{PACKAGE} {version} does not work with onnxruntime {ort.__version__}; these do: "
        f"{', '.join(good)}. Install one of them: pip install -U npu-gateway[qnn]."
    )


def _untried(what: str) -> str:
    return f"{what} has not been tried with onnxruntime {ort.__version__}."


def _load(library: Path, advice: str) -> None:
    with _loading:
        if library in _loaded:
            return
        if _loaded:
            raise NpuFailed(
                "library-broken",
                f"This process uses the plugin library {_loaded[0]} already; restart it to "
                f"use {library}.",
            )
        _let_the_npu_find_its_libraries(library.parent)
        try:
            ort.register_execution_provider_library(RUNTIME_NAME, str(library))
        except Exception as error:  # The runtime's errors share no base class of their own.
            raise NpuFailed(
                "library-broken",
                f"onnxruntime {ort.__version__} cannot use the plugin library {library} "
                f"({reason(error)}); {advice}.",
            ) from error
        _loaded.append(library)


def _let_the_npu_find_its_libraries(folder: Path) -> None:
    """On Windows the driver looks for the NPU's own code nowhere else (onnxruntime-qnn 593)."""
    if PLATFORM.startswith("win"):
        name = "ADSP_LIBRARY_PATH"
        os.environ[name] = search_path(folder, os.environ.get(name, ""))  # noqa: TID251 - for the driver.


def search_path(folder: Path, before: str) -> str:
    """Folders that the driver searches: the plugin's own first, for its code fits no other."""
    others = [one for one in before.split(";") if one and one != str(folder)]
    return ";".join([str(folder), *others])
