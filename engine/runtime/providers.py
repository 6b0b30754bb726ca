"""Which execution providers are really there, and what to call them.

Names are short and stable ("cpu"); ONNX Runtime's own names stay in this room. This version runs
models on the CPU alone: a provider is listed as used only where a session was opened on it.
"""
# ONNX Runtime carries no types of its own; they end at this door.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import onnxruntime as ort

CPU = "cpu"

_SHORT_NAMES = {"CPUExecutionProvider": CPU}


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(ort.__version__)


def available_providers() -> tuple[str, ...]:
    """ONNX Runtime's own names of the execution providers built into the installed package."""
    return tuple(str(name) for name in ort.get_available_providers())


def short_name(runtime_name: str) -> str:
    """Our name of a provider: "cpu", or ONNX Runtime's own where we have none."""
    return _SHORT_NAMES.get(runtime_name, runtime_name)
