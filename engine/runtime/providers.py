"""Which execution providers are really there, and what to call them.

Names are short and stable ("cpu", "npu", "htp-simulator"); ONNX Runtime's own names stay in this
room. A provider is listed as used only where the runtime itself says that it runs a session.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import onnxruntime as ort

from engine.runtime.qnn import devices, plugin

CPU = "cpu"

_SHORT_NAMES = {"CPUExecutionProvider": CPU}


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(ort.__version__)


def available_providers() -> tuple[str, ...]:
    """ONNX Runtime's own names of the execution providers built into the installed package."""
    return tuple(str(name) for name in ort.get_available_providers())


def short_name(runtime_name: str, device: devices.Device | None = None) -> str:
    """Our name of a provider, or ONNX Runtime's own where we have none.

    The runtime has one name for the NPU and its simulator; `device` says which of them it is.
    """
    if device is not None and runtime_name == plugin.RUNTIME_NAME:
        return device.provider
    return _SHORT_NAMES.get(runtime_name, runtime_name)
