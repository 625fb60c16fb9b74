"""What is remembered of images that kill: by content, and for tiles by their frame."""

from pathlib import Path

from interpdisc_core import digest
from interpdisc_core.archive.crashes import KnownCrashes
from interpdisc_core.images.tiles import digest_tile
from interpdisc_core.images.uri_fragments import tile_uri
from interpdisc_core.sources import file_uri
from interpdisc_core.storage.location import Location


def test_a_tile_that_kills_stands_for_all_tiles_of_its_frame(tmp_path: Path) -> None:
    """A frame may still be decoded at a reduced scale; where that kills too, its tiles are not tried either."""
    frame, archive = tmp_path / "frame.png", Location.parse(tmp_path / "archive")
    frame.write_bytes(b"a frame")
    uri, content = file_uri(str(frame)), digest.digest_bytes(b"a frame")
    boxes = [(0, 0, 4, 4), (4, 0, 4, 4)]
    tiles = [(tile_uri(uri, box), digest_tile(content, box)) for box in boxes]
    crashes = KnownCrashes.load(archive)
    assert not any(crashes.find(*tile) for tile in tiles)
    crashes.add(*tiles[0], "it kills")
    for known in (crashes, KnownCrashes.load(archive)):
        assert [known.find(*tile) for tile in tiles] == ["it kills", "it kills"]
        assert known.find(uri, content) == ""
        assert known.find(tiles[0][0], digest_tile("0" * 64, boxes[0])) == "", "another version of the frame"
    crashes.add(uri, content, "it kills at any scale")
    again = KnownCrashes.load(archive)
    assert again.find("elsewhere.png", content) == "it kills at any scale"
    assert again.find(*tiles[1]) == "it kills at any scale"
