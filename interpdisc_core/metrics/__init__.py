"""Numbers that say how good a selection, a ranking or a rendering is; functions of arrays, higher or lower as documented.

May import `selectors` (nearest neighbors) and what lies below. Owns nothing on disk.
"""
