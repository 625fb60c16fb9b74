"""The measures of the planted-novelty benchmark, where what they must say is known."""

import numpy as np
import pytest

from benchmarks.planted import Cutout, cell_coverage, cells_near, cut_silhouette, measure_map, plant_cutout

BOX = (32.0, 64.0, 96.0, 128.0)  # of 224: two by two cells of 7 x 7, exactly


def test_a_map_that_is_the_box_scores_all_there_is_to_score() -> None:
    attribution_map = cell_coverage(BOX, 7)
    assert attribution_map.sum() == pytest.approx(4)
    measures = measure_map(attribution_map, 1 - attribution_map, BOX)
    assert (measures["point"], measures["strict"], measures["iou"]) == (1, 1, 1)
    assert measures["energy"] == pytest.approx(49 / 4)
    assert measures["strict chance"] == pytest.approx(4 / 49)
    assert measures["point activation"] == 0


def test_a_map_elsewhere_scores_nothing() -> None:
    attribution_map = np.zeros((7, 7))
    attribution_map[6, 6] = 1
    measures = measure_map(attribution_map - 1e-9, attribution_map, BOX)
    assert (measures["point"], measures["iou"], measures["energy"]) == (0, 0, 0)


def test_the_tolerance_is_a_distance_from_the_box() -> None:
    assert cells_near((100, 100, 124, 124), 7, 0).sum() == 1
    assert cells_near((100, 100, 113, 124), 7, 15).sum() == 1
    assert cells_near((81, 100, 113, 124), 7, 1).sum() == 2  # a centre at 80


def test_chance_is_the_mean_of_random_maps() -> None:
    rng = np.random.default_rng(0)
    measures = [measure_map(rng.random((4, 4)), rng.random((4, 4)), (20, 30, 130, 90)) for _ in range(3000)]
    for name in ("point", "iou"):
        assert np.mean([t[name] for t in measures]) == pytest.approx(measures[0][f"{name} chance"], abs=0.02)


def test_a_paste_changes_its_box_only_and_both_conditions_share_it() -> None:
    rng = np.random.default_rng(1)
    host, filling = (rng.integers(0, 255, (90, 140, 3)).astype(np.uint8) for _ in range(2))
    variants = plant_cutout(host, Cutout(np.zeros((40, 60, 3), np.uint8), np.ones((40, 60))), filling, rng)
    assert variants["object"].box == variants["control"].box
    left, top, right, bottom = variants["object"].outline
    for variant in variants.values():
        changed = (variant.picture != host).any(axis=2)
        assert changed[top:bottom, left:right].mean() > 0.9
        changed[top:bottom, left:right] = False
        assert not changed.any()
        assert min(variant.box) >= -1
        assert max(variant.box) <= 225


def test_a_silhouette_is_what_stands_before_a_plain_border() -> None:
    picture = np.full((100, 120, 3), 250, np.uint8)
    picture[30:70, 40:90] = (10, 20, 200)
    assert cut_silhouette(picture).alpha.shape == (40, 50)
    assert cut_silhouette(np.random.default_rng(0).integers(0, 255, picture.shape).astype(np.uint8)) is None
