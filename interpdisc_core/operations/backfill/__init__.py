"""The backfill: the images of millions of shard members into an archive, shard by shard.

A shard, a tar or zip, is the unit of work and of writing: one task reads it once, in order. Its rows are its images in its
order, whether they could be read or not, so they are the same for every representation.

Modules, in the order of a call: `plan` (the shards to read, and the batch of each), `budget` (how many to hand out, when
to stop), `process_shard`, `member_count` (an independent count of members), `deduplicate`, `prove` (completeness),
`remember` (add the images to the memory), `summary`; `records` reads and writes the files below.

May import every package of the core except `evaluation` and `training`.

On disk, where `<name>` is that of the features, so one representation has one backfill, however many calls it took:

    backfills/<name>/plan.json             the shards, and the batch of each
    backfills/<name>/shards/<batch>.json   a shard that was read: members by status, digest of its rows, speed
    backfills/<name>/faults/<batch>.json   what is wrong with a shard; it is tried again
    backfills/<name>/settled.json          the batches whose contents were compared with all others
    backfills/<name>/remembered.json       the batches in each record of the memory
    backfills/<name>/proof.json            the proof of completeness
    backfills/<name>/result.json           the summary of the last call
"""
