"""Subscribers: who wants to be told when something changes, on whichever server they are.

A bus of the SDK, one for all servers over a gateway. Knows nothing of what changes. Rule: while
nobody listens, nobody has to look for changes.
"""

from collections.abc import Callable

from anyio import Event
from mcp.server.subscriptions import InMemorySubscriptionBus, ServerEvent

Listener = Callable[[ServerEvent], None]


class Subscribers:
    """A `SubscriptionBus` that can be waited for until somebody listens."""

    def __init__(self) -> None:
        self.beginnings = 0
        """How often somebody has begun to listen while nobody else did."""
        self._bus = InMemorySubscriptionBus()
        self._listening: set[object] = set()
        self._came = Event()

    async def publish(self, event: ServerEvent) -> None:
        """Tells all who listen."""
        await self._bus.publish(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds who is told from now on; what is returned ends it, and may be called twice."""
        leave, one = self._bus.subscribe(listener), object()
        self.beginnings += not self._listening
        self._listening.add(one)
        self._came.set()

        def left() -> None:
            leave()
            if self._listening == {one}:
                self._came = Event()
            self._listening.discard(one)

        return left

    async def somebody(self) -> None:
        """Returns once somebody listens."""
        await self._came.wait()
