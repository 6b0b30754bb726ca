"""Renders chat messages into the prompt the model was trained on.

Knows the model's published Jinja template; runs it in jinja2's sandbox. Knows nothing of models.

Rule: a control token comes from the template or not at all. While the template runs, the
punctuation that control tokens are made of stands masked in every content, so each control token in
the rendered text is the template's own; then the contents are unmasked and encoded as plain text.
Templates may trim, join or repeat contents; one that looks for such punctuation in them will not
find it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Literal, NoReturn, get_args

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import EmptyInput, InvalidInput, ModelBroken
from engine.text.tokenizer import Control, Tokenizer

Role = Literal["system", "user", "assistant"]

# Unicode's supplementary private use areas: characters that no text needs.
_PRIVATE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidInput(
                f"role must be one of {', '.join(get_args(Role))}, but is {self.role!r}."
            )


def conversation(prompt: str, system: str = "") -> list[Message]:
    """One question, below instructions where there are any."""
    asked = Message("user", prompt)
    return [Message("system", system), asked] if system else [asked]


class ChatTemplate:
    """A model's chat template with the tokenizer that reads what it renders."""

    def __init__(
        self, source: str, tokenizer: Tokenizer, bos_token: str = "", eos_token: str = ""
    ) -> None:
        """Compiles a template.

        Args:
            source: Jinja, as published in tokenizer_config.json.
            tokenizer: The model's.
            bos_token: Text of the token that the template may name so.
            eos_token: Likewise.

        Raises:
            ModelBroken: The template is no valid Jinja.
        """
        self._tokenizer = tokenizer
        self._names = {"bos_token": bos_token, "eos_token": eos_token}
        self._fixed = source + bos_token + eos_token
        spellings = sorted(tokenizer.control_texts, key=len, reverse=True)
        self._control = re.compile(f"({'|'.join(map(re.escape, spellings)) or '(?!)'})")
        self._marked = sorted(set(chain.from_iterable(map(_distinctive, spellings))))
        try:
            self._template = _environment().from_string(source, _GLOBALS)
        except jinja2.TemplateError as error:
            raise _broken(error) from error

    def render_ids(
        self, messages: Sequence[Message], add_generation_prompt: bool = True
    ) -> list[int]:
        """Ids of a conversation, ready for the model to answer.

        Raises:
            EmptyInput: No message holds any text, or the template takes up none of it.
            InvalidInput: The template refuses these roles, or a content is no valid Unicode.
            ModelBroken: The template fails.
        """
        if not any(message.content.strip() for message in messages):
            raise EmptyInput("There is nothing to answer: give at least one message with text.")
        masks = self._masks(messages)
        turns = [
            {"role": message.role, "content": message.content.translate(masks)}
            for message in messages
        ]
        pieces = self._control.split(self._render(turns, add_generation_prompt))
        unmasks = {ord(mask): character for character, mask in masks.items()}
        ids = self._tokenizer.encode_parts(
            Control(piece) if index % 2 else piece.translate(unmasks)
            for index, piece in enumerate(pieces)
        )
        if not ids:
            raise EmptyInput("The model's chat template makes an empty prompt of these messages.")
        return ids

    def _masks(self, messages: Sequence[Message]) -> dict[int, str]:
        """For each marked character one that occurs nowhere in the conversation."""
        used = set(self._fixed).union(*(message.content for message in messages))
        free = (chr(code) for code in chain(*_PRIVATE) if chr(code) not in used)
        masks = {ord(character): mask for character, mask in zip(self._marked, free, strict=False)}
        if len(masks) < len(self._marked):
            raise InvalidInput("The messages use up Unicode's private characters; remove some.")
        return masks

    def _render(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=turns,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self._names,
            )
        except InvalidInput:
            raise
        except Exception as error:  # A template may do anything that Jinja can.
            raise _broken(error) from error


def _distinctive(control_text: str) -> set[str]:
    """Characters without which a control token cannot be spelled, and few words have."""
    return {char for char in control_text if not char.isalnum() and not char.isspace()} or {
        control_text[0]
    }


def _environment() -> ImmutableSandboxedEnvironment:
    """What templates on the model hub are written for."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    return environment


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(reason: str) -> NoReturn:
    raise InvalidInput(f"The model's chat template refuses these messages: {reason}")


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _broken(error: Exception) -> ModelBroken:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return ModelBroken(f"The model's chat template fails ({reason}); fetch the model again.")


_GLOBALS: dict[str, Any] = {"raise_exception": _refuse, "strftime_now": _strftime_now}
