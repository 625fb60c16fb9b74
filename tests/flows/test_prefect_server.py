"""What the Prefect server of a run lets others see."""

import urllib.request

from deploy.prefect_server import _kept_file


def test_only_the_server_s_own_pages_may_read_it(server: str) -> None:
    """A browser is told to keep the answers from any page but those of the server itself."""
    own = server.removesuffix("/api")
    for address in (own, own.replace("127.0.0.1", "localhost")):
        assert _read_allowed_origin(server, address) == address
    assert _read_allowed_origin(server, "http://foreign.example") is None


def test_database_and_logs_are_the_owner_s(server: str) -> None:
    """Other users of the machine can neither enter the server's folder nor read its database."""
    home = _kept_file().parent
    databases = list(home.glob("prefect.db*"))
    assert databases
    assert home.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in databases)


def _read_allowed_origin(server: str, origin: str) -> str | None:
    request = urllib.request.Request(f"{server}/health", headers={"Origin": origin})
    with urllib.request.urlopen(request, timeout=20) as answer:
        allowed: str | None = answer.headers["Access-Control-Allow-Origin"]
    return allowed
