"""Penalties against their published formulas, written out token by token."""

from collections import Counter

import numpy as np
import pytest

from engine.decode.penalties import Penalties


def _naive(
    logits: np.ndarray,
    prompt: list[int],
    answer: list[int],
    repetition: float,
    presence: float,
    frequency: float,
) -> list[float]:
    counts = Counter(answer)
    lowered = [float(logit) for logit in logits]
    for token_id in {*prompt, *answer}:
        logit = lowered[token_id]
        lowered[token_id] = logit / repetition if logit > 0 else logit * repetition
    for token_id, count in counts.items():
        lowered[token_id] -= count * frequency + presence
    return lowered


def _lowered(logits: np.ndarray, penalties: Penalties) -> np.ndarray:
    lowered = logits.copy()
    penalties.apply(lowered)
    return lowered


@pytest.mark.parametrize(
    ("repetition", "presence", "frequency"),
    [(1.3, 0, 0), (0.7, 0, 0), (1, 1.5, 0), (1, 0, -0.5), (1, 0.5, 0.25), (1.2, -2, 2)],
)
def test_every_step_is_as_the_formulas_say(
    repetition: float, presence: float, frequency: float
) -> None:
    """Over 600 steps the answer takes up more different tokens than there is room for at first."""
    chance = np.random.default_rng(1)
    prompt = chance.integers(0, 900, 40).tolist()
    penalties = Penalties(repetition, presence, frequency, prompt)
    answer: list[int] = []
    for step in range(600):
        if step % 50 == 0 and penalties.applies:
            logits = chance.normal(0, 5, 900).astype(np.float32)
            expected = _naive(logits, prompt, answer, repetition, presence, frequency)
            np.testing.assert_allclose(_lowered(logits, penalties), expected, rtol=1e-5, atol=1e-5)
        answer.append(int(chance.integers(0, 900)))
        penalties.count(answer[-1])
    assert len(set(answer)) > 256


def test_presence_and_frequency_leave_the_prompt_alone() -> None:
    penalties = Penalties(1.0, 1.0, 1.0, prompt_ids=[3, 4])
    assert not penalties.applies
    penalties.count(5)
    assert _lowered(np.zeros(7, np.float32), penalties).tolist() == [0, 0, 0, 0, 0, -2, 0]


def test_no_penalty_never_applies() -> None:
    penalties = Penalties(1.0, 0.0, 0.0, prompt_ids=[3, 4])
    penalties.count(5)
    assert not penalties.applies


def test_a_token_that_is_impossible_stays_so() -> None:
    penalties = Penalties(2.0, -2.0, -2.0, prompt_ids=[1])
    penalties.count(1)
    lowered = _lowered(np.array([0.0, -np.inf], np.float32), penalties)
    assert lowered.tolist() == [0.0, -np.inf]
