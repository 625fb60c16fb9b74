"""Print what the project and some of its extras require, a line each: `python requirements.py torch flows rover`.

pip installs a project's dependencies only together with the project; an image wants them in a layer of their own.
"""

import sys
import tomllib
from pathlib import Path


def required(pyproject: Path, extras: list[str]) -> list[str]:
    """The requirements in `pyproject`, those of `extras` after those of the project. KeyError for an unknown extra."""
    project = tomllib.loads(pyproject.read_text())["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


if __name__ == "__main__":
    print("\n".join(required(Path("pyproject.toml"), sys.argv[1:])))
