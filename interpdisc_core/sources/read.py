"""Reads an input by its URI, whatever source it comes from."""

from interpdisc_core.sources import detached_labels, fetch, shards
from interpdisc_core.sources.shard_members import SHARD_SCHEME


def read_input(uri: str) -> bytes:
    """The bytes of an input: a file, an object in S3, a member of a shard, or the bundle of a detached label.

    Raises:
        Unreadable: With the reason; `retryable` if it may be readable another time.
    """
    if uri.startswith(SHARD_SCHEME):
        return shards.read_member(uri)
    return detached_labels.read_bundle(uri) if detached_labels.PDS_LABEL_SUFFIX.search(uri) else fetch.fetch_bytes(uri)
