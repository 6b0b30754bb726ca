"""Devices: which NPU is there, silicon or simulator, and if there is none, why.

Alone imports onnxruntime-qnn. Knows no models and opens no sessions: whether a graph really runs on
the device is proved by the strict sessions of `runtime.session`, never by what is listed here.
Rule: a device of type NPU is silicon. The plugin also offers the CPU; that is its HTP simulator,
which is used only where it was asked for and never goes by the name of the NPU.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

import os
import platform
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime as ort

from engine.errors import NpuFailed
from engine.runtime.qnn.chips import CHIPS
from engine.runtime.qnn.options import NpuOptions

try:
    import onnxruntime_qnn
    from onnxruntime_qnn import build_and_package_info
except ImportError:  # An extra, and not on every platform.
    onnxruntime_qnn = None
    build_and_package_info = None

NPU = "npu"
"""Qualcomm's HTP in silicon."""

SIMULATOR = "htp-simulator"
"""The HTP's simulator on the CPU: same results, some hundred times slower."""

RUNTIME_NAME = "QNNExecutionProvider"
"""What ONNX Runtime calls both."""

_PACKAGE = "onnxruntime-qnn"

# (onnxruntime, onnxruntime-qnn) that were run together, and whether they work: minor versions.
_PAIRS = {
    ("1.32", "2.7"): True,
    ("1.32", "2.6"): True,
    ("1.32", "2.3"): False,  # "invalid ort_version_supported=0 (expected at least 22)"
}

# A plugin stays registered until the process ends: unregistering it under a live session crashes.
_registering = threading.Lock()
_registered: list[Path] = []


@dataclass(frozen=True, slots=True)
class Absence:
    """Why no device is used."""

    code: str
    """not-installed, versions-do-not-match, library-broken, no-device or bad-option."""
    reason: str
    """One or two sentences for the user, with what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """An NPU or its simulator; what is not known of it is empty."""

    provider: str
    """ "npu" or "htp-simulator"."""
    name: str
    soc: str
    """Qualcomm's number of the SoC; a compiled context tells that of an NPU."""
    architecture: str
    """Of the HTP, as v73."""
    driver: str
    onnxruntime: str
    plugin: str
    """Version of the package onnxruntime-qnn."""
    qairt: str
    """Version of Qualcomm's libraries that the package holds."""
    note: str
    """A sentence on what is doubtful, as versions that were never tried together."""
    options: Mapping[str, str]
    handle: Any = field(repr=False, compare=False)
    """The device as the runtime knows it, for `runtime.session` alone."""

    def provider_options(self) -> dict[str, str]:
        """What the plugin is given; the user's options are in it."""
        return dict(self.options)

    def key_parts(self) -> dict[str, str]:
        """All that a compiled context depends on, but for the model and our own code."""
        parts = {
            "provider": self.provider,
            "soc": self.soc,
            "architecture": self.architecture,
            "driver": self.driver,
            "onnxruntime": self.onnxruntime,
            "plugin": self.plugin,
            "qairt": self.qairt,
        }
        return parts | {f"option {name}": self.options[name] for name in sorted(self.options)}


def find(options: NpuOptions) -> Device | Absence:
    """Looks for an NPU, and for the simulator if that is asked for; raises nothing."""
    try:
        return _find(options)
    except NpuFailed as failure:
        return Absence(failure.code, str(failure))


def _find(options: NpuOptions) -> Device:
    options.check()
    library = options.library or _packaged_library()
    plugin = "" if options.library else metadata.version(_PACKAGE)
    works = _PAIRS.get((_minor(ort.__version__), _minor(plugin)))
    if works is False:
        raise NpuFailed(
            "versions-do-not-match",
            f"{_PACKAGE} {plugin} does not work with onnxruntime {ort.__version__}; "
            f"install one that does: pip install -U npu-gateway[qnn].",
        )
    _register(library)
    return _device(_choose(options), options, plugin, "" if works else _untried(plugin))


def _packaged_library() -> Path:
    if onnxruntime_qnn is None:
        raise NpuFailed(
            "not-installed",
            f"The package {_PACKAGE} is not installed, so an NPU cannot be used; where there is "
            f"one: pip install npu-gateway[qnn].",
        )
    return Path(str(onnxruntime_qnn.get_library_path()))


def _untried(plugin: str) -> str:
    what = f"{_PACKAGE} {plugin}" if plugin else "This plugin library"
    return f"{what} has not been tried with onnxruntime {ort.__version__}."


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _register(library: Path) -> None:
    with _registering:
        if library in _registered:
            return
        if _registered:
            raise NpuFailed(
                "library-broken",
                f"The plugin library {_registered[0]} is in use already; restart to use {library}.",
            )
        _let_the_npu_find_its_libraries(library.parent)
        try:
            ort.register_execution_provider_library(RUNTIME_NAME, str(library))
        except Exception as error:  # The runtime's errors share no base class of their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise NpuFailed(
                "library-broken",
                f"ONNX Runtime {ort.__version__} cannot use the plugin library {library} "
                f"({reason}); install {_PACKAGE} again.",
            ) from error
        _registered.append(library)


def _let_the_npu_find_its_libraries(folder: Path) -> None:
    """On Windows the driver looks for the NPU's own code nowhere else (onnxruntime-qnn 593)."""
    if sys.platform == "win32" and platform.machine() == "ARM64":
        os.environ.setdefault("ADSP_LIBRARY_PATH", str(folder))  # noqa: TID251 - for the driver.


def _choose(options: NpuOptions) -> Any:
    offered = {
        device.device.type.name: device
        for device in ort.get_ep_devices()
        if device.ep_name == RUNTIME_NAME and device.device.metadata.get("is_virtual") != "1"
    }
    if "NPU" in offered:
        return offered["NPU"]
    if options.simulator and "CPU" in offered:
        return offered["CPU"]
    if options.simulator:
        raise NpuFailed("no-device", f"{_PACKAGE} has no HTP simulator on this platform.")
    raise NpuFailed("no-device", f"{_PACKAGE} finds no Qualcomm NPU in this machine.")


def _device(handle: Any, options: NpuOptions, plugin: str, note: str) -> Device:
    is_silicon = handle.device.type.name == "NPU"
    facts = dict(handle.device.metadata) | dict(handle.ep_metadata)
    chip = None if is_silicon else CHIPS[options.soc]
    return Device(
        provider=NPU if is_silicon else SIMULATOR,
        name=str(facts.get("Description", "Qualcomm NPU")) if chip is None else f"HTP of {chip}",
        soc=chip.soc if chip else "",
        architecture=chip.architecture if chip else "",
        driver=str(facts.get("os_driver_version", "")),
        onnxruntime=str(ort.__version__),
        plugin=plugin,
        qairt=build_and_package_info.qnn_version if plugin and build_and_package_info else "",
        note=note,
        options=_provider_options(options, is_silicon),
        handle=handle,
    )


def _provider_options(options: NpuOptions, is_silicon: bool) -> dict[str, str]:
    chosen = {
        "enable_htp_fp16_precision": "1",
        "htp_graph_finalization_optimization_mode": "3",
        "offload_graph_io_quantization": "0",
    }
    chosen |= {"htp_performance_mode": "burst"} if is_silicon else {"soc_model": options.soc}
    chosen |= options.provider_options
    return chosen if "backend_path" in chosen else {"backend_type": "htp", **chosen}
