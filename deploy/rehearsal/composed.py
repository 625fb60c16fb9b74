"""The processes of `compose.yaml`, as they are run by hand on loopback.

Commands and environments are the file's own. What differs on one machine without containers is translated: names of
services become 127.0.0.1 and ports free ones, folders of a container folders of the rehearsal.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from interpdisc_core.errors import PlanError

FILE = Path(__file__).resolve().parents[1] / "compose.yaml"
CHECKOUT = FILE.parents[1]

LISTENS = {
    "database": ("5432",), "store": ("9000",), "server": ("4200",), "scheduler": ("8786", "8787"), "workers": ("8788",),
    "runner": ("8080",), "pages": ("8000",),
}  # fmt: skip
"""Ports that services listen on, inside their containers."""

PROGRAMS = {
    "python": (sys.executable,),
    "prefect": (sys.executable, "-m", "prefect"),
    "dask": (sys.executable, "-m", "dask"),
    "interpdisc": (sys.executable, "-m", "deploy"),
}
"""How the image's commands are called from a checkout."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<other>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the file, with the variables of its environment filled in but nothing translated."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    replicas: int


def services(environment: Mapping[str, str], file: Path = FILE) -> dict[str, Service]:
    """The services of `file` by name, `${…}` replaced from `environment` as Compose does.

    Raises PlanError for a variable that must be given and is not.
    """
    told = yaml.safe_load(file.read_text())
    return {name: _service(name, _filled(service, environment)) for name, service in told["services"].items()}


def _service(name: str, told: dict[str, Any]) -> Service:
    return Service(
        name,
        tuple(map(str, told.get("command", ()))),
        {key: str(value) for key, value in (told.get("environment") or {}).items()},
        int(told.get("deploy", {}).get("replicas", 1)),
    )


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, environment) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, environment) for one in value]
    return _VARIABLE.sub(lambda found: _given(found, environment), value) if isinstance(value, str) else value


def _given(found: "re.Match[str]", environment: Mapping[str, str]) -> str:
    if value := environment.get(found["name"]):
        return value
    if found["kind"] == ":?":
        raise PlanError(f"{found['name']} is not set: {found['other']}.")
    return found["other"] or ""


@dataclass(frozen=True, slots=True)
class Translation:
    """From the file's world into this machine's. ports: by service and the port that it has there."""

    ports: Mapping[tuple[str, str], int]
    folder: Path

    def command(self, service: Service) -> list[str]:
        """The command of a service, for this machine."""
        program, *rest = service.command
        return [*PROGRAMS[program], *(self.text(service.name, one) for one in rest)]

    def environment(self, service: Service) -> dict[str, str]:
        """The environment of a service, for this machine, beside what the image sets."""
        hosts = dict.fromkeys(LISTENS, "127.0.0.1")
        whole = hosts | {port: str(number) for (_, port), number in self.ports.items()}
        return {name: whole.get(value) or self.text(service.name, value) for name, value in service.environment.items()}

    def text(self, service: str, text: str) -> str:
        """One argument or value."""
        own = {port: number for (name, port), number in self.ports.items() if name == service}
        if text in own:
            return str(own[text])
        for (name, port), number in self.ports.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}:{port}\b", f"127.0.0.1:{number}", text)
        for port, number in own.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{number}")
        text = text.replace("0.0.0.0", "127.0.0.1")
        return re.sub(r"^/(?:tmp|var/lib/interpdisc)(?=/|$)", lambda _: f"{self.folder}/{service}", text)
