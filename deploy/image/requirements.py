"""Print what both distributions require, a line each: `python requirements.py torch rover`, the extras of the library.

pip installs a project's dependencies only together with the project; an image wants them in a layer of their own.
"""

import sys
import tomllib
from pathlib import Path


def list_requirements(root: Path, extras: list[str]) -> list[str]:
    """Requirements of the library, of its `extras`, and of the application, from the two `pyproject.toml` below `root`.

    Raises:
        KeyError: For an extra that the library does not have.
    """
    library = tomllib.loads((root / "interpdisc_core" / "pyproject.toml").read_text())["project"]
    application = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    own = library["name"]
    return [
        *library["dependencies"],
        *(requirement for extra in extras for requirement in library["optional-dependencies"][extra]),
        *(requirement for requirement in application["dependencies"] if not requirement.startswith(own)),
    ]


if __name__ == "__main__":
    print("\n".join(list_requirements(Path(), sys.argv[1:])))
