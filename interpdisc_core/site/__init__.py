"""What is published of an archive: a page for every day, tables, an index that can be searched, and a feed.

Static files under `site/`, which any web server or `interpdisc serve` shows.
"""

from interpdisc_core.site.publish import Published as Published
from interpdisc_core.site.publish import publish as publish
from interpdisc_core.site.publish import reindex as reindex
from interpdisc_core.site.publish import withdraw as withdraw
