"""A PostgreSQL server on loopback, for a rehearsal."""

import asyncio
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from interpdisc_core.errors import PlanError

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """A database cluster in the folder `data`, which belongs to the user that runs it."""

    data: Path
    port: int
    user: str
    password: str

    def initialize(self) -> None:
        """Create the cluster. Raises PlanError if PostgreSQL is not installed."""
        secret = self.data / "password"
        secret.write_text(self.password)
        self._give_to_user(self.data, secret)
        process = subprocess.run(
            drop_root(
                [
                    find_program("initdb"),
                    "--pgdata",
                    str(self.data / "cluster"),
                    "--username",
                    self.user,
                    "--auth",
                    "scram-sha-256",
                    "--pwfile",
                    str(secret),
                    "--encoding",
                    "UTF8",
                    "--no-locale",
                    "--no-sync",
                ]
            ),
            cwd=self.data,
            capture_output=True,
            text=True,
            check=False,
        )
        secret.unlink()
        if process.returncode:
            raise PlanError(f"PostgreSQL's initdb failed: {process.stderr.strip()}")

    def build_command(self) -> list[str]:
        """The command that runs it, with its socket in its own folder."""
        return drop_root(
            [
                find_program("postgres"),
                "-D",
                str(self.data / "cluster"),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                f"port={self.port}",
                "-c",
                f"unix_socket_directories={self.data}",
            ]
        )

    def create_database(self, name: str) -> None:
        """Create a database. Raises OSError if the server does not answer yet."""
        import asyncpg

        async def connect_and_create() -> None:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=self.user, password=self.password, database="postgres"
            )
            try:
                await connection.execute(f'CREATE DATABASE "{name}"')
            finally:
                await connection.close()

        try:
            asyncio.run(connect_and_create())
        except asyncpg.CannotConnectNowError as error:
            raise ConnectionError(str(error)) from error

    def _give_to_user(self, *paths: Path) -> None:
        if os.getuid() == 0:
            for path in paths:
                shutil.chown(path, *_unprivileged_ids())


def find_program(name: str) -> str:
    """The path of one of PostgreSQL's programs. Raises PlanError if it is not installed."""
    on_path = shutil.which(name)
    versions = _DEBIAN.iterdir() if _DEBIAN.is_dir() else ()
    candidates = sorted((version / "bin" / name for version in versions), reverse=True)
    for path in [*([Path(on_path)] if on_path else []), *candidates]:
        if os.access(path, os.X_OK):
            return str(path)
    raise PlanError(f"there is no {name}: install PostgreSQL (Debian: apt-get install postgresql), or use SQLite.")


def drop_root(command: list[str]) -> list[str]:
    """The command as a user without rights: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return command
    if not (setpriv := shutil.which("setpriv")):
        raise PlanError("PostgreSQL does not run as root, and there is no setpriv: run this as another user.")
    user, group = _unprivileged_ids()
    return [setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", *command]


def _unprivileged_ids() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise PlanError(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`: run this as another user."
    )
