"""Resident: one model in memory, loaded at first use, once, however many ask; freed when idle.

Knows nothing of what it holds but how to load and close it. A failed load is remembered for
whoever asks about the state, and tried again at the next use: a model installed meanwhile is
found without a restart. Rule: a leased model stays in memory. There is no timer here: somebody else
says when to look for idle models.
"""

import threading
import time
from collections.abc import Callable
from copy import copy
from types import TracebackType
from typing import Generic, Literal, Protocol, TypeVar

from engine import memory
from engine.errors import EngineError, Overloaded, Unavailable

State = Literal["waiting", "loading", "ready", "idle", "failed", "closed"]
"""Not loaded yet; being loaded; in memory; unloaded again; not to be loaded; no longer served."""


class Closable(Protocol):
    """What a resident model must be able to do."""

    def close(self) -> None:
        """Frees the model."""
        ...


ModelT = TypeVar("ModelT", bound=Closable)


class Lease(Generic[ModelT]):
    """A model in use: it stays in memory until the block is left, or `release` called."""

    def __init__(self, model: ModelT, released: Callable[[], None]) -> None:
        self._model: ModelT | None = model
        self._released = released

    def __enter__(self) -> ModelT:
        assert self._model is not None, "released"
        return self._model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Ends the use; may be called again."""
        if self._model is not None:
            self._model = None
            self._released()


class Resident(Generic[ModelT]):
    """A place for one model. Thread-safe."""

    def __init__(
        self,
        name: str,
        load: Callable[[Callable[[str], None]], ModelT],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A place that `load` fills; `load` may report in words what it is doing.

        Args:
            name: What the place is for, in words: "embedding model".
            load: Opens the model; called again after a failure or when the model was freed, never
                twice at once.
            clock: Seconds, to tell how long the model has not been used.
        """
        self.name = name
        self.activity = ""
        self.state: State = "waiting"
        self.failure: EngineError | None = None
        self.claimed_bytes = 0
        """What the model counts for where memory is limited; 0 while there is none."""
        self._load = load
        self._clock = clock
        # Held while a model is opened or closed, which takes seconds; `_guard` never is.
        self._changing = threading.Lock()
        # Reentrant: a signal may close the place while its own thread holds it.
        self._guard = threading.RLock()
        self._model: ModelT | None = None
        self._leases = 0
        self._last_use = 0.0

    def lease(self) -> Lease[ModelT]:
        """The model to use, loaded now if it is not in memory; a second caller waits for the first.

        Raises:
            EngineError: The load failed; the same sentence is kept in `failure`, unless others
                were only in its way.
            Unavailable: The place has been closed.
        """
        if (lease := self.lease_loaded()) is not None:
            return lease
        with self._changing:
            if self.state == "closed":
                raise Unavailable("The server is shutting down; call again once it is back.")
            return self.lease_loaded() or self._loaded_once()

    def lease_loaded(self) -> Lease[ModelT] | None:
        """The model to use if it is in memory now; never waits and never loads."""
        with self._guard:
            return None if self._model is None else self._lease(self._model)

    def loaded(self) -> ModelT | None:
        """The model if it is in memory now, to be looked at; never waits and never loads."""
        return self._model

    @property
    def idle_seconds(self) -> float | None:
        """How long the model in memory has not been used; None if there is none or it is in use."""
        with self._guard:
            return self._idle_seconds()

    def free(self, idle_seconds: float = 0.0, *, patience: float = 0.0) -> bool:
        """Frees the model if it has not been used for so long, and tells whether it did.

        A model in use is left alone. The next lease loads the model again.

        Args:
            idle_seconds: How long nobody may have used it.
            patience: Seconds to wait for a load or another freeing under way; else left alone.
        """
        if not self._changing.acquire(timeout=patience):
            return False
        try:
            model = self._taken_if_idle(idle_seconds)
            if model is None:
                return False
            model.close()
            del model
            memory.give_back()
            self.claimed_bytes = 0
            return True
        finally:
            self._changing.release()

    def close(self, timeout: float = -1) -> None:
        """Frees the model and refuses further use; waits `timeout` seconds for a running load."""
        if not self._changing.acquire(timeout=timeout):
            return
        with self._guard:
            self.state = "closed"
            model, self._model = self._model, None
        self._changing.release()
        if model is not None:
            model.close()

    def _loaded_once(self) -> Lease[ModelT]:
        before = self.state, "", self.failure
        self.state, self.activity, self.failure = "loading", "loading", None
        try:
            model = self._load(self._report)
        except Overloaded:
            self.state, self.activity, self.failure = before
            raise
        except EngineError as error:
            # A copy, for what was raised holds all that was at hand, the failure before included.
            self.state, self.activity, self.failure = "failed", "", copy(error)
            raise
        except BaseException:
            self.state, self.activity = "failed", ""
            self.failure = Unavailable(
                f"The {self.name} could not be loaded because of an error in npu-gateway; "
                "the traceback is in its log on stderr."
            )
            raise
        with self._guard:
            self._model, self.state, self.activity = model, "ready", ""
            return self._lease(model)

    def _report(self, activity: str) -> None:
        self.activity = activity

    def _lease(self, model: ModelT) -> Lease[ModelT]:
        self._leases += 1
        return Lease(model, self._released)

    def _released(self) -> None:
        with self._guard:
            self._leases -= 1
            self._last_use = self._clock()

    def _idle_seconds(self) -> float | None:
        if self._model is None or self._leases:
            return None
        return self._clock() - self._last_use

    def _taken_if_idle(self, least: float) -> ModelT | None:
        with self._guard:
            idle = self._idle_seconds()
            if idle is None or idle < least:
                return None
            model, self._model = self._model, None
            self.state = "idle"
            return model
