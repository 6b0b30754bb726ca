"""What every decoder in decode.py is asked to do, and how its process answers.

A contestant is a program beside this file. It takes a `Task` as JSON, and prints what it measured
as JSON: names of figures and numbers. It runs in a process of its own, so that neither its memory
nor its threads are another's.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Figures = dict[str, float]

SLOTS = (1, 2, 4, 8)

_WORDS = """
    the a some every old new small bright river mountain garden letter machine window teacher
    captain village market winter summer morning evening paper stone bridge harbour forest
    carries finds writes builds opens follows remembers paints repairs counts under over behind
    beside before after without slowly quickly never always often seven twelve forty but and
    because while when although however therefore copper silver wooden quiet noisy distant
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One contestant's share of one round."""

    folder: str
    """The model's folder."""
    onnx_file: str
    threads: int
    prompt_tokens: int = 512
    """Of the prompt whose reading is timed, and after which an answer's tokens are."""
    prefix_tokens: int = 1000
    """Of what two prompts have in common, for the time to the first token with and without it."""
    question_tokens: int = 40
    """Of what follows the common part."""
    answer_tokens: int = 128
    slot_tokens: int = 48
    """Of each answer where several run at once."""
    kv_float16: bool = False
    """Whether keys and values are kept in 16 bits."""

    def arguments(self) -> list[str]:
        """As a contestant takes it."""
        return [json.dumps(asdict(self))]


def play(measure: Callable[[Task], Mapping[str, float]]) -> None:
    """A contestant's main: reads the task, prints the figures or why there are none."""
    figures = measure(Task(**json.loads(sys.argv[1])))
    print(json.dumps(dict(figures)))


def words(count: int, seed: int) -> str:
    """Text of so many words in an order that repeats nothing; about a token each."""
    return " ".join(random.Random(seed).choices(_WORDS.split(), k=count))


class Stopwatch:
    """Seconds on the wall and of all cores since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall(self) -> float:
        """Seconds that passed."""
        return time.perf_counter() - self._wall

    @property
    def cpu(self) -> float:
        """Seconds that this process's threads were running, spinning included."""
        return time.process_time() - self._cpu


def peak_bytes(process: int | str = "self") -> int:
    """The most memory a process has had so far; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else 0
