"""The website of an archive: a page for each day, tables, a searchable index, and an Atom feed.

On disk: `site/`, static files for `interpdisc serve` or any web server. May import the rest of `reporting` and the layers
below it.
"""

from interpdisc_core.reporting.site.publish import PublishedDay as PublishedDay
from interpdisc_core.reporting.site.publish import publish_day as publish_day
from interpdisc_core.reporting.site.publish import rebuild_index as rebuild_index
from interpdisc_core.reporting.site.publish import withdraw_day as withdraw_day
