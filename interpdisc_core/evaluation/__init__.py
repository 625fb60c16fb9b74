"""Evaluation studies on labeled images: discovery, label errors, and the replay of a mission day by day.

May import `training` and what lies below. Owns `lab/` (studies, cells, collections) and `learned/` of an archive.
"""
