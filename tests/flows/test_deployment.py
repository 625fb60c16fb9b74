"""What `deploy/` says is held to its schemas, to least privileges, and to commands that exist."""

import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import automations, run_flow, task_runners
from deploy.health import is_healthy
from deploy.image.requirements import list_requirements
from deploy.image.split_lock import split_lock
from deploy.register import WORK_POOL, RegistrationOptions, create_bucket
from interpdisc_core.errors import PlanError
from tests.rehearsal import composed

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
GIVEN = {
    "POSTGRES_PASSWORD": "p",
    "PREFECT_AUTH": "u:p",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "secret",
    "PAGES_ACCESS_KEY": "pages",
    "PAGES_SECRET_KEY": "read",
    "INTERPDISC_DAILY": "{}",
}
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ONCE = {"store-volume", "certificates", "register"}
"""Services that end by themselves."""
GUARDED = ("PASSWORD", "SECRET", "ACCESS_KEY", "AUTH")
"""What secrets are called."""


def test_compose_is_valid_by_its_specification() -> None:
    """Every key and value; an unknown key is refused, so this can fail."""
    from compose_spec import PyCompose

    filled = composed._substitute_variables(COMPOSE, GIVEN)
    PyCompose.from_json(json.dumps(filled)).to_spec()
    filled["services"]["server"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_json(json.dumps(filled))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    """No root, no capability, nothing written but what is named, no port but on loopback, an image that is pinned."""
    service = COMPOSE["services"][name]
    user, group = map(int, service["user"].split(":"))
    assert user > 0
    assert group > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert service.get("network_mode") in (None, "none")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert all(not volume.startswith(("/", ".", "~")) for volume in service.get("volumes", ())), "no folder of the host"
    tag = service["image"].rpartition(":")[2]
    assert tag not in ("", "latest")
    assert any(letter.isdigit() for letter in tag)
    assert service["pids_limit"] <= 512
    if name not in ONCE:
        assert not service["healthcheck"].get("disable")
        assert service["healthcheck"]["test"]


def test_waiting_is_for_services_that_tell() -> None:
    """Who is waited for until it is healthy has a health check, and who until it ends, ends."""
    for service in COMPOSE["services"].values():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert other not in ONCE
            else:
                assert (how["condition"], other in ONCE) == ("service_completed_successfully", True)


def test_secrets_come_from_the_environment_only() -> None:
    """Each is a variable that must be given; without one nothing starts, and the sentence names it."""
    found = set()
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in GUARDED):
                assert str(value).startswith("${"), f"{name} is written down"
                assert ":?" in value, f"{name} has a default"
                found.add(value)
    assert len(found) >= 4
    for name in GIVEN:
        with pytest.raises(PlanError, match=f"{name} is not set"):
            composed.load_services({other: value for other, value in GIVEN.items() if other != name})


def test_only_the_store_and_feeds_are_reached_from_where_dask_runs() -> None:
    """Dask's protocol runs what it is sent: its scheduler is on the inner network alone, which has no way out."""
    assert COMPOSE["networks"]["inner"] == {"internal": True}
    for name in ("scheduler", "database", "store", "register"):
        assert COMPOSE["services"][name]["networks"] == ["inner"]


def prefect_parses(arguments: list[str]) -> None:
    from prefect.cli._app import _app

    command, _, _ = _app.parse_args(arguments, print_error=False, exit_on_error=False)
    assert command is not None


def click_parses(command: Any, arguments: list[str]) -> None:
    """Parse arguments as the command would, and run nothing."""
    if subcommands := getattr(command, "commands", None):
        click_parses(subcommands[arguments[0]], arguments[1:])
    else:
        command.make_context("it", list(arguments))


def dask_parses(arguments: list[str]) -> None:
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    click_parses({"scheduler": scheduler, "worker": worker}[arguments[0]], arguments[1:])


def interpdisc_parses(arguments: list[str]) -> None:
    import typer

    from deploy.cli import app

    click_parses(typer.main.get_command(app), arguments)


def python_parses(arguments: list[str]) -> None:
    assert arguments[:2] == ["-P", "-m"], "the current folder would be on the module path"
    assert find_spec(arguments[2]) is not None


