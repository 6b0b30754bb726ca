"""Every error raised on purpose, as one tree.

    EngineError
    ├── InvalidInput        the caller can mend the request
    │   ├── EmptyInput
    │   ├── AnswerCut
    │   ├── PromptTooLong
    │   └── TextTooLong
    ├── NotFound            what the request names is not here
    │   ├── ModelNotFound
    │   ├── DocumentNotFound
    │   └── CollectionNotFound
    ├── Unavailable         the request was fine, the machine cannot serve it now
    │   ├── ModelMissing
    │   ├── ModelBroken
    │   ├── FetchFailed
    │   ├── NoRoom
    │   ├── NpuFailed
    │   ├── IndexerBusy
    │   └── Overloaded
    └── StoreError          what is kept on disk cannot be used as it is
        └── NewerSchema

Rule: a message is one sentence or two for the person or agent who caused it, says what to do, and
never holds a secret. Anything that is not an `EngineError` is a bug.
"""

from copy import copy
from typing import TypeVar

_Failure = TypeVar("_Failure", bound=Exception)


class EngineError(Exception):
    """Root of every error raised on purpose; its text is meant to be shown."""


class InvalidInput(EngineError):
    """The request cannot be served as it is; the message says how to change it."""


class EmptyInput(InvalidInput):
    """A text, prompt or list that must not be empty is empty."""


class PromptTooLong(InvalidInput):
    """A prompt leaves no room in the model's context window."""


class TextTooLong(InvalidInput):
    """A text has more tokens than the model reads of one, and was not to be cut."""


class AnswerCut(InvalidInput):
    """An answer of a set form was not complete when its tokens ran out."""


class NotFound(EngineError):
    """What the request names does not exist here."""


class ModelNotFound(NotFound):
    """No model of that id is known."""


class DocumentNotFound(NotFound):
    """No document of that id is indexed."""


class CollectionNotFound(NotFound):
    """No collection of that name is indexed."""


class Unavailable(EngineError):
    """The request was fine; it cannot be served now."""


class ModelMissing(Unavailable):
    """The model is not installed; the message names the command that installs it."""


class ModelBroken(Unavailable):
    """A model folder is incomplete, changed, unsafe or not a model."""


class FetchFailed(Unavailable):
    """A model could not be fetched; the message says what was tried and what to do."""


class NoRoom(Unavailable):
    """A model does not fit into the memory that models may take."""


class NpuFailed(Unavailable):
    """The NPU cannot do a part of the work; the CPU does it. `code` names the kind of failure."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code, sentence)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])


class IndexerBusy(Unavailable):
    """Another run of indexing has the index; the message names its process."""


class Overloaded(Unavailable):
    """Others have taken what is there; the same request may be served in `retry_after` seconds."""

    def __init__(self, sentence: str, retry_after: float = 1.0) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class StoreError(EngineError):
    """The index, or the file of keys, cannot be opened or used as it is."""


class NewerSchema(StoreError):
    """The index was written by a newer version of npu-gateway."""


def again(error: _Failure) -> _Failure:
    """The same error for one more caller, since each thread that raises one writes to it."""
    if not isinstance(error, EngineError):
        return error
    own = copy(error)
    own.__cause__ = error.__cause__
    return own
