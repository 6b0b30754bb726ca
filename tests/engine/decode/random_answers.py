"""Answers that a constraint leaves to chance: no model, only tokens drawn from what is allowed."""

import json
from collections.abc import Collection

import jsonschema
import numpy as np
from numpy.typing import NDArray

from engine.decode.constraints import Constraint, Constraints
from engine.decode.output_forms import JsonSchema, OutputForm
from engine.errors import EngineError, InvalidInput
from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer

UNUSED_IDS = 5


class Chance:
    """A vocabulary whose tokens are drawn by chance, signs of JSON's structure more often."""

    def __init__(self, tokenizer: Tokenizer, stops: Collection[int]) -> None:
        self.tokenizer, self.stops = tokenizer, frozenset(stops)
        self.size = tokenizer.vocabulary_size + UNUSED_IDS
        self.constraints = Constraints(tokenizer, self.size, self.stops)
        self._bias = np.zeros(self.size, np.float32)
        for token in range(tokenizer.vocabulary_size):
            text = tokenizer.decode([token])
            if text and not text.strip('",:{}[]'):
                self._bias[token] = 3.0
            elif text.isalnum():
                self._bias[token] = 1.0

    def logits(self, random: np.random.Generator) -> NDArray[np.float32]:
        noise = random.normal(0, 1.5, self.size)
        return (noise + self._bias).astype(np.float32)

    def start(self, form: OutputForm) -> Constraint | None:
        """The constraint of a form; None if it is refused."""
        try:
            return self.constraints.start(form)
        except InvalidInput:
            return None

    def answer(self, constraint: Constraint, limit: int, random: np.random.Generator) -> str:
        """An answer of at most so many tokens."""
        detokenizer, text = Detokenizer(self.tokenizer), ""
        for used in range(limit):
            if constraint.is_finished:
                break
            kept = constraint.apply(self.logits(random), limit - used)
            token = int(np.argmax(kept))
            assert np.isfinite(kept[token]), f"nothing may follow {text!r}"
            constraint.accept(token)
            if token in self.stops:
                break
            text += detokenizer.push(token)
        return text + detokenizer.finish()


def check_json(text: str, schema: dict | bool) -> object:
    """Parses, and satisfies the schema with its formats."""
    value = json.loads(text)
    jsonschema.validate(value, schema)
    validator = jsonschema.Draft202012Validator
    validator(schema, format_checker=validator.FORMAT_CHECKER).validate(value)
    return value


def drive(chance: Chance, schema: dict | bool, limit: int, random: np.random.Generator) -> bool:
    """Whether a schema is served; if so, checks an answer drawn by chance.

    It is complete unless there are too few tokens for any.
    """
    constraint = chance.start(JsonSchema(schema))
    if constraint is None:
        return False
    try:
        text = chance.answer(constraint, limit, random)
        if constraint.is_complete:
            check_json(text, schema)
        else:
            assert limit < constraint.needs, f"cut after {limit} tokens: {text!r}"
    except (AssertionError, ValueError, EngineError, jsonschema.ValidationError) as error:
        raise AssertionError(json.dumps(schema)) from error
    return True
