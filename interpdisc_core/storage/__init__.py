"""Bytes in a local folder or an object store: locations, tables, file names, compare-and-swap and the writers' lock.

May import settings, digest, errors and _types. Owns `lock.json` and `.lock` in an archive.
"""