PARSES: dict[str, Callable[[list[str]], None]] = {
    "prefect": prefect_parses,
    "dask": dask_parses,
    "interpdisc": interpdisc_parses,
    "python": python_parses,
    "true": lambda arguments: None,
}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods of the Kubernetes manifests, as they stand in their files, by name."""
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text()):
            name = f"{one.get('kind')}/{one.get('metadata', {}).get('name')}"
            if one.get("kind") == "Deployment":
                yield name, one["spec"]["template"]["spec"]
            if one.get("kind") in ("DaskCluster", "DaskWorkerGroup"):
                yield from (
                    (f"{name}/{part}", one["spec"][part]["spec"])
                    for part in ("scheduler", "worker")
                    if part in one["spec"]
                )


PODS = dict(pods())


def commands() -> Iterator[tuple[str, list[str]]]:
    for name, service in composed.load_services(GIVEN).items():
        if service.command and name != "store":
            yield name, list(service.command)
        test = COMPOSE["services"][name].get("healthcheck", {}).get("test", [])
        if test[1:2] == ["python"]:
            yield f"{name}: health", test[1:]
    for name, pod in PODS.items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", [*container["command"], *container["args"]]


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_is_one_that_there_is(name: str, command: list[str]) -> None:
    """Programs, sub-commands and options are parsed by the programs themselves."""
    PARSES[command[0]](command[1:])


def test_parsing_refuses_what_there_is_not() -> None:
    """The check above can fail, for each program."""
    for command in (
        "prefect worker start --limt 4",
        "dask worker tcp://a:1 --nthread 1 --nope",
        "interpdisc serv a",
        "python -P -m deploy.nothing",
        "python -m deploy.health",
    ):
        program, *arguments = shlex.split(command)
        with pytest.raises((Exception, SystemExit)):
            PARSES[program](arguments)


def test_by_hand_everything_is_on_loopback(tmp_path: Path) -> None:
    """The rehearsal's commands are the file's own, with no name and no port of a container left in them."""
    ports = {
        (name, port): 50000 + at
        for at, (name, port) in enumerate((n, p) for n, ps in composed.SERVICE_PORTS.items() for p in ps)
    }
    translation = composed.Translation(ports, tmp_path)
    services = composed.load_services(GIVEN)
    for name in composed.SERVICE_PORTS.keys() - {"database", "store"}:
        service = services[name]
        command = translation.translate_command(service)
        assert Path(command[0]).parent == Path(sys.executable).parent
        told = " ".join([*command[1:], *translation.translate_environment(service).values()])
        assert "0.0.0.0" not in told
        for other, port in ports:
            assert f"{other}:{port}" not in told
            assert f"127.0.0.1:{port}" not in told
        assert len(command) >= len(service.command)
    environment = translation.translate_environment(services["server"])
    assert environment["PREFECT_SERVER_DATABASE_HOST"] == "127.0.0.1"
    assert environment["PREFECT_SERVER_DATABASE_PORT"] == str(ports["database", "5432"])
    assert environment["PREFECT_HOME"].startswith(str(tmp_path))


def test_workers_have_what_makes_them_fast_and_heard() -> None:
    """Memory settings of the image, logging of workers and runs: what `deploy` itself uses for a local cluster."""
    image = (DEPLOY / "image" / "Dockerfile").read_text()
    assert all(f"{name}={value}" in image for name, value in task_runners.MALLOC_ENVIRONMENT.items())
    for name in ("workers", "gpu-worker"):
        assert run_flow.LOGGING_ENVIRONMENT.items() <= COMPOSE["services"][name]["environment"].items()
    for deployment in yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]:
        assert run_flow.LOGGING_ENVIRONMENT.items() <= deployment["work_pool"]["job_variables"]["env"].items()


def test_a_gpu_has_one_process() -> None:
    """Compose and Kubernetes alike."""
    container = PODS["DaskWorkerGroup/interpdisc-gpu/worker"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    devices = COMPOSE["services"]["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert [len(device["device_ids"]) for device in devices] == [1]
    for command in (container["args"], COMPOSE["services"]["gpu-worker"]["command"]):
        told = " ".join(command)
        assert "--nworkers 1 --nthreads 1" in told
        assert "--resources GPU=1" in told


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    """Pod Security's level `restricted` and more; no token; memory that is limited; secrets by reference."""
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert all("hostPath" not in volume for volume in pod["volumes"])
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        allowed = container["securityContext"]
        assert allowed == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        for variable in container.get("env", []):
            if any(word in variable["name"] for word in GUARDED):
                assert "secretKeyRef" in variable["valueFrom"]
    assert all("livenessProbe" in container for container in pod["containers"])


