"""Prompts: what a model is asked, as token ids: a conversation, or a text that it goes on from."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import EmptyInput
from engine.text.chat import ChatTemplate, Message
from engine.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class RawText:
    """A text that a model goes on from, without a chat template."""

    text: str


Prompt = Sequence[Message] | RawText


class Prompts:
    """The prompts of one model."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def surely_exceeds(self, prompt: Prompt, tokens: int) -> bool:
        """Whether a prompt has more than so many tokens, as far as its length alone tells."""
        texts = [prompt] if isinstance(prompt, RawText) else prompt
        return sum(len(_content(text)) for text in texts) > tokens * self._tokenizer.longest

    def ids(self, prompt: Prompt) -> list[int]:
        """A prompt's ids, ready for the model to go on.

        What it spells is never a control token. Before a raw text stand those that the tokenizer
        puts before every text.

        Raises:
            EmptyInput: There is no text in it.
            InvalidInput: It cannot be rendered, or is no valid Unicode.
            ModelBroken: The chat template fails, or the tokenizer frames texts in no known way.
        """
        if not isinstance(prompt, RawText):
            return self._template.render_ids(prompt)
        if not prompt.text:
            raise EmptyInput("There is nothing to go on from: give a prompt with text.")
        return [*self._tokenizer.frame[0], *self._tokenizer.encode_parts([prompt.text])]


def _content(text: Message | RawText) -> str:
    """What there is to read of a text; templates may trim messages."""
    return text.text if isinstance(text, RawText) else text.content.strip()
