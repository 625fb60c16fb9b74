"""Names in files that layout version 3 changed: today's name by the one that versions 1 and 2 wrote.

Files with old names are never rewritten. Every reader of such a file accepts both names, and every writer uses today's.
"""

from collections.abc import Mapping
from typing import Any

CATALOG_COLUMNS = {"why": "reason", "access": "retryable"}
"""Columns of `catalog/*.parquet`, `catalog-history/*.parquet` and `listings/<name>/unchecked.parquet`."""
CATALOG_METADATA = {"stands for": "replaced_parts"}
"""Parquet metadata of `catalog/<sequence>-compact.parquet`."""
ARCHIVE_KEYS = {"made by": "made_by", "migrating from": "migrating_from", "migrated from": "migrated_from"}
"""Keys of `archive.json`."""
EXPLANATION_ARRAYS = {"told": "metadata", "where": "attribution_map"}
"""Arrays of `runs/<run>/explanations/<rendering>/<rank>-<digest>.npz`."""
EXPLANATION_KEYS = {"manner": "attribution_kind"}
"""Keys of the JSON in the array `metadata` of those files."""
COMMIT_KEYS = {"of": "images_digest", "lanes": "remembered_digest", "remembers": "memory_digest"}
"""Keys of `days/<day>/commit.json`, also within `undone.json`."""
DAY_KEYS = {"of": "images_digest"}
"""Keys of `days/<day>/day.json`."""
PICK_KEYS = {"novelty_rank": "tail_probability", "seen_again": "recurrence"}
"""Keys of each pick in `days/<day>/day.json`."""
LANE_KEYS = {"seen_again": "recurrence_count", "why": "reason"}
"""Keys of each image in the groups of `days/<day>/day.json` that are not picks."""
DIFFERENCE_KEYS = {"before": "previous_day"}
"""Keys of the comparison with the revision before, in `days/<day>/day.json`."""


def use_current_names(payload: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A JSON object with today's keys. A key that `names` does not have stays; today's key wins if both are there.

    Example:
        >>> use_current_names({"why": "empty file", "row": 3}, CATALOG_COLUMNS)
        {'reason': 'empty file', 'row': 3}
    """
    renamed = {names[key]: value for key, value in payload.items() if key in names}
    return renamed | {key: value for key, value in payload.items() if key not in names}
