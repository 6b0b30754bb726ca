"""What a benchmark ran on: the line that stands above every table."""

import os
import platform

from engine.runtime.providers import runtime_version


def machine() -> str:
    """System, processor type, cores, Python and ONNX Runtime."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, ONNX Runtime {runtime_version()}"
    )
