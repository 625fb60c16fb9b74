"""A PostgreSQL server of one's own, on loopback, for a rehearsal."""

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
class Cluster:
    """A database cluster in `data`, which belongs to the user that it runs as."""

    data: Path
    port: int
    user: str
    password: str

    def make(self) -> None:
        """Make the cluster. Raises PlanError where PostgreSQL is not installed."""
        secret = self.data / "password"
        secret.write_text(self.password)
        self._owned(self.data, secret)
        done = subprocess.run(
            as_somebody(
                [program("initdb"), "--pgdata", str(self.data / "cluster"), "--username", self.user, "--auth", "scram-sha-256",
                 "--pwfile", str(secret), "--encoding", "UTF8", "--no-locale", "--no-sync"]
            ),
            cwd=self.data, capture_output=True, text=True, check=False,
        )  # fmt: skip
        secret.unlink()
        if done.returncode:
            raise PlanError(f"PostgreSQL's initdb failed: {done.stderr.strip()}")

    def command(self) -> list[str]:
        """What runs it. The socket stays in its own folder."""
        return as_somebody(
            [program("postgres"), "-D", str(self.data / "cluster"), "-c", "listen_addresses=127.0.0.1",
             "-c", f"port={self.port}", "-c", f"unix_socket_directories={self.data}"]
        )  # fmt: skip

    def create(self, name: str) -> None:
        """Make a database. Raises OSError where the server does not answer yet."""
        import asyncpg

        async def make() -> None:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user=self.user, password=self.password, database="postgres"
            )
            try:
                await connection.execute(f'CREATE DATABASE "{name}"')
            finally:
                await connection.close()

        try:
            asyncio.run(make())
        except asyncpg.CannotConnectNowError as error:
            raise ConnectionError(str(error)) from error

    def _owned(self, *paths: Path) -> None:
        if os.getuid() == 0:
            for path in paths:
                shutil.chown(path, *_somebody())


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs. Raises PlanError where there is none."""
    found = shutil.which(name)
    versions = _DEBIAN.iterdir() if _DEBIAN.is_dir() else ()
    others = sorted((one / "bin" / name for one in versions), reverse=True)
    for path in [*([Path(found)] if found else []), *others]:
        if os.access(path, os.X_OK):
            return str(path)
    raise PlanError(f"there is no {name}: install PostgreSQL (Debian: apt-get install postgresql), or use SQLite.")


def as_somebody(command: list[str]) -> list[str]:
    """The command as a user without rights: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return command
    if not (setpriv := shutil.which("setpriv")):
        raise PlanError("PostgreSQL does not run as root, and there is no setpriv: run this as another user.")
    user, group = _somebody()
    return [setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", *command]


def _somebody() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise PlanError(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`: run this as another user."
    )
