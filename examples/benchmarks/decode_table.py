"""What decode.py shows: figures beside what memory allows, and how far the goals are met.

Knows figures by name, and no contestant but by its column.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bandwidth import Reading
from contest import SLOTS, Figures, Task

OURS, GENAI, LLAMA = "ours", "genai", "llama.cpp"

Kind = Literal["rate", "milliseconds", "seconds", "cores", "memory"]


@dataclass(frozen=True)
class Bound:
    """What one contestant's files and the memory's speed allow."""

    reading: Reading
    bytes_per_second: float

    def rate(self, context: float, slots: int = 1) -> float:
        """Tokens a second at most."""
        return self.reading.tokens_per_second(self.bytes_per_second, context, slots)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    label: str
    kind: Kind = "rate"
    after_prompt: bool = False
    """Whether its tokens come after the long prompt; else after a question."""
    slots: int = 1

    def ratio(self, value: float, bound: Bound, task: Task) -> float:
        """The figure as a multiple of what memory allows."""
        before = task.prompt_tokens if self.after_prompt else task.question_tokens
        rate = bound.rate(before + task.answer_tokens / 2, self.slots)
        if self.kind == "memory":
            return value / bound.reading.weight_bytes
        return value / rate if self.kind == "rate" else value * rate

    def cell(self, value: float, bound: Bound, task: Task) -> str:
        """The figure and its multiple."""
        scale, digits, unit = _SHOWN[self.kind]
        ratio = self.ratio(value, bound, task)
        share = f"{100 * ratio:.0f} %" if self.kind == "rate" else f"x {ratio:,.1f}"
        return f"{value * scale:,.{digits}f}{unit} {share:>8}"


_SHOWN: dict[Kind, tuple[float, int, str]] = {
    "rate": (1, 1, ""),
    "milliseconds": (1e3, 0, " ms"),
    "seconds": (1, 2, " s"),
    "cores": (1e3, 1, " ms"),
    "memory": (1e-6, 0, " MB"),
}

_ROWS = [
    Row("load_seconds", "loading", "seconds"),
    Row("prefill", "reading a prompt of {prompt_tokens}, tokens/s"),
    Row("decode_short", "writing after {question_tokens}, tokens/s"),
    Row("decode_long", "writing after {prompt_tokens}, tokens/s", after_prompt=True),
    Row(
        "first_token_cold", "first token after {prefix_tokens} + {question_tokens}", "milliseconds"
    ),
    Row("first_token_cached", "the same, {prefix_tokens} read before", "milliseconds"),
    *[Row(f"slots_{n}", f"answers at once: {n}, tokens/s", slots=n) for n in SLOTS],
    Row("unlike_on", "nothing repeats, speculating, tokens/s"),
    Row("copy_off", "copying, tokens/s"),
    Row("copy_on", "copying, speculating, tokens/s"),
    Row("cpu_seconds_per_token", "processor time a token", "cores"),
    Row("peak_bytes", "most memory", "memory"),
    Row("peak_bytes_fp16", "most memory, cache in 16 bits", "memory"),
]


@dataclass(frozen=True)
class Goal:
    """A quotient of two figures, and the line it should stay above or below."""

    label: str
    figure: str
    below: tuple[str, str] | float | None
    """Whose figure, and which, ours is divided by; or a unit; None: its own bound."""
    line: float | None
    large_line: float | None
    """The same for a model of gigabytes; None: no goal."""
    at_most: bool = False

    def value(self, medians: Mapping[str, Figures], shares: Figures) -> float | None:
        """The quotient, where both figures are there."""
        if self.below is None:
            return shares.get(self.figure)
        ours, divisor = medians[OURS].get(self.figure), self.below
        if isinstance(divisor, tuple):
            divisor = medians.get(divisor[0], {}).get(divisor[1])
        return ours / divisor if ours is not None and divisor else None

    def is_met(self, value: float, line: float) -> bool:
        """Whether the value is on the right side."""
        return value <= line if self.at_most else value >= line


_GOALS = [
    Goal("writing / the bound", "decode_short", None, 0.6, 0.92),
    Goal("writing / genai", "decode_short", (GENAI, "decode_short"), 1.1, None),
    Goal("writing / llama.cpp", "decode_short", (LLAMA, "decode_short"), 1.3, None),
    Goal("reading / llama.cpp", "prefill", (LLAMA, "prefill"), 2.5, None),
    Goal("4 answers at once / one", "slots_4", (OURS, "slots_1"), 2.2, 1.8),
    Goal("copying, speculating / not", "copy_on", (OURS, "copy_off"), 2.0, 1.7),
    Goal("nothing repeats, speculating / not", "unlike_on", (OURS, "decode_short"), 0.97, 0.97),
    Goal(
        "first token, cached / cold",
        "first_token_cached",
        (OURS, "first_token_cold"),
        0.1,
        0.1,
        at_most=True,
    ),
    Goal("most memory, GB", "peak_bytes", 1e9, None, 4.2, at_most=True),
    Goal("most memory, cache in 16 bits, GB", "peak_bytes_fp16", 1e9, None, 3.8, at_most=True),
]


def table(medians: Mapping[str, Figures], bounds: Mapping[str, Bound], task: Task) -> Iterator[str]:
    """The lines of the table: a column for each contestant."""
    yield f"{'':<42}" + "".join(f"{name:>22}" for name in medians)
    for row in _ROWS:
        cells = [
            row.cell(figures[row.figure], bounds[name], task) if row.figure in figures else "-"
            for name, figures in medians.items()
        ]
        if set(cells) != {"-"}:
            label = row.label.format(**vars(task))
            yield f"{label:<42}" + "".join(f"{cell:>22}" for cell in cells)


def ratios(figures: Figures, bound: Bound, task: Task) -> Figures:
    """Every figure as a multiple of what memory allows."""
    return {
        row.figure: row.ratio(figures[row.figure], bound, task)
        for row in _ROWS
        if row.figure in figures
    }


def goals(medians: Mapping[str, Figures], shares: Figures, *, large: bool) -> Iterator[str]:
    """A line for each goal that could be measured."""
    for goal in _GOALS:
        line = goal.large_line if large else goal.line
        value = goal.value(medians, shares)
        if line is not None and value is not None:
            verdict = "met" if goal.is_met(value, line) else "missed"
            side = "at most" if goal.at_most else "at least"
            yield f"{goal.label:<42}{value:>10.2f}   goal: {side} {line:g}   {verdict}"
