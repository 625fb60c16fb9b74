"""Real features for the selection benchmarks: every image in some folders, through EfficientNet-lite0.

    python benchmarks/features.py OUT FOLDER [FOLDER…]

Writes OUT/pooled.npy (N, 1280), OUT/logits.npy (N, 1000) and OUT/wide.npy (N, 4160: pooled and the 3 x 3 grid of
the last block's 320 channels), float32, rows in order of the files' paths, and OUT/paths.txt. Files that are no images are
left out. Existing results are kept. About 60 images/s on 2 cores.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from interpdisc_core.errors import Unreadable
from interpdisc_core.images.decode import decode
from interpdisc_core.representations import EfficientNetLite0

LAYERS = {
    "pooled": EfficientNetLite0(),
    "logits": EfficientNetLite0(output="logits"),
    "grid": EfficientNetLite0(output="grid", grid=3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if all((options.out / f"{name}.npy").exists() for name in ("pooled", "logits", "wide")):
        return
    paths = [path for folder in options.folders for path in sorted(folder.rglob("*")) if path.is_file()]
    embeds = {name: layer.load() for name, layer in LAYERS.items()}
    prepare = LAYERS["pooled"].prepare

    def prepare_file(path: Path) -> np.ndarray | None:
        try:
            return prepare(decode(path.read_bytes(), at_least=224))
        except Unreadable:
            return None

    rows: dict[str, list[np.ndarray]] = {name: [] for name in LAYERS}
    names: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(paths), 64):
            group = paths[start : start + 64]
            images = list(pool.map(prepare_file, group))
            readable = [(path, image) for path, image in zip(group, images, strict=True) if image is not None]
            if not readable:
                continue
            names += [f"{path.parent.name}/{path.name}" for path, _ in readable]
            for name, embed in embeds.items():
                rows[name].append(embed(np.stack([image for _, image in readable])))
    pooled, logits, grid = (np.concatenate(rows[name]) for name in ("pooled", "logits", "grid"))
    for name, values in (("pooled", pooled), ("logits", logits), ("wide", np.hstack([pooled, grid]))):
        np.save(options.out / f"{name}.npy", values)
    (options.out / "paths.txt").write_text("\n".join(names) + "\n")
    print(f"{len(names)} images of {len(paths)} files: {options.out}")


if __name__ == "__main__":
    main()
