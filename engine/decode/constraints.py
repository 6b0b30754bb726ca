# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Keeps an answer to a form: which tokens may come next. The only door of llguidance.

Rule: a form is refused before the first token, or each answer that is complete satisfies it.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray

from engine.decode.endings import Ending, Flags, Logits, Preferences
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex, Schema, ToolCalls
from engine.decode.schemas import largest, patterns, readable, require
from engine.decode.tool_calls import OPENING
from engine.decode.tool_grammar import tool_calls_rules
from engine.errors import InvalidInput, ModelBroken
from engine.text.tokenizer import Tokenizer

# What one grammar, or one token of its answer, may take; llguidance's measures: 50,000 units of
# fuel a millisecond for a grammar, 14,000 for a token, 20,000 items a millisecond, 1 to 2 KB a
# state. To exceed one is an error there, never a stall.
_LIMITS = llguidance.LLParserLimits(
    max_items_in_row=20_000,
    initial_lexer_fuel=5_000_000,
    step_lexer_fuel=1_000_000,
    step_max_items=500_000,
    max_lexer_states=100_000,
    max_grammar_size=50_000,
    verbose_errors=False,
)

# How JSON is written: as models are used to, and without control characters as \u0000.
_JSON_STYLE = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "json_allowed_escapes": 'nrbtf\\"',
}

# One token may open the largest part of an answer, which takes so many tokens at most, about.
_NEAR = 8
_USUAL_TOKENS = 1.5

_LAST = re.compile(r"(?<!\\)\$$")
"""What says that a pattern is to match at the end."""

_MOST_HINTS, _HINT_PATIENCE = 50, 0.05

_PROBE = '{"name": "Jane", "tags": ["two words", -2.5, true], "é中": {"number of items": "x\\n"}}'


Check = Callable[[list[int]], None]


