"""Images of the demo: photos that ship in scikit-image and scikit-learn, cut into tiles.

The class of a tile is the photo that it comes from, so that discovery can be scored.
"""

from pathlib import Path

from PIL import Image

from interpdisc_core.errors import PlanError
from interpdisc_core.storage.tables import rows_to_csv

TILE_SIDE = 96
TILES_PER_PHOTO = {
    "skimage": {
        "astronaut.png": 36,
        "brick.png": 36,
        "camera.png": 36,
        "cell.png": 36,
        "chelsea.png": 36,
        "coffee.png": 36,
        "coins.png": 16,
        "grass.png": 36,
        "gravel.png": 36,
        "hubble_deep_field.jpg": 64,
        "ihc.png": 36,
        "moon.png": 4,
        "motorcycle_left.png": 64,
        "page.png": 4,
        "retina.jpg": 36,
        "rocket.jpg": 4,
        "text.png": 2,
    },
    "sklearn": {"china.jpg": 36, "flower.jpg": 2},
}
"""Photos, and the number of tiles of each: some classes are common, some are rare, as in a real collection."""


def make_tiles(folder: Path) -> tuple[Path, Path]:
    """Cut the photos into tiles in `folder`, and list their classes.

    Returns:
        The folder of tiles, and the CSV file of their classes.

    Raises:
        PlanError: If scikit-image or scikit-learn is not installed.
    """
    try:
        import skimage
        import sklearn
    except ImportError as error:
        raise PlanError(
            f"the photos of the demo ship in scikit-image and scikit-learn: install both ({error})."
        ) from error
    roots = {
        "skimage": Path(str(skimage.__file__)).parent / "data",
        "sklearn": Path(str(sklearn.__file__)).parent / "datasets" / "images",
    }
    tiles = folder / "tiles"
    tiles.mkdir(parents=True, exist_ok=True)
    rows = []
    for package, photos in TILES_PER_PHOTO.items():
        for photo, max_tiles in photos.items():
            path = roots[package] / photo
            if not path.is_file():
                continue
            for number, tile in enumerate(_cut_tiles(Image.open(path).convert("RGB"), max_tiles)):
                name = f"{path.stem}-{number:02d}.png"
                tile.save(tiles / name)
                rows.append({"file": name, "class_name": path.stem, "photo": f"{package}/{photo}"})
    labels = folder / "tiles.csv"
    labels.write_bytes(rows_to_csv(rows))
    return tiles, labels


def _cut_tiles(photo: Image.Image, max_tiles: int) -> list[Image.Image]:
    """At most `max_tiles` tiles, evenly spread over a regular grid of the photo."""
    scale = max(1.0, 1.5 * TILE_SIDE / min(photo.size))
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale))) if scale > 1 else photo
    corners = [
        (x, y)
        for y in range(0, photo.height - TILE_SIDE + 1, TILE_SIDE)
        for x in range(0, photo.width - TILE_SIDE + 1, TILE_SIDE)
    ]
    step = max(1.0, len(corners) / max_tiles)
    origins = [corners[int(i * step)] for i in range(min(max_tiles, len(corners)))]
    return [photo.crop((x, y, x + TILE_SIDE, y + TILE_SIDE)) for x, y in origins]
