"""Images that kill the process that decodes them: no worker tries them again. `crashes/<sha256>.json`, one for each content.

Found one at a time, see `interpdisc_core.images.isolated_map`. To try an image again, remove its file: its inputs stay
quarantined in the catalog of this archive, but its content counts as unknown in another.
"""

import logging
from dataclasses import dataclass, field
from typing import Literal

from interpdisc_core import digest, sources
from interpdisc_core.errors import DamageError, InterpdiscError
from interpdisc_core.images.tiles import digest_tile
from interpdisc_core.images.uri_fragments import split_bayer_pattern, split_tile_uri
from interpdisc_core.provenance import utc_now
from interpdisc_core.storage.checksums import name_damage
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

CrashScale = Literal["frame", "tiles"]
"""Whether decoding kills at any scale, or only at the full scale of tiles."""
_FOLDER = "crashes"


@dataclass(frozen=True, slots=True)
class KnownCrashes:
    """What is known of an archive's images that kill a process.

    Attributes:
        reasons: Why, by the digest (sha256) of a file's content and the scale.
    """

    archive: Location
    reasons: dict[tuple[str, CrashScale], str] = field(default_factory=dict)

    @classmethod
    def load(cls, archive: Location) -> "KnownCrashes":
        """Read them; in most archives there is none."""
        reasons: dict[tuple[str, CrashScale], str] = {}
        for name in archive.list_names(_FOLDER):
            try:
                with name_damage(f"{archive.url}/{_FOLDER}/{name}"):
                    record = archive.read_checked_json(f"{_FOLDER}/{name}")
                    reasons[name.removesuffix(".json"), record["scale"]] = str(record["reason"])
            except DamageError as error:
                log.warning("%s The image is tried again.", error)
        return cls(archive, reasons)

    def find(self, uri: str, sha256: str) -> str:
        """Why an input is not decoded; empty for nearly all.

        Args:
            uri: A frame's, or a tile's.
            sha256: Digest of the frame's bytes, or `digest_tile` of a tile.
        """
        if not self.reasons:
            return ""
        _, box = split_tile_uri(split_bayer_pattern(uri)[0])
        if box is None:
            return self.reasons.get((sha256, "frame"), "")
        return next(
            (reason for (content, _), reason in self.reasons.items() if digest_tile(content, box) == sha256), ""
        )

    def add(self, uri: str, sha256: str, reason: str) -> None:
        """Remember an input, before anything else is decoded; for a tile its frame, at full scale."""
        plain_uri, _ = split_bayer_pattern(uri)
        frame_uri, box = split_tile_uri(plain_uri)
        content, scale = sha256, "frame" if box is None else "tiles"
        if box is not None:
            try:
                content = digest.digest_bytes(sources.read_input(frame_uri))
            except InterpdiscError:
                return
            if digest_tile(content, box) != sha256:
                return
        self.reasons[content, scale] = reason  # type: ignore[index]
        record = {"reason": reason, "scale": scale, "uri": frame_uri, "at": utc_now()}
        self.archive.write_checked_json(f"{_FOLDER}/{content}.json", record)
