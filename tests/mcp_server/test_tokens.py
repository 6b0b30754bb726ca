"""The estimate of tokens is no lower than what real tokenizers count, whatever the text."""

import base64
import json
import random
from pathlib import Path

import pytest
import tokenizers

from mcp_server.tokens import estimated_tokens

RANDOM = random.Random(5)

SENTENCES = {
    "English": "The sea rises and falls twice a day because the moon pulls at it. ",
    "German": "Das Meer steigt und fällt zweimal täglich, weil der Mond es anzieht. ",
    "French": "La mer monte et descend deux fois par jour parce que la lune l'attire. ",
    "Vietnamese": "Nước biển lên xuống hai lần mỗi ngày vì mặt trăng hút nó. ",
    "Russian": "Море поднимается и опускается дважды в день. ",
    "Greek": "Η θάλασσα ανεβαίνει και κατεβαίνει δύο φορές την ημέρα. ",
    "Hebrew": "הים עולה ויורד פעמיים ביום כי הירח מושך אותו. ",
    "Arabic": "يرتفع البحر وينخفض مرتين في اليوم لأن القمر يجذبه. ",
    "Hindi": "समुद्र दिन में दो बार उठता और गिरता है। ",
    "Thai": "ทะเลขึ้นและลงวันละสองครั้งเพราะดวงจันทร์ดึงดูดมัน ",
    "Chinese": "海水每天涨落两次,因为月亮吸引着它。",
    "Japanese": "月の引力で海面が上下します。潮の満ち引きは一日に二回起こります。",
    "Korean": "바닷물은 달이 끌어당기기 때문에 하루에 두 번 오르내린다. ",
}

TEXTS = {name: sentence * 30 for name, sentence in SENTENCES.items()} | {
    "nothing": "",
    "capitals": SENTENCES["English"].upper() * 30,
    "code": Path(__file__).read_text(encoding="utf-8"),
    "code as JSON": json.dumps({"text": Path(__file__).read_text(encoding="utf-8")}),
    "minified code": "function a(b,c){return b&&c?b.d(c):e[f]||g(h)};var i=j.k(l,m),n=o+p*q;" * 30,
    "base64": base64.b64encode(RANDOM.randbytes(3_000)).decode(),
    "hexadecimal": RANDOM.randbytes(2_000).hex(),
    "numbers": "\n".join(f"{RANDOM.random():.6f},{RANDOM.randrange(10**9)}" for _ in range(200)),
    "signs": "".join(RANDOM.choices("!@#$%^&*()_+-=[]{}|;':\",./<>?`~\\", k=2_000)),
    "emoji": "".join(RANDOM.choices("😀🎉🚀👨‍👩‍👧‍👦🏳️‍🌈🇩🇪✨🧠", k=1_000)),
    "random ideographs": "".join(chr(RANDOM.randrange(0x4E00, 0x9FA5)) for _ in range(1_000)),
    "lines of a letter": "x\n" * 1_000,
    "one long word": "x" * 4_000,
    "lone surrogates": "\ud800" * 100,
}


@pytest.fixture(scope="module")
def counting(minilm_folder, smollm2_folder) -> list[tokenizers.Tokenizer]:
    """The default models' tokenizers, which cut nothing off."""
    loaded = [
        tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        for folder in (minilm_folder, smollm2_folder)
    ]
    for one in loaded:
        one.no_truncation()
        one.no_padding()
    return loaded


@pytest.mark.parametrize("name", TEXTS)
def test_no_real_tokenizer_counts_more(counting, name):
    text = TEXTS[name]
    readable = text.encode("utf-8", "replace").decode()
    counts = [len(one.encode(readable, add_special_tokens=False).ids) for one in counting]
    assert estimated_tokens(text) >= max(counts)


@pytest.mark.parametrize("name", ["English", "code"])
def test_prose_and_code_are_not_estimated_far_too_high(counting, name):
    counts = [len(one.encode(TEXTS[name], add_special_tokens=False).ids) for one in counting]
    assert estimated_tokens(TEXTS[name]) <= 1.8 * max(counts)


def test_a_token_holds_at_most_three_bytes():
    for text in TEXTS.values():
        assert 3 * estimated_tokens(text) >= len(text.encode("utf-8", "surrogatepass"))
