"""What a user sets once: a configuration file, read as defaults of environment variables.

The file is in the user's own configuration folder. The current folder is never searched: it may be somebody else's
data, and a file there must not choose where results go.
"""

import difflib
import os
import tomllib
from collections.abc import MutableMapping
from pathlib import Path

import platformdirs

from interpdisc_core.errors import PlanError

CONFIG_SETTINGS = {
    "archive": "the archive that commands use",
    "data": "the images, if no SOURCE is given",
    "scheduler": "the address of a Dask scheduler",
    "workers": "worker processes on this machine",
    "max_outstanding": "the largest share of inputs that a run goes on without, since they cannot be got at",
    "pages": "the address at which `interpdisc serve` shows the pages of the archive",
    "author": "your name, for verdicts",
}
"""Names in the file; INTERPDISC_ and the name in capitals is the environment variable."""


def find_config_file() -> Path:
    """The path of the configuration file, whether it exists or not."""
    return Path(platformdirs.user_config_dir("interpdisc"), "config.toml")


def load_config(path: Path, environment: MutableMapping[str, str]) -> None:
    """Put the settings of a configuration file into `environment`, except those that are set there.

    Args:
        path: A TOML file; nothing happens if it does not exist.
        environment: Usually `os.environ`.

    Raises:
        PlanError: If the file is not TOML, or has a setting that does not exist or is no text or number.
    """
    try:
        payload = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: cannot be read as TOML: {error}.") from None
    for name, value in payload.items():
        if name not in CONFIG_SETTINGS:
            close = difflib.get_close_matches(name, CONFIG_SETTINGS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(CONFIG_SETTINGS)}."
            raise PlanError(f"{path}: there is no setting {name!r}; {hint}")
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise PlanError(f"{path}: {name} must be a text or a number, not {value!r}.")
        text = os.path.expanduser(value) if isinstance(value, str) else str(value)
        environment.setdefault(f"INTERPDISC_{name.upper()}", text)
