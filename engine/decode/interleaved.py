"""Interleaved: several answers, fetched in turn.

Knows which answer a piece belongs to, and nothing of what is in it. Blocking, as `Answer` is.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from engine.decode.answer import Answer
from engine.decode.sequence import Piece


class Interleaved(Iterator[list[tuple[int, Piece]]]):
    """The pieces of answers as they are made, each with the position of its answer among them.

    Answers of one decoder grow together, whichever is fetched from. Exhaust or close it.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = answers
        self._turns = deque(enumerate(answers))

    def __next__(self) -> list[tuple[int, Piece]]:
        """The next piece of the answer whose turn it is, and those that are ready then.

        Raises:
            StopIteration: All have ended.
            EngineError: As `Answer` does; then all are closed.
        """
        pieces = [self._fetched()]
        while self._turns and self._turns[0][1].has_ready:
            pieces.append(self._fetched())
        return pieces

    def interrupt(self) -> None:
        """Makes a fetch that is under way in another thread end soon; only `close` may follow."""
        for answer in self._answers:
            answer.interrupt()

    def close(self) -> None:
        """Ends all answers, after the running step at the latest."""
        for answer in self._answers:
            answer.close()

    def _fetched(self) -> tuple[int, Piece]:
        while self._turns:
            index, answer = self._turns[0]
            try:
                piece = next(answer)
            except StopIteration:
                self._turns.popleft()
                continue
            except BaseException:
                self.close()
                raise
            self._turns.rotate(-1)
            return index, piece
        raise StopIteration
