"""The pictures of a day: its picks, their explanations, and thumbnails of the other images that it names."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from interpdisc_core._types import PixelArray
from interpdisc_core.archive.catalog import EntrySummary, find_entries_by_id
from interpdisc_core.archive.day_result import DayPick, DayResult, LaneImage, NearestImage, RankedImage
from interpdisc_core.archive.run import Explanation, NearImage, Pick, Run
from interpdisc_core.errors import InterpdiscError, StoreError, Unreadable
from interpdisc_core.explanations.render import describe_missing_novelty
from interpdisc_core.images import load
from interpdisc_core.images.load import load_input_image
from interpdisc_core.images.resize import shrink_to_fit
from interpdisc_core.plan import Plan
from interpdisc_core.reporting.charts import FractionBox
from interpdisc_core.reporting.pick_view import ExpectedImage, ExpectedView, NearView, PickView
from interpdisc_core.reporting.site.phrases import format_day_title
from interpdisc_core.storage.location import Location

log = logging.getLogger(__name__)

_RUN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PHOTO_SIDE, FRAME_SIDE, PICK_THUMB_SIDE, EXPECTED_SIDE, THUMB_SIDE = 640, 1280, 320, 256, 160
"""Pixels on the long side: of a pick's photo, of its whole frame, of its thumbnail, of an image of what was expected, and of
any other small picture."""
_EXPECTED_COUNT = 5
"""Images on a card that show what was expected."""


@dataclass(frozen=True, slots=True)
class PickPictures:
    """A pick with its pictures.

    Attributes:
        view: What its card is made of.
        frame: The whole frame (h, w, 3), if the pick is a tile of one.
    """

    pick: DayPick
    view: PickView
    frame: PixelArray | None


@dataclass(slots=True)
class PictureLoader:
    """Loads a day's pictures. A missing picture is None and raises nothing."""

    archive: Location
    day: DayResult
    _plan: Plan | None = None
    _pick_by_key: dict[str, Pick] = field(default_factory=dict)
    _entry_by_key: dict[str, EntrySummary] = field(default_factory=dict)
    _entry_by_id: dict[str, EntrySummary] = field(default_factory=dict)
    _run: Run | None = None

    @classmethod
    def for_day(cls, archive: Location, day: DayResult) -> "PictureLoader":
        """The loader of a day: with the picks of its run, and the catalog's entries of all images that it names."""
        loader = cls(archive, day)
        try:
            if not _RUN_PATTERN.fullmatch(day.run):
                raise StoreError(f"{day.run[:100]!r} is not the name of a run")
            run = Run(archive, day.run)
            loader._plan, loader._pick_by_key = run.plan, {_pick_key(pick): pick for pick in run.read_picks()}
            loader._run = run
        except (FileNotFoundError, StoreError) as error:
            if day.picks:
                log.warning("%s: shown without explanations, since its run cannot be read: %s", day.day, error)
        lanes = (*day.tracked, *day.absorbed, *day.beyond_budget, *day.artefacts, *day.discoveries)
        images: list[LaneImage | RankedImage] = [*lanes, *(image for part in day.strata for image in part.picks)]
        keys = {image.key for image in images if not image.sha256} | {
            near.key for pick in day.picks for near in pick.nearest
        }
        ids = {near.id for pick in day.picks for near in pick.nearest if not near.key}
        ids |= {image.like for image in lanes} | {image.id for image in lanes if not image.key}
        loader._entry_by_key = find_entries_by_id(archive, ids=ids - {""}, keys=keys - {""})
        for entry in sorted(loader._entry_by_key.values(), key=lambda entry: (entry.status == "ready", entry.key)):
            loader._entry_by_id[entry.id] = entry
        return loader

    def load_pick(self, pick: DayPick) -> PickPictures:
        """A pick with all that its card shows."""
        run_pick = self._pick_by_key.get(_pick_key(pick)) or self._pick_by_key.get(pick.key)
        stored_explanation, novelty_note = None, ""
        if run_pick is not None and self._run is not None:
            try:
                stored_explanation = self._run.open_explanations().read(run_pick.rank)
                x, expected, _ = self._run.read_vectors(run_pick.rank)
                novelty_note = describe_missing_novelty(x, expected, is_first=pick.rank == 1 and not pick.nearest)
            except (InterpdiscError, FileNotFoundError) as error:
                log.warning("%s: no explanation of pick %d: %s", self.day.day, pick.rank, error)
        explanation = stored_explanation or Explanation(None, {}, {})
        picture, problem, window = self._load_photo(pick)
        nearest_by_id = {near.id: near for near in run_pick.nearest} if run_pick else {}
        view = PickView(
            rank=pick.rank,
            id=pick.id,
            uri=pick.uri,
            score=pick.score,
            near_ties=run_pick.near_ties if run_pick else 0,
            label=pick.label,
            record={},
            picture=picture,
            problem=problem,
            window=window,
            attribution_map=explanation.attribution_map,
            renderings=explanation.renderings,
            measures=explanation.numbers or pick.numbers,
            nearest=tuple(
                NearView(
                    id=near.id,
                    distance=near.distance,
                    role=near.day,
                    picture=self._load_nearest(near, nearest_by_id.get(near.id)),
                )
                for near in pick.nearest
            ),
            expected=self._build_expected_view(pick) if pick.composition else None,
            attribution_kind=explanation.attribution_kind,
            deletion=explanation.deletion,
            is_trusted=pick.trusted if explanation.trusted is None else explanation.trusted,
            threshold=explanation.threshold,
            novelty_note=novelty_note,
            explanation_problem=explanation.problem,
        )
        return PickPictures(pick, view, self._load_frame(pick))

    def _build_expected_view(self, pick: DayPick) -> ExpectedView | None:
        """The image nearest to what was expected, then those of largest weight; never the pick itself."""
        if pick.composition is None:
            return None
        images = [image for image in pick.composition.images if image.sha256 != pick.sha256][:_EXPECTED_COUNT]
        return ExpectedView(
            count=pick.composition.count,
            total=pick.composition.total,
            is_of_all=any(image.role == "candidate" for image in images),
            images=tuple(
                ExpectedImage(
                    id=image.id,
                    role=image.role
                    if image.role.startswith("pick ") or image.role in ("candidate", "known", "")
                    else format_day_title(image.role, None),
                    picture=_load_small(image.uri, image.sha256, EXPECTED_SIDE) if image.uri else None,
                    weight=image.weight,
                    is_nearest=image.is_nearest,
                )
                for image in images
            ),
        )

    def load_thumb(self, image: LaneImage | RankedImage) -> PixelArray | None:
        """A small picture of an image that the day names."""
        if image.uri and image.sha256:
            return _load_small(image.uri, image.sha256)
        return _load_small_of_entry(self._entry_by_key.get(image.key) or self._entry_by_id.get(image.id))

    def load_thumb_by_id(self, id: str) -> PixelArray | None:
        """A small picture of an image by its id."""
        return _load_small_of_entry(self._entry_by_id.get(id))

    def _load_nearest(self, image: NearestImage, run_nearest: NearImage | None) -> PixelArray | None:
        if run_nearest is not None:
            return _load_small(run_nearest.uri, run_nearest.sha256)
        return _load_small_of_entry(self._entry_by_key.get(image.key) or self._entry_by_id.get(image.id))

    def _load_photo(self, pick: DayPick) -> tuple[PixelArray | None, str, FractionBox]:
        """The picture of a pick or None, why it is missing, and the part that the network reads, as fractions."""
        try:
            picture = load_input_image(pick.uri, pick.sha256, at_least=PHOTO_SIDE)
        except (Unreadable, StoreError) as error:
            return None, str(error), (0.0, 0.0, 1.0, 1.0)
        height, width = picture.shape[:2]
        window = (0.0, 0.0, 1.0, 1.0)
        if self._plan is not None:
            left, top, right, bottom = self._plan.representation.compute_window(width, height)
            window = (left / width, top / height, right / width, bottom / height)
        return shrink_to_fit(picture, PHOTO_SIDE), "", window

    def _load_frame(self, pick: DayPick) -> PixelArray | None:
        """The frame of a pick that is a tile; None for other picks, and if the frame has changed."""
        if pick.tile is None:
            return None
        try:
            frame = load.frame_of_tile(pick.uri, pick.sha256)
            return None if frame is None else shrink_to_fit(frame[0], FRAME_SIDE)
        except (Unreadable, StoreError):
            return None


def make_thumbs(pick_pictures: Iterable[PickPictures]) -> dict[str, PixelArray]:
    """Thumbnails of picks, by key."""
    return {
        pictures.pick.key: shrink_to_fit(pictures.view.picture, PICK_THUMB_SIDE)
        for pictures in pick_pictures
        if pictures.view.picture is not None
    }


def _pick_key(pick: Pick | DayPick) -> str:
    """Tiles of a frame share its key, and differ in content."""
    return f"{pick.key}\0{pick.sha256}"


def _load_small(uri: str, sha256: str, side: int = THUMB_SIDE) -> PixelArray | None:
    try:
        return shrink_to_fit(load_input_image(uri, sha256, at_least=side), side)
    except (Unreadable, StoreError):
        return None


def _load_small_of_entry(entry: EntrySummary | None) -> PixelArray | None:
    return _load_small(entry.uri, entry.sha256) if entry and entry.sha256 else None
