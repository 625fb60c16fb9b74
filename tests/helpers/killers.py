"""Images that really kill the process that decodes them, with SIGKILL."""

from pathlib import Path

KILLER_SIZE = (61, 67)
"""Width and height: the mark of an image that kills."""

_HOOK = """
import os, signal
from PIL import Image, ImageFile

load, open_image = ImageFile.ImageFile.load, Image.open

def kill_if_marked(image):
    if image.size == (61, 67):
        with open(os.environ["KILLER_LOG"], "a") as log:
            log.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return image

if os.environ["KILLER_STEP"] == "header":
    Image.open = lambda *args, **options: kill_if_marked(open_image(*args, **options))
else:
    ImageFile.ImageFile.load = lambda image: load(kill_if_marked(image))
"""


def make_killer_environment(folder: Path, step: str) -> dict[str, str]:
    """Variables with which every Python that starts is killed by a marked image.

    Args:
        folder: Where the hook and the log of deaths are written.
        step: `header`: as soon as its header is read; `pixels`: when it is decoded.
    """
    (folder / "hook").mkdir(parents=True)
    (folder / "hook" / "sitecustomize.py").write_text(_HOOK)
    (folder / "deaths").touch()
    return {"PYTHONPATH": str(folder / "hook"), "KILLER_LOG": str(folder / "deaths"), "KILLER_STEP": step}


def count_deaths(environment: dict[str, str]) -> int:
    """Processes that were killed so far."""
    return len(Path(environment["KILLER_LOG"]).read_text())
