"""Starts and stops the server over stdio again and again, killing it or its host at random moments.

    python examples/checkers/starts_and_stops.py --models-dir DIR [--count 100] [--seed 1]

All starts share one index. Every death must leave no process, an index that is sound, and nothing
that keeps the next start from indexing at once; every handshake must be done in time while the
models load; stdout must carry JSON-RPC alone and stderr no traceback. Prints a table and what was
violated, and ends with 1 if anything was. Each case can be had again by the seed that it prints,
but for what chance the machine's load adds. Needs Linux, to see processes and what they were
started with; both default models, for there to be something to load.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOST = Path(__file__).with_name("one_host.py")
MARK = "STARTS_AND_STOPS"
HANDSHAKE_SECONDS = 3.0

MOMENTS = ("start", "load", "index", "generate")
"""Before the handshake, right after it, and in the middle of a call."""


@dataclass(frozen=True)
class Death:
    """A way to end."""

    seconds: float
    """The longest it may take."""
    codes: tuple[int, ...] = ()
    """Exit codes, where there is somebody to see them."""
    kills_host: bool = False
    holds_pipe: bool = False
    """Whether a third party keeps the server's stdin open."""


DEATHS = {
    "end of stdin": Death(3.0, (0,)),
    "SIGTERM": Death(2.0, (0,)),
    "SIGINT": Death(2.0, (128 + signal.SIGINT,)),
    "SIGHUP": Death(2.0, (128 + signal.SIGHUP,)),
    "SIGKILL": Death(1.0, (-signal.SIGKILL,)),
    "host killed": Death(3.0, kills_host=True),
    "host killed, pipe held": Death(10.0, kills_host=True, holds_pipe=True),
}

NOT_AT_START = ("SIGINT", "SIGHUP", "host killed, pipe held")
"""What Python itself answers before the server's first line, and a host that ends before the server
could see who it is: then only the end of stdin tells."""

STARTING_SECONDS = 6.0
"""More, for a process that has not yet come to look."""


@dataclass
class Case:
    """One start and its stop."""

    number: int
    seed: int
    era: str
    moment: str
    death: str
    delay: float
    hello: float = 0.0
    """Seconds from the start to the list of tools."""
    cpu: float = 0.0
    """Of the CPU, until then."""
    ending: float = 0.0
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """A row of the table."""
        told = "; ".join(self.violations) or "ok"
        hello = f"{self.hello:5.2f} {self.cpu:4.2f}" if self.hello else "    -    -"
        return (
            f"{self.number:4} {self.seed:10} {self.era:6} {self.moment:8} {self.death:22} "
            f"{self.delay:5.2f} {hello} {self.ending:6.2f} {told}"
        )


@dataclass(frozen=True)
class Place:
    """Where all of it happens."""

    folder: Path
    models_dir: Path
    command: tuple[str, ...]

    @property
    def index(self) -> Path:
        """The one index of all starts."""
        return self.folder / "data" / "index.sqlite"

    @property
    def documents(self) -> Path:
        """What is indexed: more before each start, so that there is always something to do."""
        return self.folder / "documents"

    @property
    def log(self) -> Path:
        """stderr of the server."""
        return self.folder / "log"

    def serve(self) -> list[str]:
        """The command line of a server."""
        words = ("serve", "--offline", "--data-dir", str(self.folder / "data"))
        return [
            *(*self.command, *words, "--models-dir", str(self.models_dir)),
            *("--root", str(self.documents)),
        ]


def drawn(number: int, seed: int) -> Case:
    """A case, all of which follows from its seed."""
    chance = random.Random(seed)
    era, moment = chance.choice(["legacy", "modern"]), chance.choice(MOMENTS)
    deaths = [name for name in DEATHS if moment != "start" or name not in NOT_AT_START]
    death, delay = chance.choice(deaths), chance.uniform(0, 0.8)
    return Case(number, seed, era, moment, death, delay)


def write_documents(place: Place, case: Case) -> None:
    """New files, some of which are read by a process of their own."""
    chance = random.Random(case.seed)
    for number in range(60):
        words = " ".join(chance.choice(["heron", "ledger", "valve", "tide"]) for _ in range(150))
        kind = "html" if number % 10 == 0 else "md"
        (place.documents / f"{case.number}-{number}.{kind}").write_text(f"<p>{words}</p>\n")