class Constraints:
    """A model's vocabulary, ready for answers of set forms. Safe to use from several threads."""

    def __init__(
        self, tokenizer: Tokenizer, logits_size: int, stop_token_ids: Collection[int]
    ) -> None:
        """Prepares a vocabulary; 49,152 tokens take about 0.3 s.

        Args:
            tokenizer: The model's.
            logits_size: Logits that the model gives; ids that the tokenizer lacks never follow.
            stop_token_ids: Tokens that end an answer.

        Raises:
            ModelBroken: The tokenizer is of a kind that cannot be constrained.
        """
        self._name = tokenizer.name
        size = max(logits_size, tokenizer.vocabulary_size)
        stops = frozenset(stop_token_ids)
        try:
            self._llguidance = llguidance.LLTokenizer(
                tokenizer.json_text, n_vocab=size, eos_token=sorted(stops)
            )
        except Exception as error:  # The library raises plain exceptions.
            raise self._broken(_first_line(str(error))) from error
        self._space = self._leading_space(tokenizer)
        texts = {
            token: self._llguidance.decode_bytes([token])
            for token in range(tokenizer.vocabulary_size)
            if token not in stops | tokenizer.control_ids
            and not self._llguidance.is_special_token(token)
        }
        never = np.array(sorted(tokenizer.control_ids - stops), np.intp)
        self._vocabulary = _Vocabulary(size, never, np.array(sorted(stops), np.intp))
        self._preferences = Preferences(texts, stops)

    def start(self, form: OutputForm, *, may_be_cut: bool = False) -> "Constraint":
        """Begins an answer of a form.

        Args:
            form: What it must look like.
            may_be_cut: Whether it may end before it is complete.

        Raises:
            InvalidInput: The form is not valid, cannot be guaranteed, or no answer satisfies it.
        """
        try:
            grammar, length = self._grammar(form)
        except RecursionError as error:
            raise InvalidInput("The form is nested too deep; make it flatter.") from error
        point = self._point(grammar)
        most = _NEAR + int(length * self._tokens_per_character)
        ending = Ending(self._preferences, self._hints(form), point, most)
        if ending.end is None:
            raise InvalidInput(
                "No answer of this form could be ended: it contradicts itself or is too large; "
                "simplify it."
            )
        return Constraint(point, ending, self._check(form), _stops_until(form), may_be_cut)

    def _check(self, form: OutputForm) -> Check:
        match form:
            case JsonSchema():
                return lambda ids: require(self._llguidance.decode_str(ids), form.parsed)
            case _:
                return lambda _: None

    def _point(self, grammar: str) -> "_Point":
        """The beginning of a grammar's texts."""
        matcher = llguidance.LLMatcher(self._llguidance, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            reason = _first_line(matcher.get_error())
            raise InvalidInput(f"The form cannot be kept ({reason}); change or simplify it.")
        return _Point(self._vocabulary, matcher)

    def _hints(self, form: OutputForm) -> list[list[int]] | None:
        """A text of each pattern that may stand anywhere in a string, as tokens; None: no JSON."""
        match form:
            case JsonSchema():
                schemas: list[Schema] = [form.parsed]
            case ToolCalls():
                schemas = [tool.parameters for tool in form.callable]
            case _:
                return None
        loose = {_LAST.sub("", text) for text in patterns(schemas) if not text.startswith("^")}
        points = [
            self._point(f"start: /{llguidance.regex_to_lark(text, 'dw')}/")
            for text in sorted(loose)[:_MOST_HINTS]
        ]
        ends = [Ending(self._preferences, None, point, 0, _HINT_PATIENCE).end for point in points]
        return [end for end in ends if end]

    def _grammar(self, form: OutputForm) -> tuple[str, int]:
        """Rules in llguidance's Lark dialect, and characters that the largest part takes.

        Where the model's tokens begin a text with a space that is not shown, the rules have it too.
        """
        space = json.dumps(self._space)
        match form:
            case JsonSchema():
                rules = f"start: {space}? json\njson: {_json_rule(form.parsed)}"
                return rules, largest(form.parsed)
            case ToolCalls():
                schemas = [tool.parameters for tool in form.callable]
                rules = tool_calls_rules(form, [_json_rule(schema) for schema in schemas], space)
                return rules, 100 + sum(map(largest, schemas))
            case Regex():
                pattern = llguidance.regex_to_lark(form.pattern, "d")
                text = rf"/{pattern}/ & /[^\x1c-\x1f]*/"  # White space to Python alone.
                return f"start: {space} TEXT\nTEXT: {text}", len(form.pattern)
            case Choices():
                choices = " | ".join(map(json.dumps, dict.fromkeys(form.texts)))
                return f"start: {space} TEXT\nTEXT: {choices}", 0

    def _leading_space(self, tokenizer: Tokenizer) -> str:
        """The space before an answer that the tokenizer makes and does not show; or nothing."""
        (ids,) = tokenizer.encode_batch([_PROBE])
        self._tokens_per_character = min(1.0, _USUAL_TOKENS * len(ids) / len(_PROBE))
        made, shown = self._llguidance.decode_str(ids), tokenizer.decode(ids)
        if made not in (shown, f" {shown}"):
            raise self._broken("its tokens join to another text than it decodes")
        return made.removesuffix(shown)

    def _broken(self, reason: str) -> ModelBroken:
        return ModelBroken(
            f"{self._name} is of a kind that answers of a set form cannot be made with ({reason}); "
            "use another model."
        )


class Constraint:
    """Keeps one answer to its form."""

    def __init__(
        self,
        point: "_Point",
        ending: Ending,
        check: Check,
        stops_until: str | None,
        may_be_cut: bool,
    ) -> None:
        self.stops_until = stops_until
        """Text behind which stop strings do not count, of calls; None where they always do."""
        self.may_be_cut = may_be_cut
        """Whether it may end before it is complete."""
        self._point = point
        self._check = check
        self._ids: list[int] = []
        self._ending = ending
        self._stopped = False
        self.needs = len(ending.end or ())
        """Tokens that about the shortest answer takes, a stop token not counted."""
        self._is_hurried: bool | None = None
        """Whether it is brought to an end in time; None before the first token."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer so far satisfies the form."""
        return self._stopped or self._point.is_complete

    @property
    def is_finished(self) -> bool:
        """Whether nothing but a stop token may follow."""
        return self._stopped or self._point.is_finished

    def apply(self, logits: Logits, remaining: int) -> Logits:
        """Leaves the tokens that may follow; near the end, those after which there is time to end.

        An answer that may be cut is not hurried where there is no time for it from the first, and
        calls never are: whoever carries one out had better see it cut than made up.

        Args:
            logits: One per token id, [vocabulary or less].
            remaining: Tokens that may still follow, this one counted, a stop token not.

        Returns:
            A copy with -inf for all other tokens.

        Raises:
            InvalidInput: The form proves too complex.
        """
        if self._is_hurried is None:
            has_time = self.stops_until is None and remaining >= self.needs
            self._is_hurried = has_time or not self.may_be_cut
        allowed = self._point.allowed()
        if self._is_hurried and not self._point.is_finished:
            allowed = self._ending.narrow(self._point, allowed, logits, remaining)
        kept = np.full_like(logits, -np.inf)
        np.copyto(kept, logits, where=allowed[: len(logits)])
        return kept

    def accept(self, token_id: int) -> None:
        """Tells which token followed."""
        if token_id in self._point.vocabulary.stops:
            self._stopped = True
        else:
            self._point.accept(token_id)
            self._ending.accept(token_id)
            self._ids.append(token_id)

    def verify(self) -> None:
        """Sees once more that the answer, which is complete, is of its form.

        Raises:
            InvalidInput: It is not: llguidance was laxer there than the form.
        """
        self._check(self._ids)


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    size: int
    never: NDArray[np.intp]
    """Ids of control tokens that do not end an answer."""
    stops: NDArray[np.intp]


@dataclass(slots=True)
class _Point:
    """A point in an answer: where the grammar stands."""

    vocabulary: _Vocabulary
    matcher: llguidance.LLMatcher

    @property
    def is_complete(self) -> bool:
        return self.matcher.is_accepting()

    @property
    def is_finished(self) -> bool:
        return self.matcher.is_stopped()

    def allowed(self) -> Flags:
        """For each token whether it may follow, [vocabulary].

        Raises:
            InvalidInput: The form proves too complex.
        """
        size = self.vocabulary.size
        bits = np.empty((1, -(-size // 32)), np.int32)
        fill_next_token_bitmask(self.matcher, bits)
        self._refuse_error()
        flags = np.unpackbits(bits.view(np.uint8)[0], count=size, bitorder="little")
        allowed = flags.view(np.bool_)
        allowed[self.vocabulary.never] = False
        # llguidance lets an answer stop where nothing can follow, complete or not.
        allowed[self.vocabulary.stops] = self.is_complete
        return allowed

    def accept(self, token_id: int) -> None:
        self.matcher.consume_token(token_id)
        self._refuse_error()

    def takes(self, token_ids: Sequence[int]) -> bool:
        return self.matcher.validate_tokens(list(token_ids)) == len(token_ids)

    def copy(self) -> "_Point":
        return _Point(self.vocabulary, self.matcher.deep_copy())

    def _refuse_error(self) -> None:
        if self.matcher.is_error():
            reason = _first_line(self.matcher.get_error())
            raise InvalidInput(f"The form proves too complex ({reason}); simplify it.")


def _stops_until(form: OutputForm) -> str | None:
    """Of an answer with tools, stop strings end the text before the calls alone."""
    match form:
        case ToolCalls():
            return OPENING if form.choice == "auto" else ""
        case _:
            return None


def _json_rule(schema: Schema) -> str:
    """The right side of a rule for the JSON texts of a schema."""
    read = readable(schema)
    if read is False:
        raise InvalidInput("The schema is false, which no answer satisfies.")
    rules = {} if read is True else read
    return f"%json {json.dumps(rules | {'x-guidance': _JSON_STYLE})}"


def _first_line(message: str) -> str:
    line = (message.splitlines() or ["no reason given"])[0]
    return line.split(" failed: ")[-1].split("failed to compile JSON schema: ")[-1][:200]
