"""The pictures of a day: its picks at full width, their explanations, and thumbnails of whatever else it names."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from interpdisc_core import frames
from interpdisc_core.cards import NearView, PickView
from interpdisc_core.catalog_lookup import Found, find
from interpdisc_core.charts import Window
from interpdisc_core.errors import InterpdiscError, StoreError, Unreadable
from interpdisc_core.extraction import pixels
from interpdisc_core.images import Pixels, within
from interpdisc_core.plan import Plan
from interpdisc_core.runs import Explanation, Pick, Run
from interpdisc_core.runs import Near as Member
from interpdisc_core.site.day import Day, DayPick, Laned, Near, Ranked
from interpdisc_core.storage import Place

log = logging.getLogger(__name__)

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LARGE, SMALL, WHOLE = 640, 160, 1280
"""Pixels on the long side of a pick's photo, of a picture beside it, and of a whole frame."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A pick with its pictures. view: what a card is made of. frame: the whole frame that its tile was cut from."""

    pick: DayPick
    view: PickView
    frame: Pixels | None


@dataclass(slots=True)
class Album:
    """Where a day's pictures come from. Nothing in here raises for a picture that is gone: there is none then."""

    archive: Place
    day: Day
    _plan: Plan | None = None
    _picks: dict[str, Pick] = field(default_factory=dict)
    _found: dict[str, Found] = field(default_factory=dict)
    _ids: dict[str, Found] = field(default_factory=dict)
    _run: Run | None = None

    @classmethod
    def of(cls, archive: Place, day: Day) -> "Album":
        """The album of a day: its run's picks, and the catalog's entries of every image that the day names."""
        album = cls(archive, day)
        try:
            if not _RUN.fullmatch(day.run):
                raise StoreError("no run has such a name")
            run = Run(archive, day.run)
            album._plan, album._picks, album._run = run.plan, {_key(pick): pick for pick in run.picks()}, run
        except (FileNotFoundError, StoreError) as error:
            if day.picks:
                log.warning("%s: no explanations, since its run cannot be read: %s", day.day, error)
        lanes = (*day.tracked, *day.absorbed, *day.beyond_budget, *day.artefacts, *day.discoveries)
        named: list[Laned | Ranked] = [*lanes, *(one for part in day.strata for one in part.picks)]
        keys = {one.key for one in named if not one.sha256} | {near.key for pick in day.picks for near in pick.nearest}
        ids = {near.id for pick in day.picks for near in pick.nearest if not near.key}
        ids |= {one.like for one in lanes} | {one.id for one in lanes if not one.key}
        album._found = find(archive, ids=ids - {""}, keys=keys - {""})
        for found in sorted(album._found.values(), key=lambda one: (one.status == "ready", one.key)):
            album._ids[found.id] = found
        return album

    def shown(self, pick: DayPick) -> Shown:
        """A pick with everything that its card shows."""
        made, kept = self._picks.get(f"{pick.key}\0{pick.sha256}") or self._picks.get(pick.key), None
        if made is not None and self._run is not None:
            try:
                kept = self._run.explanations().read(made.rank)
            except (InterpdiscError, FileNotFoundError) as error:
                log.warning("%s: no explanation of pick %d: %s", self.day.day, pick.rank, error)
        explanation = kept or Explanation(None, {}, {})
        picture, problem, window = self._photo(pick)
        near = {one.id: one for one in made.nearest} if made else {}
        view = PickView(
            rank=pick.rank, id=pick.id, uri=pick.uri, score=pick.score, near_ties=made.near_ties if made else 0,
            label=pick.label, record={}, picture=picture, problem=problem, window=window, where=explanation.where,
            renderings=explanation.renderings, numbers=explanation.numbers or pick.numbers,
            nearest=tuple(
                NearView(id=one.id, distance=one.distance, role=one.day, picture=self._near(one, near.get(one.id)))
                for one in pick.nearest
            ),
            manner=explanation.manner, deletion=explanation.deletion,
            trusted=pick.trusted if explanation.trusted is None else explanation.trusted, threshold=explanation.threshold,
        )  # fmt: skip
        return Shown(pick, view, self._frame(pick))

    def thumb(self, one: Laned | Ranked) -> Pixels | None:
        """A small picture of an image that the day names."""
        if one.uri and one.sha256:
            return _small(one.uri, one.sha256)
        return _small_of(self._found.get(one.key) or self._ids.get(one.id))

    def thumb_of(self, id: str) -> Pixels | None:
        """A small picture of an image by its id."""
        return _small_of(self._ids.get(id))

    def _near(self, one: Near, near: Member | None) -> Pixels | None:
        if near is not None:
            return _small(near.uri, near.sha256)
        return _small_of(self._found.get(one.key) or self._ids.get(one.id))

    def _photo(self, pick: DayPick) -> tuple[Pixels | None, str, Window]:
        """The picture that was picked, or why there is none; and what the network looked at of it."""
        try:
            picture = pixels(pick.uri, pick.sha256, at_least=LARGE)
        except (Unreadable, StoreError) as error:
            return None, str(error), (0.0, 0.0, 1.0, 1.0)
        height, width = picture.shape[:2]
        window = (0.0, 0.0, 1.0, 1.0)
        if self._plan is not None:
            left, top, right, bottom = self._plan.representation.window(width, height)
            window = (left / width, top / height, right / width, bottom / height)
        return within(picture, LARGE), "", window

    def _frame(self, pick: DayPick) -> Pixels | None:
        """The frame of a pick that is a tile of it; None for any other, and where it is not the same any more."""
        if pick.tile is None:
            return None
        try:
            found = frames.around(pick.uri, pick.sha256)
            return None if found is None else within(found[0], WHOLE)
        except (Unreadable, StoreError):
            return None


def thumbs(shown: Iterable[Shown]) -> dict[str, Pixels]:
    """Small pictures of picks by their keys."""
    return {one.pick.key: within(one.view.picture, 320) for one in shown if one.view.picture is not None}


def _key(pick: Pick) -> str:
    """A frame's tiles have its key in common, and differ in content."""
    return f"{pick.key}\0{pick.sha256}"


def _small(uri: str, sha256: str) -> Pixels | None:
    try:
        return within(pixels(uri, sha256, at_least=SMALL), SMALL)
    except (Unreadable, StoreError):
        return None


def _small_of(found: Found | None) -> Pixels | None:
    return _small(found.uri, found.sha256) if found and found.sha256 else None
