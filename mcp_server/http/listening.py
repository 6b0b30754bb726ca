"""Sockets that a server listens on: an address and port, or a file that only its owner may open."""

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import Unavailable
from mcp_server.settings import Settings

_BACKLOG = 2_048


@contextmanager
def listening(settings: Settings) -> Generator[socket.socket]:
    """A socket that takes connections within the block.

    Raises:
        Unavailable: The address cannot be had; the sentence says what to do.
    """
    if settings.uds is not None:
        with _on_file(settings.uds) as listener:
            yield listener
    else:
        with contextlib.closing(_on_address(settings.host, settings.port)) as listener:
            yield listener


def url(listener: socket.socket) -> str:
    """Where it listens, for people."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def file_remover(listener: socket.socket) -> Callable[[], None]:
    """What removes the file of a socket that has one, also once that is closed; but none that
    another server has put there since."""
    name = listener.getsockname()
    if not isinstance(name, str):
        return lambda: None
    path, made = Path(name), Path(name).lstat()

    def remove() -> None:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.lstat(), made):
                path.unlink()

    return remove


def _on_address(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with _closed_if_failing(socket.socket(family, socket.SOCK_STREAM)) as listener:
            # The usual option would let another process take the port from this one on Windows.
            name = "SO_EXCLUSIVEADDRUSE" if sys.platform == "win32" else "SO_REUSEADDR"
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
            # Taken over by each connection: else an answer in two parts waits 40 ms in between.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            return listener
    except OSError as error:
        raise Unavailable(
            f"Port {port} of {host} cannot be listened on ({error.strerror}); end what listens "
            "there, or choose another one with --port and --host."
        ) from error


@contextmanager
def _closed_if_failing(listener: socket.socket) -> Generator[socket.socket]:
    try:
        yield listener
    except BaseException:
        listener.close()
        raise


@contextmanager
def _on_file(path: Path) -> Generator[socket.socket]:
    if sys.platform == "win32":
        raise Unavailable("Unix sockets are not to be had on Windows; use --port.")
    _remove_stale(path)
    try:
        with _closed_if_failing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
            _bind_for_owner(listener, path)
            listener.listen(_BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"The socket {path} cannot be made ({error}); give another --uds in a folder of yours."
        ) from error
    remove = file_remover(listener)
    try:
        yield listener
    finally:
        listener.close()
        remove()


def _bind_for_owner(listener: socket.socket, path: Path) -> None:
    """Makes the socket's file, which nobody else may open from the first moment on."""
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on any more.

    Raises:
        Unavailable: Somebody does, or it is no socket.
    """
    if sys.platform == "win32":
        return
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Unavailable(f"{path} is no socket and is left alone; give another --uds.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{path} cannot be reached ({error}); give another --uds.") from error
        else:
            raise Unavailable(f"Another server listens on {path}; end it, or give another --uds.")
