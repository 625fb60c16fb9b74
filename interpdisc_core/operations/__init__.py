"""Work on whole archives: daily runs, backfills of shards, verification and migration.

May import every other package of the core. Owns on disk: `days/`, `backfills/`, `accounts/`.
"""
