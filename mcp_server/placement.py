"""Which device embeds texts, how fast it is, and if not the NPU, why: for status and commands.

Words what the engine tells of itself; measures nothing and waits for nothing.
"""

from collections.abc import Callable, Sequence

from engine.embed.compiled import ShapeStatus
from engine.embed.embedder import Placement
from engine.engine import Absence, Device, Engine
from mcp_server.budgets import REASON_CHARACTERS, SHAPES, briefly
from mcp_server.results import NpuEntry, PlacementEntry, ShapeEntry

_DECIMALS = 3
"""Of milliseconds and shares."""

UNSOUGHT = "The policy is cpu: no NPU is looked for."

_IN_USE = {
    "auto": "Texts go where they are predicted to be done first.",
    "npu": "All texts go to it; the CPU takes what it fails at.",
}


def placement(engine: Engine, now: Placement | None) -> PlacementEntry:
    """Where texts are embedded, and why there.

    Args:
        engine: Whose NPU it is, if it has one.
        now: As its embedding model tells; None while that is not in memory.
    """
    policy = engine.options.placement.policy
    return PlacementEntry(
        policy=policy,
        npu=NpuEntry(code="policy", why=UNSOUGHT)
        if policy == "cpu"
        else npu(engine.npu(), now, policy),
        shapes=[shape(one) for one in now.shapes[:SHAPES]] if now else [],
        waiting=now.waiting if now else 0,
    )


def code(engine: Engine, now: Callable[[], Placement]) -> str:
    """In a word why texts go where they go: one of the codes of `NpuEntry`.

    Args:
        engine: Whose NPU it is, if it has one.
        now: Where texts are embedded; asked for only where there is an NPU.
    """
    policy = engine.options.placement.policy
    if policy == "cpu":
        return "policy"
    found = engine.npu()
    return found.code if isinstance(found, Absence) else _use(found.provider, now(), policy)[0]


def npu(found: Device | Absence, now: Placement | None, policy: str) -> NpuEntry:
    """The NPU, and why it is used or not.

    Args:
        found: What the engine found.
        now: Where texts are embedded; None while no embedding model is in memory.
        policy: Where texts are to be embedded.
    """
    if isinstance(found, Absence):
        return NpuEntry(code=found.code, why=found.reason)
    code, why = _use(found.provider, now, policy)
    return NpuEntry(
        code=code,
        why=briefly(f"{why} {found.note}".strip(), 2 * REASON_CHARACTERS),
        provider=found.provider,
        name=found.name,
        soc=found.soc,
        architecture=found.architecture,
        driver=found.driver,
        onnxruntime_qnn=found.plugin,
        qairt=found.qairt,
    )


def shape(status: ShapeStatus) -> ShapeEntry:
    """One shape of one provider."""
    return ShapeEntry(
        provider=status.provider,
        rows=status.bucket.rows,
        tokens=status.bucket.tokens,
        state=status.state,
        reason=briefly(status.reason, REASON_CHARACTERS),
        median_ms=round(status.median_ms, _DECIMALS),
        tail_ms=round(status.tail_ms, _DECIMALS),
        runs=status.runs,
        prediction_error=round(status.error, _DECIMALS),
    )


def facts(entry: NpuEntry) -> str:
    """What is known of a device, in one line."""
    known = (
        entry.name,
        f"SoC {entry.soc}" if entry.soc else "",
        "" if entry.architecture in entry.name else entry.architecture,
        f"driver {entry.driver}" if entry.driver else "",
        f"onnxruntime-qnn {entry.onnxruntime_qnn}" if entry.onnxruntime_qnn else "",
        f"QAIRT {entry.qairt}" if entry.qairt else "",
    )
    return f"{entry.provider}: " + ", ".join(filter(None, known))


def _use(provider: str, now: Placement | None, policy: str) -> tuple[str, str]:
    """Why a device that is there is used or not, as a code and a sentence."""
    if now is None:
        return "not-loaded", "No embedding model is in memory."
    own = [shape for shape in now.shapes if shape.provider == provider]
    failed = [shape for shape in own if shape.state == "quarantined"]
    if any(shape.state == "serving" for shape in own):
        return "in-use", _IN_USE[policy] + _failures(failed)
    if len(failed) == len(own):
        return "quarantined", f"The CPU embeds all texts.{_failures(failed)}"
    return "preparing", "It is made ready for the model; until then the CPU embeds all texts."


def _failures(failed: Sequence[ShapeStatus]) -> str:
    if not failed:
        return ""
    names = ", ".join(str(shape.bucket) for shape in failed)
    return f" Out of service: {names} (texts x tokens): {failed[0].reason}"
