"""Devices: which NPU is there, silicon or simulator, and if there is none, why.

Knows no models and opens no sessions: that a graph really runs on the device is proved by the
sessions of `runtime.strict`, never by what is listed here.
Rule: a device of type NPU is silicon. The plugin also offers the CPU; that is its HTP simulator,
which is used only where it was asked for and never goes by the name of the NPU.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnxruntime as ort

from engine import machine as machines
from engine.errors import NpuFailed
from engine.machine import Machine
from engine.runtime.qnn import plugin
from engine.runtime.qnn.chips import CHIPS
from engine.runtime.qnn.options import NpuOptions

NPU = "npu"
"""Qualcomm's HTP in silicon."""

SIMULATOR = "htp-simulator"
"""The HTP's simulator on the CPU, about a hundred times slower than the CPU itself."""

_BY_EMULATION = ("not-installed", "library-broken", "no-device")
"""Of an emulated Python, that it is so is the first thing to mend."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why no device is used."""

    code: str
    """not-installed, versions-do-not-match, library-broken, no-device, emulated or bad-option."""
    reason: str
    """One or two sentences for the user, with what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """An NPU or its simulator; what is not known of it is empty."""

    provider: str
    """ "npu" or "htp-simulator"."""
    name: str
    hardware: str
    """Vendor and device number of an NPU, as 4d4f4351:0001."""
    soc: str
    """Qualcomm's number of the SoC that is simulated; an NPU tells of none."""
    architecture: str
    """Of the simulated HTP, as v73."""
    driver: str
    onnxruntime: str
    plugin: str
    """Version of the package onnxruntime-qnn, or the path of a library given in its place."""
    qairt: str
    """Version of Qualcomm's libraries that the package holds."""
    note: str
    """A sentence on what is doubtful, as versions that were never tried together."""
    options: Mapping[str, str]
    handle: Any = field(repr=False, compare=False)
    """The device as the runtime knows it, for `runtime.strict` alone."""

    def provider_options(self) -> dict[str, str]:
        """What the plugin is given; the user's options are in it."""
        return dict(self.options)

    def key_parts(self) -> dict[str, str]:
        """All that a compiled context depends on, but for the model and our own code."""
        parts = {
            "provider": self.provider,
            "name": self.name,
            "hardware": self.hardware,
            "soc": self.soc,
            "architecture": self.architecture,
            "driver": self.driver,
            "onnxruntime": self.onnxruntime,
            "plugin": self.plugin,
            "qairt": self.qairt,
        }
        return parts | {f"option {name}": self.options[name] for name in sorted(self.options)}


def find(options: NpuOptions, machine: Machine | None = None) -> Device | Absence:
    """Looks for an NPU, and for the simulator if that is asked for; raises nothing.

    The plugin is loaded into this process at the first call, for good.

    Args:
        options: What the user says of it.
        machine: This one where none is given.
    """
    emulated = (machine or machines.look()).advice
    try:
        found = _find(options)
    except NpuFailed as failure:
        if emulated and failure.code in _BY_EMULATION:
            return Absence("emulated", f"{failure} {emulated}")
        return Absence(failure.code, str(failure))
    return replace(found, note=f"{found.note} {emulated}".strip()) if emulated else found


def _find(options: NpuOptions) -> Device:
    options.check()
    loaded = plugin.load(options.library)
    return _device(_choose(options), options, loaded)


def _choose(options: NpuOptions) -> Any:
    """The runtime's handle of silicon, or of the simulator where that was asked for."""
    offered = {
        offer.device.type.name: offer
        for offer in ort.get_ep_devices()
        if offer.ep_name == plugin.RUNTIME_NAME and offer.device.metadata.get("is_virtual") != "1"
    }
    if "NPU" in offered:
        return offered["NPU"]
    if options.simulator and "CPU" in offered:
        return offered["CPU"]
    if options.simulator:
        raise NpuFailed(
            "no-device", f"{plugin.PACKAGE} has no HTP simulator for {plugin.PLATFORM}."
        )
    raise NpuFailed("no-device", f"{plugin.PACKAGE} finds no Qualcomm NPU in this machine.")


def _device(handle: Any, options: NpuOptions, loaded: plugin.Plugin) -> Device:
    is_silicon = handle.device.type.name == "NPU"
    facts = dict(handle.device.metadata) | dict(handle.ep_metadata)
    chip = None if is_silicon else CHIPS[options.soc]
    return Device(
        provider=NPU if is_silicon else SIMULATOR,
        name=f"HTP of {chip}" if chip else str(facts.get("Description", "Qualcomm NPU")),
        hardware="" if chip else f"{handle.device.vendor_id:08x}:{handle.device.device_id:04x}",
        soc=chip.soc if chip else "",
        architecture=chip.architecture if chip else "",
        driver=str(facts.get("os_driver_version", "")),
        onnxruntime=str(ort.__version__),
        plugin=loaded.version,
        qairt=loaded.qairt,
        note=loaded.note,
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
