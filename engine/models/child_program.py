"""The program between us and a child: `python child_program.py COMMAND...`; it ends when we do.

Its standard input is a pipe of which nobody but its starter has the other end. When that is closed,
as it is however the starter ends, the child is killed: no orphan goes on fetching or compiling. A
signal at the starter's end would not do: there is one on Linux alone, and there it comes with the
end of the thread that started the child. Knows nothing of this package, whose imports take time.
"""

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Runs a command without standard input; how it ended is how this ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{command[0]} could not be started ({error})\n")
        return 127
    threading.Thread(target=_kill_at_the_end, args=[child], daemon=True).start()
    return child.wait()


def _kill_at_the_end(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    child.kill()


def _end_as(code: int) -> None:
    """Ends this process as its child has ended, by the same signal or with the same number."""
    sys.stderr.flush()
    if code < 0 and sys.platform != "win32":
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code - 2**32 if code >= 2**31 else code)


if __name__ == "__main__":
    _end_as(main(sys.argv[1:]))
