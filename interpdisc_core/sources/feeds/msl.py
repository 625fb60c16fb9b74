"""The raw-image feed of the Mars Science Laboratory (`raw_image_items`)."""

from typing import ClassVar, Literal

from interpdisc_core.settings import settings
from interpdisc_core.sources.feeds.nasa_feed import NasaFeed, digest_query
from interpdisc_core.sources.feeds.record import ArrivalRecord, RawRecord, parse_arrival, text_field
from interpdisc_core.sources.feeds.settings import add_query, resolve_image_url


@settings
class MslFeed(NasaFeed):
    """The images of a mission, as its feed publishes them. See `NasaFeed` for the other settings.

    Args:
        mission: As the feed names it.
    """

    kind: Literal["msl-feed"] = "msl-feed"
    url: str = "https://mars.nasa.gov/api/v1/raw_image_items/"
    mission: str = "msl"

    _list_key: ClassVar[str] = "items"
    _known_fields: ClassVar[frozenset[str]] = frozenset(
        [
            "id",
            "imageid",
            "sol",
            "instrument",
            "url",
            "https_url",
            "site",
            "drive",
            "spacecraft_clock",
            "subframe_rect",
            "scale_factor",
            "camera_vector",
            "camera_position",
            "camera_model_type",
            "camera_model_component_list",
            "attitude",
            "xyz",
            "date_taken",
            "date_received",
            "created_at",
            "updated_at",
            "mission",
            "instrument_sort",
            "sample_type_sort",
            "is_thumbnail",
            "title",
            "description",
            "link",
            "image_credit",
            "extended",
            "extended.lmst",
            "extended.bucket",
            "extended.mast_az",
            "extended.mast_el",
            "extended.url_list",
            "extended.contributor",
            "extended.filter_name",
            "extended.sample_type",
        ]
    )

    @property
    def inbox_name(self) -> str:
        """See `FeedAdapter`."""
        return self.name or self.mission

    def query_digest(self) -> str:
        """See `FeedAdapter`."""
        return digest_query(self.url, self.mission, self.since_sol, self.cameras)

    def page_url(self, number: int) -> str:
        """See `FeedAdapter`."""
        paging = {"order": "created_at desc", "per_page": self.page_size, "page": number}
        return add_query(self.url, paging | {"condition_1": f"{self.mission}:mission"} | self._sol_condition())

    def parse_arrival(self, record: RawRecord) -> ArrivalRecord:
        """See `FeedAdapter`."""
        image_url = text_field(record, "https_url") or text_field(record, "url")
        return parse_arrival(
            record,
            received_fields=("created_at", "date_received", "updated_at"),
            instrument=text_field(record, "instrument"),
            url=resolve_image_url(image_url, self.url),
        )
