"""The stages of a run, one module per Prefect task: ingest, extract, select, explain, publish.

Next to them: `assign_rows` and `labels` (parts of ingest), `selection_loop` (shared with `select_features`, the selection
of features without images, and its tables and readers), and `partition` (how work is divided into tasks).

May import `reporting`, `explanations`, `archive` and what is below them. On disk it owns the files of a selection of
features (see `select_features`), an archive's `listings/`, and what a run's folder holds next to what
`interpdisc_core.archive.run` describes: the checkpoint, the ledger and the products of `publish`.
"""
