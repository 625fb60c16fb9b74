"""The certificate by which Dask's processes know each other: `python -P -m deploy.make_certificates FOLDER`.

Writes `dask.crt` and `dask.key`, readable by their owner alone. The certificate is its own authority, and scheduler, workers
and clients all use it: whoever has the key belongs to the cluster. One that is there stays, unless it ends within 30 days;
after a change, start all of them again.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interpdisc_core.errors import InterpdiscError, PlanError

CERTIFICATE_FILE, KEY_FILE = "dask.crt", "dask.key"
_MIN_VALIDITY = timedelta(days=30)


def make_certificates(folder: Path) -> bool:
    """Make certificate and key in a folder, if there are none or if they end soon; returns whether they were made.

    Raises:
        PlanError: If the folder cannot be written.
    """
    if _is_valid(folder):
        return False
    from distributed.security import Security

    security = Security.temporary()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The key first: a certificate is there only with its key.
        for name, text in ((KEY_FILE, security.tls_scheduler_key), (CERTIFICATE_FILE, security.tls_scheduler_cert)):
            new_file = folder / f".{name}.new"
            new_file.unlink(missing_ok=True)
            with open(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            new_file.replace(folder / name)
    except OSError as error:
        raise PlanError(f"{folder}: certificates cannot be written there ({error.strerror}).") from error
    return True


def _is_valid(folder: Path) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        key = load_pem_private_key((folder / KEY_FILE).read_bytes(), password=None)
    except (OSError, ValueError):
        return False
    is_pair = key.public_key() == certificate.public_key()
    return is_pair and certificate.not_valid_after_utc > datetime.now(UTC) + _MIN_VALIDITY


def main() -> None:
    """Make them in the folder that the command line names, and print what was done."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -P -m deploy.make_certificates FOLDER")
    folder = Path(sys.argv[1])
    try:
        is_new = make_certificates(folder)
    except InterpdiscError as error:
        sys.exit(str(error))
    print(f"{folder / CERTIFICATE_FILE}, {folder / KEY_FILE}: {'made' if is_new else 'unchanged'}")


if __name__ == "__main__":
    main()
