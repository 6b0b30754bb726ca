"""Tasks: the tasks of one gateway, bounded in number and in time, each for the one who began it.

Knows no wire. Rule: where there is no room for a task, its call is one like any other, whose client
waits for the answer; what a client was told will be kept is never thrown out for another one.
"""

import time
from collections.abc import Awaitable, Callable, Mapping

from anyio import sleep
from anyio.abc import TaskGroup
from mcp.server.context import HandlerResult

from mcp_server.asking import Asker
from mcp_server.tasks.lasting import LASTING, Lasting
from mcp_server.tasks.task import Clock, Task

_MOST = 500
"""Tasks at once, ended ones included: with results of at most 100,000 characters about 50 MB. Four
slots, with calls that outlast their patience of 5 s, begin 480 while a told one is kept."""

_LOOK_SECONDS = 60.0


class Tasks:
    """The tasks of one gateway."""

    def __init__(
        self,
        lasting: Mapping[str, Lasting] = LASTING,
        most: int = _MOST,
        clock: Clock = time.monotonic,
    ) -> None:
        """
        Args:
            lasting: Tools whose calls may become tasks, by name.
            most: Tasks at once.
            clock: Seconds, never going back.
        """
        self.group: TaskGroup | None = None
        """Where tasks run; while there is none, no call becomes one."""
        self.lasting = dict(lasting)
        self._most = most
        self._clock = clock
        self._tasks: dict[str, Task] = {}

    def begin(self, asker: Asker, call: Callable[[Task], Awaitable[HandlerResult]]) -> Task | None:
        """Begins a call that may become a task; None: there is no room for one.

        Args:
            asker: Who calls, and who alone will find the task.
            call: Makes the call.
        """
        self.forget_old()
        if self.group is None or len(self._tasks) >= self._most:
            return None
        task = Task(asker, self._clock)
        self._tasks[task.id] = task
        self.group.start_soon(task.run, call)
        return task

    def find(self, task_id: str, caller: str) -> Task | None:
        """A task of a caller; None: there is none, or it is somebody else's."""
        self.forget_old()
        task = self._tasks.get(task_id)
        return task if task is not None and task.caller == caller else None

    def drop(self, task: Task) -> None:
        """Forgets a task, and ends it if it has not ended."""
        task.cancel()
        self._tasks.pop(task.id, None)

    def forget_old(self) -> None:
        """Drops the tasks that nobody has asked for for too long."""
        for task in [one for one in self._tasks.values() if one.is_forgotten]:
            self.drop(task)

    async def keep_forgetting(self) -> None:
        """Drops old tasks while nobody asks for any."""
        while True:
            await sleep(_LOOK_SECONDS)
            self.forget_old()
