"""Backup: copies photographs and papers to the external disk every night, so nothing is ever lost.

The disk sits behind the bookshelf and is only mounted while this runs. Seven daily copies and the
first of each month are kept; files that did not change since the last run are hard links, so a copy
costs little room. To bring everything back after a broken computer, connect the disk and drag the
newest dated folder to the new one.
"""

import datetime
import pathlib
import shutil
import subprocess

SOURCES = [pathlib.Path.home() / "Photos", pathlib.Path.home() / "Papers"]
DISK = pathlib.Path("/media/shelf")
DAYS_KEPT = 7


def newest_copy() -> pathlib.Path | None:
    """The dated folder of the last successful run."""
    copies = sorted(folder for folder in DISK.glob("20??-??-??") if (folder / "complete").exists())
    return copies[-1] if copies else None


def copy(today: datetime.date) -> None:
    """Makes today's dated folder; unchanged files become links into the one before."""
    target, before = DISK / today.isoformat(), newest_copy()
    for source in SOURCES:
        command = ["rsync", "--archive", "--delete", f"{source}/", f"{target / source.name}/"]
        if before is not None:
            command.insert(2, f"--link-dest={before / source.name}")
        subprocess.run(command, check=True)
    (target / "complete").touch()


def thin_out(today: datetime.date) -> None:
    """Drops what is older than a week, except the first of each month."""
    for folder in DISK.glob("20??-??-??"):
        day = datetime.date.fromisoformat(folder.name)
        if (today - day).days > DAYS_KEPT and day.day != 1:
            shutil.rmtree(folder)


if __name__ == "__main__":
    copy(datetime.date.today())
    thin_out(datetime.date.today())