def run(place: Place, case: Case, *, indexes_first: bool) -> None:
    """Starts a server under a host, and ends one of them.

    Args:
        place: Where.
        case: What; takes what is found.
        indexes_first: Whether indexing must begin before all else, as after a death amid it.
    """
    death = DEATHS[case.death]
    reading, writing = os.pipe()
    plan = {
        "command": place.serve(),
        "era": case.era,
        "moment": case.moment,
        "indexes_first": indexes_first,
        "delay": case.delay,
        "folder": str(place.documents),
        "log": str(place.log),
        "reading": reading,
        "writing": writing,
    }
    with subprocess.Popen(
        [sys.executable, str(HOST), json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(reading, writing),
        env=environment(case),
        text=True,
    ) as host:
        os.close(reading)
        if not death.holds_pipe:
            os.close(writing)
        pid = heard(case, host, until="at")
        began = time.monotonic()
        if death.kills_host:
            host.kill()
            await_end(case, pid)
        else:
            tell(host, case.death)
            heard(case, host, until="ended")
        case.ending = time.monotonic() - began
    if death.holds_pipe:
        os.close(writing)


def environment(case: Case) -> dict[str, str]:
    """As a host's, with a mark; Python keeps what it has compiled, as it does elsewhere."""
    own = dict(os.environ)  # noqa: TID251 - a process needs all of it.
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    return own | {MARK: str(case.seed)}


def tell(host: subprocess.Popen[str], how: str) -> None:
    """Says to a host how its server ends."""
    assert host.stdin is not None
    host.stdin.write(f"{how}\n")
    host.stdin.flush()


def heard(case: Case, host: subprocess.Popen[str], until: str) -> int:
    """Takes down what a host tells; the server's process, if that was told."""
    assert host.stdout is not None
    pid = 0
    for line in host.stdout:
        told = json.loads(line)
        match told["event"]:
            case "started":
                pid = told["pid"]
            case "hello":
                case.hello, case.cpu = told["seconds"], told["cpu_seconds"]
            case "refused":
                case.violations.append(f"refused: {told['text']}")
            case "ended":
                examine_end(case, told)
        if told["event"] == until:
            return pid
    case.violations.append("the host ended before its time")
    return pid


def examine_end(case: Case, told: dict) -> None:
    """Compares an end with what it may be."""
    death = DEATHS[case.death]
    by_default = (-getattr(signal, case.death, 0),) if case.moment == "start" else ()
    if told["code"] not in death.codes + by_default:
        case.violations.append(f"exit code {told['code']}")
    if told["unsound"]:
        case.violations.append(f"{told['unsound']} lines on stdout are no JSON-RPC")


def await_end(case: Case, pid: int) -> None:
    """Waits for a server whose host is gone."""
    end = time.monotonic() + 10 * allowed(case)
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process has not ended, if only nobody has taken note of its end."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def allowed(case: Case) -> float:
    """Seconds that a death may take."""
    return DEATHS[case.death].seconds + (STARTING_SECONDS if case.moment == "start" else 0)


def examine(place: Place, case: Case, patience: float) -> None:
    """What must hold after every death."""
    if case.ending > patience * allowed(case):
        case.violations.append(f"took {case.ending:.1f} s to end")
    if case.hello > patience * HANDSHAKE_SECONDS:
        case.violations.append(f"handshake after {case.hello:.1f} s")
    if left := settled_orphans(case.seed):
        case.violations.append(f"still there: {left}")
    if b"Traceback" in place.log.read_bytes():
        case.violations.append(f"a traceback: {place.log.read_bytes()[-300:]!r}")
    if place.index.exists():
        with closing(sqlite3.connect(place.index)) as database:
            (found,) = database.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            case.violations.append(f"the index is damaged: {found}")


def settled_orphans(seed: int) -> list[str]:
    """The processes of a case that outlive it by more than a moment."""
    end = time.monotonic() + 2.0
    while (left := list(orphans(seed))) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def orphans(seed: int) -> Iterator[str]:
    """Processes that were started within a case, by what is in their environment."""
    mark = f"{MARK}={seed}".encode()
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (each / "environ").read_bytes().split(b"\0"):
                yield (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100]


def summary(cases: list[Case]) -> str:
    """Figures of all cases."""
    hellos = sorted(case.hello for case in cases if case.hello)
    lines = [f"{len(cases)} starts, {sum(bool(case.violations) for case in cases)} with violations"]
    if hellos:
        cpus = sorted(case.cpu for case in cases if case.hello)
        lines.append(f"CPU until then: median {cpus[len(cpus) // 2]:.2f} s, most {cpus[-1]:.2f} s")
        lines.append(f"handshake: median {hellos[len(hellos) // 2]:.2f} s, most {hellos[-1]:.2f} s")
    for name, count in Counter(case.death for case in cases).items():
        after = [each.ending for each in cases if each.death == name and each.moment != "start"]
        lines.append(f"{name}: {count} times, ended in {max(after, default=0):.2f} s at most")
    return "\n".join(lines)


def main() -> int:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times as long, where it is busy"
    )
    arguments = parser.parse_args()
    seeds = random.Random(arguments.seed)
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "mcp_server")
        place = Place(Path(folder), arguments.models_dir.resolve(), command)
        place.documents.mkdir()
        print("case       seed era    moment   death                  delay hello  cpu ending")
        for number in range(1, arguments.count + 1):
            case = drawn(number, seeds.randrange(10**9))
            write_documents(place, case)
            run(place, case, indexes_first=bool(cases) and cases[-1].moment == "index")
            examine(place, case, arguments.patience)
            cases.append(case)
            print(case.line(), flush=True)
    print(summary(cases))
    return int(any(case.violations for case in cases))


if __name__ == "__main__":
    sys.exit(main())
