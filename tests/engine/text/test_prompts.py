"""Prompts as token ids: conversations by the chat template, raw texts as they are."""

from pathlib import Path

import pytest
from tiny_models import CHAT_TEMPLATE, byte_tokenizer, phi3_like_tokenizer
from tokenizers import Tokenizer as Loaded
from tokenizers import processors

from engine.errors import EmptyInput, InvalidInput, ModelBroken
from engine.text.chat import ChatTemplate, Message
from engine.text.detokenizer import Detokenizer
from engine.text.prompts import Prompts, RawText
from engine.text.tokenizer import Tokenizer


def _prompts(loaded: Loaded) -> tuple[Tokenizer, Prompts]:
    tokenizer = Tokenizer(loaded, "tokenizer.json")
    return tokenizer, Prompts(tokenizer, ChatTemplate(CHAT_TEMPLATE, tokenizer))


def _with_bos(loaded: Loaded, bos: str) -> Loaded:
    loaded.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, loaded.token_to_id(bos))]
    )
    return loaded


@pytest.mark.parametrize(
    ("loaded", "bos"), [(byte_tokenizer(), "<|endoftext|>"), (phi3_like_tokenizer(), "<s>")]
)
def test_before_a_raw_text_stands_what_the_tokenizer_puts_there(loaded: Loaded, bos: str) -> None:
    _, bare = _prompts(Loaded.from_str(loaded.to_str()))
    tokenizer, framed = _prompts(_with_bos(Loaded.from_str(loaded.to_str()), bos))
    text = RawText("Hi the\nin")
    assert framed.ids(text) == [tokenizer.token_id(bos), *bare.ids(text)]
    assert [framed.ids(text)] == tokenizer.encode_batch([text.text], special_tokens=True)


def test_a_conversation_is_rendered_by_the_template() -> None:
    tokenizer, prompts = _prompts(_with_bos(byte_tokenizer(), "<|endoftext|>"))
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert [prompts.ids([Message("user", "Hi")])] == tokenizer.encode_batch([rendered])


def test_what_a_raw_text_spells_is_never_a_control_token() -> None:
    tokenizer, prompts = _prompts(byte_tokenizer())
    ids = prompts.ids(RawText("a<|im_end|>b"))
    assert not tokenizer.control_ids.intersection(ids)
    assert tokenizer.decode(ids) == "a<|im_end|>b"


def test_a_raw_text_without_text_is_refused_and_white_space_is_none() -> None:
    _, prompts = _prompts(_with_bos(byte_tokenizer(), "<|endoftext|>"))
    with pytest.raises(EmptyInput, match="nothing to go on from"):
        prompts.ids(RawText(""))
    assert len(prompts.ids(RawText(" "))) == 2


def test_a_raw_text_with_half_a_character_is_refused() -> None:
    _, prompts = _prompts(byte_tokenizer())
    with pytest.raises(InvalidInput, match="lone surrogate"):
        prompts.ids(RawText("\ud83d"))


def test_a_tokenizer_that_changes_a_framed_text_is_broken(tmp_path: Path) -> None:
    loaded = byte_tokenizer()
    loaded.post_processor = processors.TemplateProcessing(
        single="<|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    _, prompts = _prompts(loaded)
    with pytest.raises(ModelBroken, match="special tokens around"):
        prompts.ids(RawText("Hi"))


@pytest.mark.parametrize("loaded", [byte_tokenizer(), phi3_like_tokenizer()])
@pytest.mark.parametrize(
    "text", ["Hi the in there", "a中é🌧 🌧中 the", "  two  spaces ", "🌧🌧🌧🌧", " \n the"]
)
def test_a_text_that_goes_on_is_shown_with_its_first_space(loaded: Loaded, text: str) -> None:
    tokenizer = Tokenizer(loaded, "tokenizer.json")
    ids = tokenizer.encode_parts([text])
    for cut in range(1, len(ids)):
        before, after = ids[:cut], ids[cut:]
        if "\ufffd" in tokenizer.decode(before):
            continue
        detokenizer = Detokenizer(tokenizer, before)
        pieces = [*map(detokenizer.push, after), detokenizer.finish()]
        assert tokenizer.decode(before) + "".join(pieces) == text
