"""Put everything that runs by itself into a Prefect server: `python -m deploy.registering`, again whenever it changed.

It makes the bucket of an S3 store where there is none, the work pool, the variables that the deployments take their
parameters from, the deployments of `prefect.yaml`, and the automations. Reads from the environment:

    PREFECT_API_URL      the server
    INTERPDISC_STORE     a folder or s3:// prefix that every process reaches: archive, training and checkpoints lie under it
    INTERPDISC_DAILY     settings of the daily run: JSON, or the path of a JSON file
    INTERPDISC_WORKERS   how many Dask workers there are (1)
    INTERPDISC_PAGES     the address at which people reach the page server, for links and pictures (none)
    INTERPDISC_NOTIFY    a notification block for the automations, TYPE/NAME (none)
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpdisc_core.errors import InterpdiscError, PlanError, StoreError
from interpdisc_core.storage import Place, s3_filesystem

POOL = "interpdisc"
"""The work pool, of type `process`; `prefect.yaml` names it too."""
DEPLOYMENTS = Path(__file__).with_name("prefect.yaml")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """store: an absolute folder or s3:// prefix. daily: settings, as JSON. workers: at least 1. pages, notify: may be empty."""

    store: str
    daily: Any
    workers: int
    pages: str
    notify: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Registered":
        """What the environment asks for. Raises PlanError with a sentence for what is missing or wrong."""
        from interpdisc_core.daily import settings

        store = environment.get("INTERPDISC_STORE", "")
        if not store:
            raise PlanError("INTERPDISC_STORE is not set: name a folder or an s3:// prefix that every process reaches.")
        workers = environment.get("INTERPDISC_WORKERS", "1")
        if not workers.isdecimal() or not 1 <= int(workers) <= 10_000:
            raise PlanError(f"INTERPDISC_WORKERS must be how many Dask workers there are, not {workers!r}.")
        told = environment.get("INTERPDISC_DAILY", "")
        if not told:
            raise PlanError(
                "INTERPDISC_DAILY is not set: give the daily run's settings as JSON, or the path of a JSON file."
            )
        if told.lstrip().startswith("{"):
            try:
                daily = settings.parse(json.loads(told), "INTERPDISC_DAILY")
            except ValueError as error:
                raise (
                    error if isinstance(error, PlanError) else PlanError(f"INTERPDISC_DAILY is not JSON: {error}.")
                ) from None
        else:
            daily = settings.read(told)
        return cls(
            store=Place.of(store).url, daily=settings.to_json(daily), workers=int(workers),
            pages=environment.get("INTERPDISC_PAGES", ""), notify=environment.get("INTERPDISC_NOTIFY", ""),
        )  # fmt: skip


def make_bucket(store: str) -> bool:
    """Make the bucket of an s3:// store where there is none; whether it was made. Raises StoreError."""
    if not Place.of(store).remote:
        return False
    bucket = store.removeprefix("s3://").partition("/")[0]
    try:
        if s3_filesystem().exists(bucket):
            return False
        s3_filesystem().mkdir(bucket)
    except OSError as error:
        raise StoreError(
            f"s3://{bucket}: cannot be made or reached: {error}; check AWS_ENDPOINT_URL and the keys."
        ) from error
    return True


def register(wish: Registered) -> None:
    """Put all of it into the server of PREFECT_API_URL. Raises InterpdiscError where Prefect refuses something."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.variables import Variable

    from deploy import automations

    if make_bucket(wish.store):
        print(f"    made  the bucket of {wish.store}")
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            print(f"    made  work pool {POOL}")
        except ObjectAlreadyExists:
            print(f"    left  work pool {POOL}")
        for name, value in {"interpdisc_daily": wish.daily, "interpdisc_workers": wish.workers}.items():
            Variable.set(name, value, overwrite=True)
            print(f"     set  variable {name}")
        told = automations.apply(automations.wanted(automations.block(client, wish.notify)), client)
        for name, what in told.items():
            print(f"{what:>8}  automation {name}")
    _deploy({"INTERPDISC_STORE": wish.store, "INTERPDISC_PAGES": wish.pages})


def _deploy(environment: Mapping[str, str]) -> None:
    """`prefect deploy`: only its command line fills in the file's templates."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(DEPLOYMENTS), "--all"]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise InterpdiscError(f"`prefect deploy` failed:\n{done.stdout}")
    print(f"deployed  what {DEPLOYMENTS.name} names")


def main() -> None:
    """The command; exit code 1 and a sentence where something is wrong."""
    try:
        register(Registered.of(os.environ))
    except InterpdiscError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
