"""NpuOptions: what a user may say about the NPU, and the options that the plugin is given.

Rule: the plugin takes unknown names and values in silence (measured with 2.7.0), so only what is
listed here reaches it. Names and values: those the library of onnxruntime-qnn 2.7.0 holds and its
documentation explains. Finalization mode 1 is not among them: it ends the process on some graphs.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import NpuFailed
from engine.runtime.qnn.chips import CHIPS


@dataclass(frozen=True, slots=True)
class Allowed:
    """One option of the plugin: what it does, and the values it takes."""

    does: str
    values: tuple[str, ...] = ()
    """All of them; empty where `pattern` tells."""
    pattern: str = ""
    described: str = ""
    """The pattern in words."""

    def takes(self, value: str) -> bool:
        """Whether the plugin knows the value."""
        return value in self.values or bool(self.pattern and re.fullmatch(self.pattern, value))

    def __str__(self) -> str:
        return self.described or ", ".join(self.values)


_SWITCH = ("0", "1")

ALLOWED: Mapping[str, Allowed] = {
    "backend_path": Allowed(
        "the HTP library to use in place of the package's own",
        pattern=r"(.*[/\\])?(libQnnHtp\.so|QnnHtp\.dll)",
        described="the path of a libQnnHtp.so or QnnHtp.dll",
    ),
    "enable_htp_fp16_precision": Allowed("computes float32 graphs in float16", _SWITCH),
    "enable_htp_shared_memory_allocator": Allowed("shares memory with the NPU", _SWITCH),
    "enable_htp_spill_fill_buffer": Allowed("lets contexts share their scratch memory", _SWITCH),
    "htp_bf16_enable": Allowed("computes in bfloat16, from SoC 88 on", _SWITCH),
    "htp_graph_finalization_optimization_mode": Allowed(
        "how long compiling may look for a faster graph", ("0", "2", "3")
    ),
    "htp_performance_mode": Allowed(
        "clock and voltage while running",
        (
            "burst",
            "sustained_high_performance",
            "high_performance",
            "balanced",
            "default",
            "low_balanced",
            "high_power_saver",
            "power_saver",
            "low_power_saver",
            "extreme_power_saver",
        ),
    ),
    "offload_graph_io_quantization": Allowed(
        "leaves the outermost quantisation to the CPU, which strict sessions refuse", _SWITCH
    ),
    "qnn_context_priority": Allowed(
        "who waits when several use the NPU", ("low", "normal", "normal_high", "high")
    ),
    "rpc_control_latency": Allowed(
        "microseconds a call may take to reach the NPU",
        pattern="[0-9]{1,6}",
        described="a number of microseconds",
    ),
    "vtcm_mb": Allowed(
        "megabytes of the NPU's own memory to plan with; 0 is all",
        pattern="[0-9]{1,2}",
        described="a number of megabytes from 0 to 99",
    ),
}
"""The provider options that a user may set, by name."""


@dataclass(frozen=True, slots=True)
class NpuOptions:
    """What a user asks for; checked by `check`, which `devices.find` calls."""

    simulator: bool = False
    """Use the HTP simulator where there is no NPU; it is slow, and for tests alone."""
    soc: str = "60"
    """Number of the SoC that the simulator stands for; an NPU knows its own."""
    provider_options: Mapping[str, str] = field(default_factory=dict[str, str])
    """Options given to the plugin, from `ALLOWED`; they win over ours."""
    library: Path | None = None
    """The plugin's library, in place of the one in the package onnxruntime-qnn."""

    def check(self) -> None:
        """Refuses what the plugin would ignore.

        Raises:
            NpuFailed: "bad-option", with the names or values that are valid.
        """
        if self.simulator and self.soc not in CHIPS:
            known = "; ".join(f"{soc} is {chip}" for soc, chip in CHIPS.items())
            asked = f"no SoC {self.soc!r}" if self.soc else "no SoC number"
            raise NpuFailed(
                "bad-option",
                f"The HTP simulator computes in float16 as a certain SoC does, and {asked} is "
                f"known: {known}.",
            )
        for name, value in self.provider_options.items():
            _check_option(name, value)


def _check_option(name: str, value: str) -> None:
    allowed = ALLOWED.get(name)
    if allowed is None:
        near = difflib.get_close_matches(name, ALLOWED, n=1, cutoff=0.7)
        meant = f"did you mean {near[0]}? " if near else ""
        raise NpuFailed(
            "bad-option",
            f"{name} is no NPU option: {meant}Valid are {', '.join(ALLOWED)}.",
        )
    if not allowed.takes(value):
        raise NpuFailed(
            "bad-option", f"The NPU option {name} cannot be {value!r}; it takes {allowed}."
        )
