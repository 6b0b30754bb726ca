"""How many tokens a text may be for a model that is not known.

Knows no tokenizer. Rule: at least a token for three bytes, and more where tokenizers are known to
cut finer, so that a budget kept by this count is kept by models. Measured against the
vocabularies of SmolLM2, which has little but English, and of MiniLM: neither cuts prose, code,
numbers, base64 or a dozen scripts finer than this; English comes out some 45 % too high.
"""

import re

_BYTES_PER_TOKEN = 3

_PIECES = re.compile(
    r"(?P<code>(?=[A-Za-z]*\d)[A-Za-z\d]{16,})"
    r"|(?P<capitals>[A-Z]{2,}(?![a-z]))|(?P<word>[A-Z]?[a-z]+|[A-Z])"
    r"|(?P<one>[\t\r\n]| {2,}|[!-/0-9:-@\[-`{-~\x7f])"
    r"|(?P<two>[\x80-\u07ff])|(?P<three>[\u0800-\uffff])|(?P<four>[\U00010000-\U0010ffff])"
)
_LONGEST_WORD = 24
"""Letters; more are no word but code, of which hardly two letters share a token."""

_SHARE_PER_CHARACTER = {"code": 1.0, "one": 1.0, "two": 1.4, "three": 2.8, "four": 4.0}
"""Signs and digits are tokens each; letters beyond ASCII are bytes where no token has them."""

_MARGIN = 1.05


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is, rather too many than too few."""
    length = len(text.encode("utf-8", "surrogatepass"))
    pieces = sum(map(_tokens, _PIECES.finditer(text)))
    return int(max(-(-length // _BYTES_PER_TOKEN), _MARGIN * pieces + 0.5))


def fitting(text: str, tokens: int) -> int:
    """How many characters of a text's beginning are no more than so many tokens."""
    longest = min(len(text), _BYTES_PER_TOKEN * tokens)
    if estimated_tokens(text[:longest]) <= tokens:
        return longest
    least, most = 0, longest - 1
    while least < most:
        middle = (least + most + 1) // 2
        if estimated_tokens(text[:middle]) <= tokens:
            least = middle
        else:
            most = middle - 1
    return least


def _tokens(piece: "re.Match[str]") -> float:
    kind, length = str(piece.lastgroup), piece.end() - piece.start()
    if share := _SHARE_PER_CHARACTER.get(kind):
        return share if kind == "one" else share * length
    if length > _LONGEST_WORD:
        return 0.7 * length
    return max(1.0, 0.5 + length / (2 if kind == "capitals" else 3.3))
