"""Files with a checksum: `<name>.sha256` beside a file has the SHA-256 of its content and its name, for `sha256sum -c`.

What a program reads again has one, written after the file and compared at each reading (`Location.write_checked`,
`Location.read_checked`). The order of writes lets a process be killed at any time:

1. Only if the file has a checksum already: both digests, the old and the new one. Either content is right from now on.
2. The file.
3. The new digest alone.

So a file without a checksum is one of an earlier version, or was written last before a kill; it is read as it is, and
counted by `verify`. A checksum without a file, or of another content or name, is damage.
"""

import contextlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from zipfile import BadZipFile

from interpdisc_core.digest import digest_bytes
from interpdisc_core.errors import DamageError, InterpdiscError, one_line

CHECKSUM_SUFFIX = ".sha256"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MAX_TRIES = 3
"""Readings until a file that does not fit its checksum counts as damaged: it may be replaced between the two."""


def format_checksum(name: str, digests: Iterable[str]) -> bytes:
    """The content of the checksum of the file `name`, which may have one of these contents."""
    file_name = name.rpartition("/")[2]
    return "".join(f"{digest}  {file_name}\n" for digest in sorted(digests)).encode("utf-8", "surrogateescape")


def parse_checksum(name: str, data: bytes | None) -> set[str]:
    """The digests in a checksum of the file `name`.

    None, and an empty file as a power cut leaves it, have none: the file is read unchecked.

    Raises:
        ValueError: If it is not a checksum, or that of another file.
    """
    lines = (data or b"").decode("utf-8", "surrogateescape").splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    file_name = name.rpartition("/")[2]
    if not all(match is not None and match[2] == file_name for match in matches):
        raise ValueError(f"{file_name}{CHECKSUM_SUFFIX} is not a checksum of {file_name}")
    return {match[1] for match in matches if match is not None}


@contextlib.contextmanager
def name_damage(address: str) -> Iterator[None]:
    """Around the parsing of a file: whatever is raised for a damaged one becomes a DamageError that names it.

    Errors of access, and those of this package, are left as they are.
    """
    try:
        yield
    except InterpdiscError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error) as error:
        raise DamageError(
            f"{address} is damaged: {one_line(error)}; `interpdisc repair` of its archive says what can be done."
        ) from error


def read_until_consistent(address: str, name: str, read_pair: Callable[[], tuple[bytes | None, bytes | None]]) -> bytes:
    """The content of a file that fits its checksum.

    Args:
        address: Of the file's folder.
        name: Of the file.
        read_pair: Reads the file and its checksum; None for one that is missing.

    Raises:
        FileNotFoundError: If neither the file nor a checksum of it exists.
        DamageError: If they do not fit.
    """
    problem = ""
    for _ in range(_MAX_TRIES):
        data, checksum = read_pair()
        if data is None and checksum is None:
            raise FileNotFoundError(f"{address}/{name}")
        try:
            digests = parse_checksum(name, checksum)
        except ValueError as error:
            problem = f"{error}"
            continue
        if data is None:
            problem = "it is missing, though its checksum is there"
        elif digests and digest_bytes(data) not in digests:
            problem = "its content is not that of its checksum"
        else:
            return data
    raise DamageError(
        f"{address}/{name} is damaged: {problem}; `interpdisc repair` of its archive says what can be done."
    )
