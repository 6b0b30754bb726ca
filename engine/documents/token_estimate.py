"""Counts tokens where no model is there to count them.

Three bytes of UTF-8 are a token: a sign of Chinese or Japanese, or somewhat less than what English
words come to in a model of that language (4 to 4.5 characters), so that texts cut by it fit one.
"""

from collections.abc import Sequence

ESTIMATED_MAX_TOKENS = 384
"""Of one text, by this count."""

_BYTES_PER_TOKEN = 3


def estimated_tokens(texts: Sequence[str]) -> list[int]:
    """About how many tokens each text has; 0 only without words."""
    lengths = (len(text.strip().encode("utf-8", "surrogatepass")) for text in texts)
    return [-(-length // _BYTES_PER_TOKEN) for length in lengths]
