"""Answer: the caller's end of a sequence: its pieces, one after the other, until the last.

Knows no token. Several answers of one model may be fetched from several threads: each fetch that
finds nothing ready brings all of them on by a step.
"""

from collections.abc import Callable, Iterator

from engine.decode.loop import Loop
from engine.decode.sequence import Piece, Sequence


class Answer(Iterator[Piece]):
    """An answer's pieces. It begins with the first one that is asked for.

    Exhaust or close it: until then it keeps its place. One thread at a time may fetch from it.
    """

    def __init__(self, begin: Callable[[], tuple[Loop, Sequence]]) -> None:
        """An answer that has not begun.

        Args:
            begin: Makes the sequence and says which loop brings it on, or raises what is wrong
                with the request.
        """
        self._begin = begin
        self._begun: tuple[Loop, Sequence] | None = None
        self._is_closed = False

    def __next__(self) -> Piece:
        """The next piece.

        Raises:
            StopIteration: The last one has been fetched, or the answer was closed.
            EngineError: What is wrong with the request or the model; nothing follows it.
        """
        if self._is_closed:
            raise StopIteration
        try:
            return self._fetched()
        except BaseException:
            self.close()
            raise

    @property
    def has_ready(self) -> bool:
        """Whether the next piece has been made already, so that fetching it takes no run."""
        return self._begun is not None and bool(self._begun[1].pieces)

    def interrupt(self) -> None:
        """Makes a fetch that is under way in another thread end soon; only `close` may follow."""
        if self._begun is not None:
            self._begun[1].stop.set()

    def close(self) -> None:
        """Ends the answer, after the running step at the latest, and frees what it holds."""
        self._is_closed = True
        if self._begun is not None:
            loop, sequence = self._begun
            loop.remove(sequence)

    def _fetched(self) -> Piece:
        if self._begun is None:
            loop, sequence = self._begin()
            loop.add(sequence)
            self._begun = loop, sequence
        loop, sequence = self._begun
        while not sequence.pieces:
            if sequence.error is not None:
                raise sequence.error
            if sequence.has_ended:
                raise StopIteration
            loop.step_for(sequence)
        return sequence.pieces.popleft()
