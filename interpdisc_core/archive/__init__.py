"""All that an archive stores: its layout version, catalog, batches of rows, features, memory, runs and verdicts.

May import the packages of images, features and selection, and plan; not explanations, pipeline or operations. Owns on
disk: `archive.json`, `catalog/`, `catalog-history/`, `batches/`, `features/`, `memory/`, `feedback/`, `days/<day>/day*.json`
and, in `runs/<run>/`, the plan, members, vectors and explanations. Names that changed are in `disk_names`.
"""
