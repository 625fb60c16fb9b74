"""A Dask scheduler that is already running."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interpdisc_core.errors import PlanError


@contextmanager
def connect_scheduler(address: str, timeout_s: float = 10.0) -> Iterator[Any]:
    """A client of the scheduler at `address`, closed at the end.

    Raises:
        PlanError: If none answers within `timeout_s` seconds, or if TLS is asked for without certificates.
    """
    import dask
    from distributed import Client

    if address.startswith("tls://") and not dask.config.get("distributed.comm.tls.ca-file"):
        raise PlanError(
            f"{address}: TLS needs certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY (docs/running.md)."
        )
    try:
        client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise PlanError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def list_workers(client: Any) -> list[str]:
    """The addresses of the workers of a client's scheduler, in order."""
    return sorted(client.scheduler_info(n_workers=-1)["workers"])


def count_cluster_workers(address: str) -> int:
    """Number of workers of the scheduler at `address`, at least 1. Raises PlanError if none answers."""
    with connect_scheduler(address) as client:
        return max(1, len(list_workers(client)))
