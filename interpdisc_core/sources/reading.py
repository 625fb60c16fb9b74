"""Reading an input by its address, whatever source it comes from."""

from interpdisc_core.sources import access, products, shards
from interpdisc_core.sources.members import SCHEME


def read(uri: str) -> bytes:
    """The bytes of an input: of a file or an S3 object, of a member of a shard, or a bundle for a detached label.

    Raises Unreadable, whose `access` attribute is True where the file may be all right another time.
    """
    if uri.startswith(SCHEME):
        return shards.read(uri)
    return products.bundle(uri) if products.LABEL.search(uri) else access.fetch(uri)
