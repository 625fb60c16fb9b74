"""The demo's images: real photos that ship in scikit-image and scikit-learn, cut into tiles.

A tile's class is the photo that it comes from, so that discovery can be scored.
"""

import csv
from pathlib import Path

from PIL import Image

from interpdisc_core.errors import PlanError

TILE = 96
PHOTOS = {
    "skimage": {
        "astronaut.png": 36, "brick.png": 36, "camera.png": 36, "cell.png": 36, "chelsea.png": 36, "coffee.png": 36,
        "coins.png": 16, "grass.png": 36, "gravel.png": 36, "hubble_deep_field.jpg": 64, "ihc.png": 36, "moon.png": 4,
        "motorcycle_left.png": 64, "page.png": 4, "retina.jpg": 36, "rocket.jpg": 4, "text.png": 2,
    },
    "sklearn": {"china.jpg": 36, "flower.jpg": 2},
}  # fmt: skip
"""Photos, and how many tiles are cut from each: some are common, some are rare, as in a real collection."""


def make_tiles(folder: Path) -> tuple[Path, Path]:
    """Cut the tiles into `folder` and list their classes; returns the folder of tiles and the list (CSV).

    Raises PlanError where the packages are not installed.
    """
    try:
        import skimage
        import sklearn
    except ImportError as error:
        raise PlanError(
            f"the demo's photos come with scikit-image and scikit-learn: install interpdisc[demo] ({error})."
        ) from error
    roots = {
        "skimage": Path(str(skimage.__file__)).parent / "data",
        "sklearn": Path(str(sklearn.__file__)).parent / "datasets" / "images",
    }
    tiles = folder / "tiles"
    tiles.mkdir(parents=True, exist_ok=True)
    rows = []
    for package, photos in PHOTOS.items():
        for photo, most in photos.items():
            path = roots[package] / photo
            if not path.is_file():
                continue
            for number, tile in enumerate(_cut(Image.open(path).convert("RGB"), most)):
                name = f"{path.stem}-{number:02d}.png"
                tile.save(tiles / name)
                rows.append({"file": name, "class_name": path.stem, "photo": f"{package}/{photo}"})
    labels = folder / "tiles.csv"
    with labels.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tiles, labels


def _cut(photo: Image.Image, most: int) -> list[Image.Image]:
    """At most `most` tiles, evenly spread over a regular grid of the photo."""
    scale = max(1.0, 1.5 * TILE / min(photo.size))
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale))) if scale > 1 else photo
    corners = [(x, y) for y in range(0, photo.height - TILE + 1, TILE) for x in range(0, photo.width - TILE + 1, TILE)]
    step = max(1.0, len(corners) / most)
    chosen = [corners[int(i * step)] for i in range(min(most, len(corners)))]
    return [photo.crop((x, y, x + TILE, y + TILE)) for x, y in chosen]
