"""Answer: the caller's end of a sequence: its pieces, one after the other, until the last.

Knows no token. Several answers of one model may be fetched from several threads: each fetch that
finds nothing ready brings all of them on by a step.
"""

from collections.abc import Callable, Iterator

from engine.decode.loop import Loop
from engine.decode.sequence import Piece, Sequence
from engine.runtime.session import Stop

Begun = tuple[Loop, Sequence]


class Answer(Iterator[Piece]):
    """An answer's pieces. It begins with the first one that is asked for.

    Exhaust or close it: until then it keeps its place. One thread at a time may fetch from it.
    """

    def __init__(self, begin: Callable[[Stop], Begun]) -> None:
        """An answer that has not begun.

        Args:
            begin: Makes the sequence that this stop ends and says which loop brings it on, or
                raises what is wrong with the request.
        """
        self._stop = Stop()
        self._begin: Callable[[Stop], Begun] | None = begin
        """None once it is closed."""
        self._begun: Begun | None = None

    def __next__(self) -> Piece:
        """The next piece.

        Raises:
            StopIteration: The last one has been fetched, or the answer was closed.
            EngineError: What is wrong with the request or the model; nothing follows it.
        """
        try:
            return self._fetched(*(self._begun or self._started()))
        except BaseException:
            self.close()
            raise

    @property
    def has_ready(self) -> bool:
        """Whether the next piece has been made already, so that fetching it takes no run."""
        begun = self._begun
        return begun is not None and bool(begun[1].pieces)

    def interrupt(self) -> None:
        """Makes a fetch that is under way in another thread end soon; only `close` may follow."""
        self._stop.set()

    def close(self) -> None:
        """Ends the answer, after the running step at the latest, and frees what it holds."""
        self._stop.set()
        # Before `_begun` is looked at: `_started` looks at the two the other way round.
        self._begin = None
        begun, self._begun = self._begun, None
        if begun is not None:
            loop, sequence = begun
            loop.remove(sequence)

    def _started(self) -> Begun:
        begin = self._begin
        if begin is None:
            raise StopIteration
        self._begun = loop, sequence = begin(self._stop)
        loop.add(sequence)
        if self._begin is None:  # Closed by another thread meanwhile.
            loop.remove(sequence)
        return loop, sequence

    def _fetched(self, loop: Loop, sequence: Sequence) -> Piece:
        while not (sequence.pieces or sequence.has_ended):
            loop.step_for(sequence)
        if sequence.pieces:
            return sequence.pieces.popleft()
        raise StopIteration if sequence.error is None else sequence.error
