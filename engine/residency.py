"""Resident: one model in memory, loaded at first use, once, however many ask.

Knows nothing of what it holds but how to load and close it. A failed load is remembered for
whoever asks about the state, and tried again at the next use: a model installed meanwhile is
found without a restart.
"""

import threading
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from engine.errors import EngineError, Unavailable

State = Literal["waiting", "loading", "ready", "failed", "closed"]


class Closable(Protocol):
    """What a resident model must be able to do."""

    def close(self) -> None:
        """Frees the model."""
        ...


ModelT = TypeVar("ModelT", bound=Closable)


class Resident(Generic[ModelT]):
    """A place for one model. Thread-safe."""

    def __init__(self, name: str, load: Callable[[Callable[[str], None]], ModelT]) -> None:
        """A place that `load` fills; `load` may report in words what it is doing.

        Args:
            name: What the place is for, in words: "embedding model".
            load: Opens the model; called again after a failure, never twice at once.
        """
        self.name = name
        self.activity = ""
        self._load = load
        self._lock = threading.Lock()
        self._model: ModelT | None = None
        self.state: State = "waiting"
        self.failure: EngineError | None = None

    def get(self) -> ModelT:
        """The model, loaded now if it is not in memory; a second caller waits for the first.

        Raises:
            EngineError: The load failed; the same sentence is kept in `failure`.
            Unavailable: The place has been closed.
        """
        with self._lock:
            if self.state == "closed":
                raise Unavailable("The server is shutting down; call again once it is back.")
            if self._model is None:
                self._model = self._load_once()
            return self._model

    def _load_once(self) -> ModelT:
        self.state, self.failure = "loading", None
        self._report("loading")
        try:
            model = self._load(self._report)
        except EngineError as error:
            self.state, self.activity, self.failure = "failed", "", error
            raise
        except BaseException:
            self.state, self.activity = "failed", ""
            self.failure = Unavailable(
                f"The {self.name} could not be loaded because of an error in npu-gateway; "
                "the traceback is in its log on stderr."
            )
            raise
        self.state, self.activity = "ready", ""
        return model

    def _report(self, activity: str) -> None:
        self.activity = activity

    def loaded(self) -> ModelT | None:
        """The model if it is in memory now; never waits and never loads."""
        return self._model if self.state == "ready" else None

    def result(self) -> ModelT:
        """What the last load gave; never waits and never loads.

        Raises:
            EngineError: It failed, or there was none.
        """
        model = self.loaded()
        if model is None:
            raise self.failure or Unavailable(f"The {self.name} is not loaded; call again.")
        return model

    def close(self, timeout: float = -1) -> None:
        """Frees the model and refuses further use; waits `timeout` seconds for a running load."""
        if not self._lock.acquire(timeout=timeout):
            return
        self.state = "closed"
        model, self._model = self._model, None
        self._lock.release()
        if model is not None:
            model.close()
