"""An inbox's record of a fetched image, in the form in which polls write it."""

from typing import Any

from interpdisc_core import digest


def make_inbox_record(number: int, image: str, data: bytes) -> dict[str, Any]:
    """The record of an image `data` that is stored in the inbox as `image`."""
    return {
        "format": 1,
        "file": f"{number}.json",
        "id": f"{number}",
        "received": "",
        "record": {},
        "image": {
            "name": image,
            "sha256": digest.digest_bytes(data),
            "size": len(data),
            "etag": "",
            "url": "",
            "at": "",
        },
    }
