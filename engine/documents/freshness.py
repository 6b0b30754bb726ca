"""Keeps collections fresh: indexes what changes, as it changes.

Owns no thread; closing the generator stops. Knows no store: what runs and what there is are handed
in.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress

from engine.corpus import Collection
from engine.documents.progress import IndexProgress, Seconds
from engine.documents.watcher import WatchOptions, changed_paths
from engine.errors import IndexerBusy

Run = Generator[IndexProgress]

# Collections come and go by other programs too.
_LOOK_SECONDS = 2.0


def keep_fresh(
    collections: Callable[[], Sequence[Collection]],
    run_changed: Callable[[Iterable[str]], Run],
    options: WatchOptions | None = None,
    clock: Seconds = time.monotonic,
) -> Generator[IndexProgress | None]:
    """Brings everything up to date, then whatever changes.

    Yields the steps of each run, and None several times a second while there is nothing to do. A
    run that another indexer is in the way of is made once that is done.

    Args:
        collections: All that there are now.
        run_changed: Brings paths up to date.
        options: When changes are acted upon.
        clock: Seconds; never goes back.
    """
    waiting: set[str] = set()
    while True:
        roots = _roots(collections())
        waiting |= set(roots)
        looked = clock()
        for changed in changed_paths(roots, options, clock):
            waiting |= changed
            if waiting:
                with suppress(IndexerBusy):
                    yield from run_changed(sorted(waiting))
                    waiting.clear()
            yield None
            if clock() - looked >= _LOOK_SECONDS:
                looked = clock()
                if _roots(collections()) != roots:
                    break


def _roots(collections: Iterable[Collection]) -> list[str]:
    return sorted(one.root for one in collections)
