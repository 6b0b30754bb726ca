"""The generation of an index: a number that rises with every change of what can be found."""

from engine.store.connection import View


def generation(view: View) -> int:
    """The one that a transaction sees."""
    return int(view.value("SELECT value FROM meta WHERE key = 'generation'"))


def count_change(view: View) -> None:
    """Belongs into every transaction that changes what can be found, or what filters look at."""
    view.rows("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
