"""The measures of the planted-novelty benchmark, where what they must say is known."""

import numpy as np
import pytest

from benchmarks.planted import Cutout, covered, measures, near, plant, silhouette

BOX = (32.0, 64.0, 96.0, 128.0)  # of 224: two by two cells of 7 x 7, exactly


def test_a_map_that_is_the_box_scores_all_there_is_to_score() -> None:
    where = covered(BOX, 7)
    assert where.sum() == pytest.approx(4)
    told = measures(where, 1 - where, BOX)
    assert (told["point"], told["strict"], told["iou"]) == (1, 1, 1)
    assert told["energy"] == pytest.approx(49 / 4)
    assert told["strict chance"] == pytest.approx(4 / 49)
    assert told["point activation"] == 0


def test_a_map_elsewhere_scores_nothing() -> None:
    where = np.zeros((7, 7))
    where[6, 6] = 1
    told = measures(where - 1e-9, where, BOX)
    assert (told["point"], told["iou"], told["energy"]) == (0, 0, 0)


def test_the_tolerance_is_a_distance_from_the_box() -> None:
    assert near((100, 100, 124, 124), 7, 0).sum() == 1
    assert near((100, 100, 113, 124), 7, 15).sum() == 1
    assert near((81, 100, 113, 124), 7, 1).sum() == 2  # a centre at 80


def test_chance_is_what_random_maps_come_to() -> None:
    rng = np.random.default_rng(0)
    told = [measures(rng.random((4, 4)), rng.random((4, 4)), (20, 30, 130, 90)) for _ in range(3000)]
    for name in ("point", "iou"):
        assert np.mean([t[name] for t in told]) == pytest.approx(told[0][f"{name} chance"], abs=0.02)


def test_a_paste_changes_its_box_only_and_both_conditions_share_it() -> None:
    rng = np.random.default_rng(1)
    host, filling = (rng.integers(0, 255, (90, 140, 3)).astype(np.uint8) for _ in range(2))
    made = plant(host, Cutout(np.zeros((40, 60, 3), np.uint8), np.ones((40, 60))), filling, rng)
    assert made["object"].box == made["control"].box
    left, top, right, bottom = made["object"].outline
    for it in made.values():
        changed = (it.picture != host).any(axis=2)
        assert changed[top:bottom, left:right].mean() > 0.9
        changed[top:bottom, left:right] = False
        assert not changed.any()
        assert min(it.box) >= -1
        assert max(it.box) <= 225


def test_a_silhouette_is_what_stands_before_a_plain_border() -> None:
    picture = np.full((100, 120, 3), 250, np.uint8)
    picture[30:70, 40:90] = (10, 20, 200)
    assert silhouette(picture).alpha.shape == (40, 50)
    assert silhouette(np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)) is None