def test_kubernetes_manifests_are_valid() -> None:
    """What kustomize makes of them, by Kubernetes' own schemas; the pods of the Dask operator's resources too."""
    import kubernetes_validate

    if not (kubectl := shutil.which("kubectl")):
        pytest.skip("kubectl is not installed")
    made = [
        list(
            yaml.safe_load_all(
                subprocess.run(
                    [kubectl, "kustomize", DEPLOY / "kubernetes" / overlay], capture_output=True, text=True, check=True
                ).stdout
            )
        )
        for overlay in ("base", "gpu")
    ]
    for one in made[1]:
        if one["apiVersion"].startswith("kubernetes.dask.org/"):
            for part in [one["spec"][part] for part in ("scheduler", "worker") if part in one["spec"]]:
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": part["spec"]}
                kubernetes_validate.validate(pod, "1.34", strict=True)
        else:
            kubernetes_validate.validate(one, "1.34", strict=True)
        for image in json.dumps(one).split('"image": "')[1:]:
            assert image.startswith("registry.example/interpdisc:0."), "every image is pinned"
    base, gpu = ({one["kind"] for one in each} for each in made)
    assert {"NetworkPolicy", "ServiceAccount", "DaskCluster"} <= base
    assert gpu - base == {"DaskWorkerGroup"}
    assert "Secret" not in gpu


def test_settings_that_kubernetes_ships_are_settings() -> None:
    """The daily run's, as an example."""
    from interpdisc_core.operations.daily import settings

    assert settings.read_daily(str(DEPLOY / "kubernetes" / "base" / "daily.json")).source.kind == "mars2020-feed"


def test_yaml_is_tidy() -> None:
    """By yamllint."""
    rules = "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}"
    command = [sys.executable, "-m", "yamllint", "-d", rules, DEPLOY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_as_it_should_be() -> None:
    """By hadolint, and by what it must have: a user who is not root, pinned bases, only what is needed copied."""
    path = DEPLOY / "image" / "Dockerfile"
    lines = path.read_text().splitlines()
    froms = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(froms) == 2
    assert all(one.count(":") == 1 and not one.endswith(":latest") for one in froms)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"
    allowed = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.partition("/")[0]
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == allowed
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_installs_what_both_distributions_declare() -> None:
    """Every dependency of the library, its extras and the application, but not the library itself."""
    root = DEPLOY.parent
    requirements = list_requirements(root, ["torch", "rover"])
    assert len(requirements) > len(list_requirements(root, []))
    for prefix in ("numpy>=", "torch>=", "rasterio>=", "prefect>="):
        assert sum(requirement.startswith(prefix) for requirement in requirements) == 1
    assert not any(requirement.startswith("interpdisc") for requirement in requirements)
    with pytest.raises(KeyError):
        list_requirements(root, ["toch"])


DEPLOYMENTS = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
ASKED = {"backfill": {"sources"}}
"""Parameters that whoever starts a run must give."""


@pytest.mark.parametrize("name", [one["name"] for one in DEPLOYMENTS])
def test_a_deployment_runs_a_flow_that_there_is(name: str) -> None:
    """Its entry point is a flow; it gives every parameter that has no default, and none that the flow has not."""
    import inspect

    from prefect.client.schemas.objects import ConcurrencyLimitStrategy
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.flows import load_flow_from_entrypoint

    told = next(one for one in DEPLOYMENTS if one["name"] == name)
    flow = load_flow_from_entrypoint(told["entrypoint"], use_placeholder_flow=False)
    assert flow.name == name
    assert flow.retries > 0
    parameters = inspect.signature(flow.fn).parameters
    needed = {key for key, one in parameters.items() if one.default is inspect.Parameter.empty}
    assert told["parameters"].keys() <= parameters.keys()
    assert needed - told["parameters"].keys() == ASKED.get(name, set())
    assert told["work_pool"]["name"] == WORK_POOL
    assert told["concurrency_limit"]["limit"] == 1
    ConcurrencyLimitStrategy(told["concurrency_limit"]["collision_strategy"])
    assert "interpdisc" in told["tags"], "the automations know them by it"
    for schedule in told.get("schedules", []):
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


def test_deployments_say_nothing_of_a_machine() -> None:
    """What differs from place to place comes from variables that `deploy.register` sets."""
    import re

    text = (DEPLOY / "prefect.yaml").read_text()
    assert set(re.findall(r"\{\{ \$(\w+) \}\}", text)) == {"INTERPDISC_STORE", "INTERPDISC_PAGES"}
    assert set(re.findall(r"prefect\.variables\.(\w+)", text)) == {"interpdisc_daily", "interpdisc_workers"}
    assert not re.search(r"[\"' ]/\w", text), "no path"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"INTERPDISC_STORE": ""}, "INTERPDISC_STORE is not set"),
        ({"INTERPDISC_DAILY": ""}, "INTERPDISC_DAILY is not set"),
        ({"INTERPDISC_DAILY": "{nothing"}, "INTERPDISC_DAILY is not JSON"),
        ({"INTERPDISC_DAILY": '{"source": {"kind": "telescope"}}'}, "INTERPDISC_DAILY"),
        ({"INTERPDISC_DAILY": "/nowhere/daily.json"}, "/nowhere/daily.json"),
        ({"INTERPDISC_WORKERS": "many"}, "INTERPDISC_WORKERS"),
        ({"INTERPDISC_WORKERS": "0"}, "INTERPDISC_WORKERS"),
    ],
)
def test_what_is_missing_is_one_sentence(change: dict[str, str], says: str) -> None:
    """Before anything is put into a server."""
    given = {"INTERPDISC_STORE": "s3://bucket", "INTERPDISC_DAILY": '{"source": {"kind": "folder", "path": "a"}}'}
    assert RegistrationOptions.from_environment(given).workers == 1
    with pytest.raises(PlanError, match=says) as error:
        RegistrationOptions.from_environment(given | change)
    assert "\n" not in str(error.value)


