"""DecoderOptions: how a language model is served; DecoderStatus: what it is doing."""

from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.models.surgery import KvType

# The least that numbers of DecoderOptions may be. A run of one token takes another kernel; see
# `forward`.
_LEAST = {
    "threads": 0,
    "slots": 1,
    "kv_limit_bytes": 0,
    "prefix_cache_bytes": 0,
    "prefill_chunk": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderOptions:
    """How a model is served; a field that cannot be as it is raises InvalidInput."""

    threads: int = 0
    """Threads one run may use; 0 for every physical core."""
    slots: int = 4
    """Answers that grow at once."""
    kv_limit_bytes: int = 2 * 2**30
    """What the keys and values of all answers in work may take."""
    kv_dtype: KvType | None = None
    """What they are kept as; "float16" takes half the memory where `Surgery` can change it."""
    prefix_cache_bytes: int = 256 * 2**20
    """What may be kept of prompts that have been answered, for those that begin alike."""
    speculate: bool = True
    """Whether tokens that the text so far suggests are checked many at once. Answers are the same
    but where two tokens are nearer than such a run rounds; see `forward`."""
    prefill_chunk: int | None = None
    """Prompt tokens read in one run, at least 2; None for `prefill_chunk_for` the model."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            is_left_out = name == "prefill_chunk" and value is None
            if not (is_left_out or (isinstance(value, int) and value >= least)):
                raise InvalidInput(
                    f"{name} must be a whole number, {least} or more, but is {value!r}."
                )
        if self.kv_dtype not in (None, "float16"):
            raise InvalidInput(f'kv_dtype must be None or "float16", but is {self.kv_dtype!r}.')


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStatus:
    """What a decoder is doing, and what it holds."""

    active: int
    """Answers in work."""
    waiting: int
    """Answers that wait for a slot."""
    kv_bytes: int
    """What the keys and values of the answers in work take."""
    kv_tokens: int
    """Tokens that are in them."""
    prefixes: int
    """Beginnings of prompts that are kept."""
    prefix_bytes: int
    """What they take."""
    prefill_tokens_per_second: float
    """Over all prompts so far; 0 before the first."""
    decode_tokens_per_second: float
    """Likewise, for all answers together."""
