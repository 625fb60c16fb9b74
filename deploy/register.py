"""Register everything that runs by itself in a Prefect server: `python -m deploy.register`, again after each change.

It creates the bucket of an S3 store if missing, the work pool, the variables from which the deployments get their
parameters, the deployments of `prefect.yaml`, and the automations. Environment variables:

    PREFECT_API_URL      the server
    INTERPDISC_STORE     a folder or s3:// prefix that every process reaches, for archive, training and checkpoints
    INTERPDISC_DAILY     settings of the daily run: JSON, or the path of a JSON file
    INTERPDISC_WORKERS   number of Dask workers (1)
    INTERPDISC_PAGES     address of the page server for people, for links and pictures (none)
    INTERPDISC_NOTIFY    a notification block for the automations, TYPE/NAME (none)
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpdisc_core.errors import InterpdiscError, PlanError, StoreError
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.remote_files import get_s3_filesystem

WORK_POOL = "interpdisc"
"""The work pool, of type `process`; `prefect.yaml` names it too."""
DEPLOYMENTS_FILE = Path(__file__).with_name("prefect.yaml")


@dataclass(frozen=True, kw_only=True)
class RegistrationOptions:
    """What to register.

    Attributes:
        store: Absolute folder, or s3:// prefix.
        daily_settings: Settings of the daily run, as a JSON value.
        workers: Number of Dask workers, at least 1.
        pages: Address of the page server; may be empty.
        notification_block: TYPE/NAME; may be empty.
    """

    store: str
    daily_settings: Any
    workers: int
    pages: str
    notification_block: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "RegistrationOptions":
        """The options in environment variables. Raises PlanError for one that is missing or invalid."""
        from interpdisc_core.operations.daily import settings

        store = environment.get("INTERPDISC_STORE", "")
        if not store:
            raise PlanError("INTERPDISC_STORE is not set: name a folder or an s3:// prefix that every process reaches.")
        workers = environment.get("INTERPDISC_WORKERS", "1")
        if not workers.isdecimal() or not 1 <= int(workers) <= 10_000:
            raise PlanError(f"INTERPDISC_WORKERS must be the number of Dask workers, 1 to 10000, not {workers!r}.")
        daily_text = environment.get("INTERPDISC_DAILY", "")
        if not daily_text:
            raise PlanError(
                "INTERPDISC_DAILY is not set: give the daily run's settings as JSON, or the path of a JSON file."
            )
        if daily_text.lstrip().startswith("{"):
            try:
                daily = settings.parse_daily(json.loads(daily_text), "INTERPDISC_DAILY")
            except ValueError as error:
                raise (
                    error if isinstance(error, PlanError) else PlanError(f"INTERPDISC_DAILY is not JSON: {error}.")
                ) from None
        else:
            daily = settings.read_daily(daily_text)
        return cls(
            store=Location.parse(store).url,
            daily_settings=settings.dump_daily(daily),
            workers=int(workers),
            pages=environment.get("INTERPDISC_PAGES", ""),
            notification_block=environment.get("INTERPDISC_NOTIFY", ""),
        )


def create_bucket(store: str) -> bool:
    """Create the bucket of an s3:// store if missing; whether it was. Raises StoreError if that is not possible."""
    if not Location.parse(store).is_remote:
        return False
    bucket = store.removeprefix("s3://").partition("/")[0]
    try:
        if get_s3_filesystem().exists(bucket):
            return False
        get_s3_filesystem().mkdir(bucket)
    except OSError as error:
        raise StoreError(
            f"s3://{bucket}: cannot be created or reached: {error}; check AWS_ENDPOINT_URL and the keys."
        ) from error
    return True


def register_deployments(options: RegistrationOptions) -> None:
    """Register everything in the server of PREFECT_API_URL. Raises InterpdiscError if Prefect refuses something."""
    with chdir("/"):  # Prefect takes settings, and with them code, from .env and prefect.toml of the current folder
        import prefect  # noqa: F401
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.variables import Variable

    from deploy import automations

    if create_bucket(options.store):
        print(f"  created  the bucket of {options.store}")
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process"))
            print(f"  created  work pool {WORK_POOL}")
        except ObjectAlreadyExists:
            print(f"unchanged  work pool {WORK_POOL}")
        for name, value in {"interpdisc_daily": options.daily_settings, "interpdisc_workers": options.workers}.items():
            Variable.set(name, value, overwrite=True)
            print(f"      set  variable {name}")
        changes = automations.apply_automations(
            automations.build_automations(automations.find_notification_block(client, options.notification_block)),
            client,
        )
        for name, change in changes.items():
            print(f"{change:>9}  automation {name}")
    _run_prefect_deploy({"INTERPDISC_STORE": options.store, "INTERPDISC_PAGES": options.pages})


def _run_prefect_deploy(environment: Mapping[str, str]) -> None:
    """`prefect deploy`: only its command line fills in the file's templates."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "prefect",
        "--no-prompt",
        "deploy",
        "--prefect-file",
        str(DEPLOYMENTS_FILE),
        "--all",
    ]
    process = subprocess.run(
        command,
        cwd="/",
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode:
        raise InterpdiscError(f"`prefect deploy` failed:\n{process.stdout}")
    print(f" deployed  the deployments of {DEPLOYMENTS_FILE.name}")


def main() -> None:
    """The command; exit code 1 and a sentence if something is wrong."""
    try:
        register_deployments(RegistrationOptions.from_environment(os.environ))
    except InterpdiscError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
