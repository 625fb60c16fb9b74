"""The backfill: an archive of millions of images, shard by shard.

    backfills/<name>/plan.json           the shards, and which batch of the archive each one is, for ever
    backfills/<name>/shards/<batch>.json that a shard is there: members by status, hash of its rows, speed
    backfills/<name>/settled.json        whose contents were compared with all others
    backfills/<name>/remembered.json     which batches each record of the memory holds
    backfills/<name>/proof.json          that what went in came out

`<name>` is that of the features, so a backfill of one representation is one backfill, however many calls it took. A shard
is the unit of work and of writing: read once, in order, by one task. Rows are its images in its order, whatever became of
them, so they are the same for every representation.
"""
