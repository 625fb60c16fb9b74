"""Explanations of picks: pictures of what was expected and what is new, and measures of how far to trust them.

May import `archive` and what is below it. On disk it owns an archive's `cache/` (rendered pictures) and a run's
`reference.npz`; both are caches that are built again when missing or damaged.
"""

CARD_PICKS = 50
"""Picks that are explained, and that a report shows as cards; later ones are in its table only."""
