"""The processes of `compose.yaml`, run by hand on loopback.

Commands and environments are those of the file, translated to one machine without containers: names of services become
127.0.0.1, ports become free ones, and folders of a container become folders of the rehearsal.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from interpdisc_core.errors import PlanError

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = CHECKOUT / "deploy" / "compose.yaml"

SERVICE_PORTS = {
    "database": ("5432",),
    "store": ("9000",),
    "server": ("4200",),
    "scheduler": ("8786", "8787"),
    "workers": ("8788",),
    "runner": ("8080",),
    "pages": ("8000",),
}
"""Ports that services listen on, inside their containers."""

PROGRAMS = {
    "python": (sys.executable, "-P"),
    "prefect": (sys.executable, "-P", "-m", "prefect"),
    "dask": (sys.executable, "-P", "-m", "dask"),
    "interpdisc": (str(Path(sys.executable).with_name("interpdisc")),),
}
"""How the commands of the image are called in this environment."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<other>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service of the file, with its variables substituted but nothing translated."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    replicas: int


def load_services(environment: Mapping[str, str], file: Path = COMPOSE_FILE) -> dict[str, ComposeService]:
    """The services of `file` by name, `${…}` replaced from `environment` as Compose does.

    Raises PlanError for a variable that must be given and is not.
    """
    payload = yaml.safe_load(file.read_text())
    return {
        name: _parse_service(name, _substitute_variables(service, environment))
        for name, service in payload["services"].items()
    }


def _parse_service(name: str, payload: dict[str, Any]) -> ComposeService:
    return ComposeService(
        name,
        tuple(map(str, payload.get("command", ()))),
        {key: str(value) for key, value in (payload.get("environment") or {}).items()},
        int(payload.get("deploy", {}).get("replicas", 1)),
    )


def _substitute_variables(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute_variables(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute_variables(item, environment) for item in value]
    return (
        _VARIABLE.sub(lambda match: _resolve_variable(match, environment), value) if isinstance(value, str) else value
    )


def _resolve_variable(match: "re.Match[str]", environment: Mapping[str, str]) -> str:
    if value := environment.get(match["name"]):
        return value
    if match["kind"] == ":?":
        raise PlanError(f"{match['name']} is not set: {match['other']}.")
    return match["other"] or ""


@dataclass(frozen=True, slots=True)
class Translation:
    """Translates from the file to this machine.

    Attributes:
        ports: This machine's ports, by service and the port in the file.
        folder: For folders of containers.
    """

    ports: Mapping[tuple[str, str], int]
    folder: Path

    def translate_command(self, service: ComposeService) -> list[str]:
        """The command of a service, for this machine."""
        program, *rest = service.command
        return [*PROGRAMS[program], *(self.translate_text(service.name, argument) for argument in rest)]

    def translate_environment(self, service: ComposeService) -> dict[str, str]:
        """The environment of a service, for this machine, without what the image sets."""
        hosts = dict.fromkeys(SERVICE_PORTS, "127.0.0.1")
        replacements = hosts | {port: str(number) for (_, port), number in self.ports.items()}
        return {
            name: replacements.get(value) or self.translate_text(service.name, value)
            for name, value in service.environment.items()
        }

    def translate_text(self, service: str, text: str) -> str:
        """One argument or value."""
        own_ports = {port: number for (name, port), number in self.ports.items() if name == service}
        if text in own_ports:
            return str(own_ports[text])
        for (name, port), number in self.ports.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}:{port}\b", f"127.0.0.1:{number}", text)
        for port, number in own_ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{number}")
        text = text.replace("0.0.0.0", "127.0.0.1")
        if text.startswith("/etc/dask-tls/"):  # the volume that `certificates` fills, as the others see it
            return f"{self.folder}/certificates/{text.removeprefix('/etc/dask-tls/')}"
        return re.sub(r"^/(?:tmp|var/lib/interpdisc)(?=/|$)", lambda _: f"{self.folder}/{service}", text)
