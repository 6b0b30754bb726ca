"""Sockets are had before anything is said, and nobody else's is taken."""

import socket
import stat
import sys

import pytest

from engine.errors import Unavailable
from mcp_server.http.listening import file_remover, listening, url
from mcp_server.settings import Settings

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def test_port_0_takes_a_free_port_and_tells_which():
    with listening(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        assert url(listener) == f"http://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            pass


def test_no_part_of_an_answer_waits_for_the_one_before_it_to_be_acknowledged():
    with listening(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=60), listener.accept()[0] as one:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named_in_one_sentence():
    with listening(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        refused = pytest.raises(Unavailable, match=f"Port {port} of 127.0.0.1")
        with refused, listening(Settings(port=port)):
            pass


def test_a_name_that_leads_nowhere_is_told():
    refused = pytest.raises(Unavailable, match="cannot be listened on")
    with refused, listening(Settings(host="192.0.2.1", port=0)):
        pass


@posix
def test_a_unix_socket_is_its_owners_alone_and_gone_in_the_end(tmp_path):
    place = tmp_path / "own.sock"
    with listening(Settings(uds=place)) as listener:
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert url(listener) == f"unix:{place}"
    assert not place.exists()


@posix
def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path):
    place = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place))
    with listening(Settings(uds=place)), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(place))


@posix
def test_what_is_no_socket_or_in_use_is_left_alone(tmp_path):
    place = tmp_path / "file"
    place.write_text("kept")
    with pytest.raises(Unavailable, match="no socket"), listening(Settings(uds=place)):
        pass
    assert place.read_text() == "kept"
    used = tmp_path / "used.sock"
    with listening(Settings(uds=used)):
        refused = pytest.raises(Unavailable, match="Another server")
        with refused, listening(Settings(uds=used)):
            pass
        assert used.exists()
    far = tmp_path / "none" / "far.sock"
    with pytest.raises(Unavailable, match="cannot be made"), listening(Settings(uds=far)):
        pass


@posix
def test_the_file_of_a_closed_socket_can_be_removed_but_not_what_is_there_since(tmp_path):
    place = tmp_path / "own.sock"
    with listening(Settings(uds=place)) as listener:
        remove = file_remover(listener)
        listener.close()
        place.rename(tmp_path / "moved.sock")
        with listening(Settings(uds=place)):
            remove()
            assert place.exists()
        (tmp_path / "moved.sock").rename(place)
        remove()
        assert not place.exists()
        remove()


def test_a_port_has_no_file_to_remove():
    with listening(Settings(port=0)) as listener:
        remove = file_remover(listener)
    remove()
