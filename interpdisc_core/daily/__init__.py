"""The daily run: what came in since the last one, beside what the archive remembers of the days before.

A day is a sol. Its list is made against the days before it; then the memory takes the day in, one record for each
stratum. A record is a function of the day's images (and of what people said of them) alone: however they came, late,
twice, or around a crash, the same images leave the same bits.

    settings    what is asked for
    calendar    the catalog's images by day
    arrivals    the source's new images into the catalog
    lanes       of one day's images: science, artefacts, known; one representative of each observation
    strata      what is compared with what
    horizon     which days count as seen, how unusual a score is beside them
    opening     a day's runs, ready for selection
    likeness    nearest of the days before, and what is alike
    marked      what people's word does
    recurrence  earlier picks that were seen again
    beside      what a budget left out, and the artefact lane
    telling     a day's result: what a person reads
    closing     the result written, pages made, the day committed
    commit      the memory takes a day in, or gives it back
    rebuilding  the memory made anew
    log         an account of each run

Under `days/<day>/` of an archive: `day.json`, the result, and `day-<revision>.json`, those it replaced; `scores.parquet`,
how new each image was beside the days before; `commit.json`, written last: the day is in the memory.
"""
