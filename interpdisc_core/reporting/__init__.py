"""Reports as HTML pages: the report of a run, and in `site` the pages of daily runs.

`html` has what all pages share, `charts` the charts and overlays, `cards` the picks, `templates/` the Jinja templates.

May import `explanations`, `archive` and what is below them; not `pipeline` or anything that computes. It owns nothing on
disk but what `site` publishes.
"""
