"""The daily run: what is new in the images that came in since the last run, compared with what the archive remembers.

A day is a sol. Its picks are selected against the earlier days; then the day is committed to the memory, with one record
for each stratum. A record depends only on the day's images and on the verdicts on them. However they came in (late,
twice, around a crash), the same images give the same bits.

Modules, in the order of a run:

    settings   what a run reads, compares and picks
    days       the catalog's images by day, and a day's strata
    ingest     poll the source, catalog new inputs, find the days to process
    triage     a day's images: candidates for picks, artefacts, known and unreadable ones; observations
    commit     which days the memory holds: commit, undo, redo, apply verdicts
    horizon    which earlier days count as seen, and how unusual a score is
    prepare    start a day's selection runs
    similar    nearest earlier images, repeats of earlier picks, images like a marked one
    result     build the day's result
    finish     write the result, publish the pages, commit the day; the log of a run
    rebuild    compute the memory again

May import every package of the core except `evaluation` and `training`.

On disk: `days/<day>/` of an archive. `opened.json`: the prepared runs. `scores.parquet`: the novelty of each image against
the earlier days. `day.json`: the result, see `interpdisc_core.archive.day_result`. `commit.json`, written last: the day is in
the memory. `undone.json`: somebody took it out. And `accounts/`: the logs of runs.
"""
