"""Checks that the base install resolves to wheels for CPython 3.12 on Windows ARM64.

pip evaluates environment markers for the machine it runs on, so the requirements are read from
pyproject.toml and their markers evaluated for the target here. Nothing is installed.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

TARGET = {
    "implementation_name": "cpython",
    "os_name": "nt",
    "platform_machine": "ARM64",
    "platform_python_implementation": "CPython",
    "platform_system": "Windows",
    "python_full_version": "3.12.10",
    "python_version": "3.12",
    "sys_platform": "win32",
}


def main() -> int:
    """Downloads the wheels into a folder that is thrown away; exit status as pip's."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["qnn"]
    requirements = [Requirement(line) for line in wanted]
    lines = [
        str(one).split(";")[0]
        for one in requirements
        if one.marker is None or one.marker.evaluate(TARGET)
    ]
    print("\n".join(lines))  # noqa: T201 - a check talks to whoever runs it.
    with tempfile.TemporaryDirectory() as folder:
        target = ["--platform", "win_arm64", "--python-version", "3.12", "--implementation", "cp"]
        command = [sys.executable, "-m", "pip", "download", "-qq", *target]
        return subprocess.call([*command, "--only-binary=:all:", "--dest", folder, *lines])


if __name__ == "__main__":
    raise SystemExit(main())
