"""By which signals a server is told to end, and what its status says of them, on every system."""

import signal
from types import SimpleNamespace

import pytest

from mcp_server import ending

POSIX = {"SIGHUP": 1, "SIGINT": 2, "SIGTERM": 15, "SIGKILL": 9, "SIGPIPE": 13}
WINDOWS = {"SIGINT": 2, "SIGTERM": 15, "SIGBREAK": 21, "CTRL_C_EVENT": 0, "CTRL_BREAK_EVENT": 1}


@pytest.mark.parametrize(
    ("there", "numbers"), [(POSIX, {1, 2, 15}), (WINDOWS, {2, 15, 21}), ({"SIGINT": 2}, {2})]
)
def test_each_system_has_its_signals_and_events_of_consoles_are_none(there, numbers):
    assert set(ending.known(SimpleNamespace(**there))) == numbers


def test_what_this_system_has_is_listened_to():
    assert {signal.SIGINT, signal.SIGTERM} <= set(ending.SIGNALS)


@pytest.mark.parametrize(("number", "status"), [(15, 0), (1, 129), (2, 130), (21, 149)])
def test_the_status_tells_an_end_that_was_wished_from_one_that_was_not(number, status):
    assert ending.status_of(number) == status


def test_a_signal_that_whoever_started_it_had_ignored_ends_nothing():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert signal.SIGINT not in ending.heeded()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert signal.SIGINT in ending.heeded()
    finally:
        signal.signal(signal.SIGINT, before)
