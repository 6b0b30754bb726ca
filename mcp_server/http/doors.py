"""Door: what one route asks of whoever comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import Match, Route
from starlette.types import Scope

from mcp_server import keys


def _never(_: Scope) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Before one route."""

    name: str
    """Of the route, for logs and metrics."""
    path: str
    """As in the table of routes; for traces."""
    scopes: frozenset[keys.Scope] | None
    """What a key must allow; None lets everyone in, and at any time."""
    is_page: bool = False
    """People open it in a browser, and give the key as a password."""
    is_endless: Callable[[Scope], bool] = _never
    """Whether a request to it is answered by a stream that does not end by itself."""
    advice: str = ""
    """What to do instead, for whoever comes with a method that is not taken."""


NOWHERE = Door(name="", path="", scopes=frozenset())
"""Where there is no route: any key will do, and then it is not found."""


class Doors:
    """The doors of all routes."""

    def __init__(self, rows: Sequence[tuple[Route, Door]]) -> None:
        self._rows = rows

    def find(self, scope: Scope) -> Door:
        """The door that a request stands before: that of a route which takes its method, if there
        is one."""
        matches = [(route.matches(scope)[0], door) for route, door in self._rows]
        for wanted in (Match.FULL, Match.PARTIAL):
            for match, door in matches:
                if match is wanted:
                    return door
        return NOWHERE

    def methods(self, scope: Scope) -> list[str]:
        """The methods that a request's path takes, in the order of the alphabet."""
        return sorted(
            {
                method
                for route, _ in self._rows
                if route.matches(scope)[0] is not Match.NONE
                for method in route.methods or ()
            }
        )
