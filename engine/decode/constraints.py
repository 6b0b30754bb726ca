# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
"""Keeps an answer to a form: which tokens may come next. The only door of llguidance.

Rule: a form is refused before the first token, or each answer that is complete satisfies it.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray

from engine.decode.endings import Ending, Flags, Logits, Preferences
from engine.decode.grammars.json_text import JsonText
from engine.decode.grammars.key_watch import KeyWatch, TokenTexts
from engine.decode.grammars.patterns import Pattern
from engine.decode.output_forms import Choices, JsonSchema, OutputForm, Regex, ToolCalls
from engine.decode.tool_calls import OPENING, tool_calls_start
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
    max_grammar_size=500_000,
    verbose_errors=False,
)
_LONGEST_GRAMMAR = 1_000_000

# One token may open the largest part of an answer, which takes so many tokens at most, about.
_NEAR = 8
_USUAL_TOKENS = 1.5

# What llguidance says of a grammar without any text.
_NO_TEXT = ("Unsatisfiable schema", "NoExtensionBias")
_PREAMBLE = re.compile(r"^(at \d+\(\d+\): )?(failed to compile JSON schema: )?")

_MOST_HINTS = 400
_LONGEST_HINT = 64

_PROBE = '{"name": "Jane", "tags": ["two words", -2.5, true], "é中": {"number of items": "x\\n"}}'


class Constraints:
    """A model's vocabulary, ready for answers of set forms. Safe to use from several threads."""

    def __init__(
        self, tokenizer: Tokenizer, logits_size: int, stop_token_ids: Collection[int]
    ) -> None:
        """Prepares a vocabulary: 49,152 tokens in 0.4 s, 0.25 of them with the interpreter held.

        Args:
            tokenizer: The model's.
            logits_size: Logits that the model gives; ids that the tokenizer lacks never follow.
            stop_token_ids: Tokens that end an answer.

        Raises:
            ModelBroken: The tokenizer is of a kind that cannot be constrained.
        """
        self._name = tokenizer.name
        self._size = max(logits_size, tokenizer.vocabulary_size)
        stops = frozenset(stop_token_ids)
        try:
            self._llguidance = llguidance.LLTokenizer(
                tokenizer.json_text, n_vocab=self._size, eos_token=sorted(stops)
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
        self._vocabulary = _Vocabulary(
            self._size,
            texts,
            TokenTexts([(text, token) for token, text in texts.items()]),
            np.array(sorted(tokenizer.control_ids - stops), np.intp),
            np.array(sorted(stops), np.intp),
        )
        self._preferences = Preferences(self._size, texts, stops)

    def start(self, form: OutputForm) -> "Constraint":
        """Begins an answer of a form.

        Raises:
            InvalidInput: The form is not valid, cannot be guaranteed, or no answer satisfies it.
        """
        grammar = JsonText(self._has_text)
        try:
            start = self._start(form, grammar)
        except RecursionError as error:
            raise InvalidInput("The form is nested too deep; make it flatter.") from error
        watch = None
        if grammar.has_free_names:
            watch = KeyWatch(OPENING.encode() if isinstance(form, ToolCalls) else b"")
        matcher = self._checked(self._compiled(f"start: {start}\n{grammar.rules}"))
        point = _Point(self._vocabulary, matcher, watch)
        largest = _NEAR + int(grammar.largest * self._tokens_per_character)
        ending = Ending(self._preferences, self._hints(grammar.hints), point, largest)
        if ending.needs is None:
            raise InvalidInput(
                "No answer of this form could be ended: it contradicts itself or is too large; "
                "simplify it."
            )
        return Constraint(point, ending)

    def _start(self, form: OutputForm, grammar: JsonText) -> str:
        """The right side of the start rule. Where the model's tokens begin a text with a space that
        is not shown, the grammar has it too."""
        space = json.dumps(self._space)
        match form:
            case JsonSchema():
                return f"{space}? {grammar.add(form.parsed).name}"
            case ToolCalls():
                return tool_calls_start(form, grammar, f"{space}?")
            case Regex():
                pattern = Pattern.read(form.pattern)
                grammar.hints = dict.fromkeys(pattern.samples)
                return f"{space} {grammar.define(f'/{pattern.whole}/', is_terminal=True)}"
            case Choices():
                texts = dict.fromkeys(form.texts)
                grammar.hints = dict.fromkeys(sorted(texts, key=len)[:1])
                choices = " | ".join(map(json.dumps, texts))
                return f"{space} {grammar.define(choices, is_terminal=True)}"

    def _compiled(self, grammar: str) -> llguidance.LLMatcher:
        """llguidance at the beginning of a grammar's texts, or in error."""
        if len(grammar) > _LONGEST_GRAMMAR:
            raise InvalidInput("The form makes too large a grammar; simplify it.")
        text = f"%llguidance {{}}\n{grammar}"
        return llguidance.LLMatcher(self._llguidance, text, log_level=0, limits=_LIMITS)

    def _checked(self, matcher: llguidance.LLMatcher) -> llguidance.LLMatcher:
        if matcher.is_error():
            raise InvalidInput(
                f"The form cannot be used ({_first_line(matcher.get_error())}); simplify it."
            )
        return matcher

    def _has_text(self, grammar: str) -> bool:
        """Whether a grammar has any text at all.

        Raises:
            InvalidInput: That cannot be found out.
        """
        matcher = self._compiled(grammar)
        if not matcher.is_error():
            matcher.compute_bitmask()  # Only then the matcher knows whether anything may follow.
        if any(sign in matcher.get_error() for sign in _NO_TEXT):
            return False
        self._checked(matcher)
        return matcher.is_accepting() or not matcher.is_stopped()

    def _hints(self, samples: Iterable[str]) -> list[list[int]]:
        """All ends of the samples as tokens, the longest first."""
        ends = {
            sample[start:]
            for sample in samples
            if len(sample) <= _LONGEST_HINT
            for start in range(len(sample))
        }
        longest = sorted(ends, key=len, reverse=True)[:_MOST_HINTS]
        return [self._llguidance.greedy_tokenize(text) for text in longest]

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

    def __init__(self, point: "_Point", ending: Ending) -> None:
        self._point = point
        self._ending = ending
        self._stopped = False
        self.needs = ending.needs or 0
        """Tokens that about the shortest answer takes, a stop token not counted."""

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

        Args:
            logits: One per token id, [vocabulary or less].
            remaining: Tokens that may still follow, this one counted, a stop token not.

        Returns:
            A copy with -inf for all other tokens.

        Raises:
            InvalidInput: The form proves too complex, or nothing may follow.
        """
        allowed = self._point.allowed()
        if not self._point.is_finished:
            allowed = self._ending.narrow(self._point, allowed, logits, remaining)
        kept = np.full_like(logits, -np.inf)
        np.copyto(kept, logits, where=allowed[: len(logits)])
        return kept

    def accept(self, token_id: int) -> None:
        """Tells which token followed."""
        if token_id in self._point.vocabulary.texts:
            self._point.accept(token_id)
            self._ending.accept(token_id)
        else:
            self._stopped = True


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    size: int
    texts: dict[int, bytes]
    """Bytes of each token that is text."""
    sorted: TokenTexts
    never: NDArray[np.intp]
    """Ids of control tokens that do not end an answer."""
    stops: NDArray[np.intp]


@dataclass(slots=True)
class _Point:
    """A point in an answer: where the grammar stands, and which names are taken."""

    vocabulary: _Vocabulary
    matcher: llguidance.LLMatcher
    watch: KeyWatch | None = None

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
        vocabulary = self.vocabulary
        bits = np.empty((1, -(-vocabulary.size // 32)), np.int32)
        fill_next_token_bitmask(self.matcher, bits)
        self._refuse_error()
        flags = np.unpackbits(bits.view(np.uint8)[0], count=vocabulary.size, bitorder="little")
        allowed = flags.view(np.bool_)
        allowed[vocabulary.never] = False
        if self.watch is not None:
            allowed[self.watch.forbidden(vocabulary.sorted)] = False
        # llguidance lets an answer stop where nothing can follow, complete or not.
        allowed[vocabulary.stops] = self.is_complete
        return allowed

    def accept(self, token_id: int) -> None:
        self.matcher.consume_token(token_id)
        self._refuse_error()
        if self.watch is not None:
            self.watch.feed(self.vocabulary.texts[token_id])

    def takes(self, token_ids: Sequence[int]) -> bool:
        if self.matcher.validate_tokens(list(token_ids)) < len(token_ids):
            return False
        text = b"".join(self.vocabulary.texts[token] for token in token_ids)
        return self.watch is None or not self.watch.repeats(text)

    def copy(self) -> "_Point":
        return _Point(self.vocabulary, self.matcher.deep_copy(), self.watch and self.watch.copy())

    def _refuse_error(self) -> None:
        if self.matcher.is_error():
            raise InvalidInput(
                "The form proves too complex for this answer "
                f"({_first_line(self.matcher.get_error())}); simplify it."
            )


def _first_line(message: str) -> str:
    return _PREAMBLE.sub("", (message.splitlines() or ["no reason given"])[0])[:200]