def test_a_local_store_needs_no_bucket(tmp_path: Path) -> None:
    """Only S3 has buckets."""
    assert not create_bucket(str(tmp_path))


def test_automations_are_made_once_and_changed_only_when_they_must(server: str) -> None:
    """A change starts a clock anew, so what is as it should be is left alone."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    auth = os.environ["PREFECT_API_AUTH_STRING"]
    with (
        temporary_settings({PREFECT_API_URL: server, PREFECT_API_AUTH_STRING: auth}),
        get_client(sync_client=True) as client,
    ):
        names = {wish.name for wish in automations.build_automations()}
        try:
            assert set(automations.apply_automations(automations.build_automations(), client).values()) == {"created"}
            assert set(automations.apply_automations(automations.build_automations(), client).values()) == {"unchanged"}
            later = automations.apply_automations(
                automations.build_automations(max_feed_silence=timedelta(days=3)), client
            )
            assert {name for name, what in later.items() if what == "updated"} == {"interpdisc: the feed is silent"}
            assert set(
                automations.apply_automations(
                    automations.build_automations(max_feed_silence=timedelta(days=3)), client
                ).values()
            ) == {"unchanged"}
            with pytest.raises(PlanError, match="no block 'slack-webhook/nobody'"):
                automations.find_notification_block(client, "slack-webhook/nobody")
            with pytest.raises(PlanError, match="TYPE/NAME"):
                automations.find_notification_block(client, "nobody")
        finally:
            for name in names:
                for there in client.read_automations_by_name(name):
                    client.delete_automation(there.id)


def test_health_is_an_answer_of_200() -> None:
    """Another answer and none are not; a process that says no address is well as long as it lives."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}"
        assert is_healthy(f"{address}/health")
        assert not is_healthy(f"{address}/other")
        running.shutdown()
    assert not is_healthy(f"{address}/health", 1.0)
    assert is_healthy("")
    assert not is_healthy("nonsense")


def test_every_file_that_the_image_installs_has_a_hash() -> None:
    """All requirements, at the tested versions, from no named place; PyTorch with its CUDA packages apart."""
    import re

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    root = DEPLOY.parent
    tested = dict(line.split("==") for line in (root / "constraints.txt").read_text().splitlines() if "==" in line)
    tested = {canonicalize_name(name): version for name, version in tested.items()}
    others, torch = ((DEPLOY / "image" / name).read_text() for name in ("locked.txt", "locked-torch.txt"))
    assert "://" not in others + torch
    locked: dict[str, str] = {}
    for pin in re.split(r"(?m)^(?=[a-z0-9])", others + torch):
        if pin.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n(?:#.*\n)?", pin)
        assert match, pin
        locked[match[1]] = match[2]
    assert locked.keys() - tested.keys() == {"setuptools"}, "`pip freeze` leaves it out"
    assert all(tested.get(name, version) == version for name, version in locked.items())
    for line in list_requirements(root, ["torch", "rover"]):
        assert canonicalize_name(Requirement(line).name) in locked
    assert split_lock(others + torch)[0].count("--hash") == others.count("--hash")
    assert re.search(r"(?m)^(torch|nvidia-)", others) is None
