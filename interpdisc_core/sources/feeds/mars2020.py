"""The raw-image feed of Mars 2020 (`rss/api`, category mars2020 or ingenuity)."""

from typing import ClassVar, Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.settings import settings
from interpdisc_core.sources.feeds.nasa_feed import NasaFeed, digest_query
from interpdisc_core.sources.feeds.record import ArrivalRecord, RawRecord, get_field, parse_arrival, text_field
from interpdisc_core.sources.feeds.settings import add_query, resolve_image_url


@settings
class Mars2020Feed(NasaFeed):
    """The images of a category, as its feed publishes them. See `NasaFeed` for the other settings.

    Args:
        category: `mars2020` or `ingenuity`.
        renditions: Which file of a record is fetched: the first of these that it has.
    """

    kind: Literal["mars2020-feed"] = "mars2020-feed"
    url: str = "https://mars.nasa.gov/rss/api/"
    category: str = "mars2020"
    renditions: tuple[str, ...] = ("full_res", "large", "medium", "small")

    _list_key: ClassVar[str] = "images"
    _known_fields: ClassVar[frozenset[str]] = frozenset(
        [
            "imageid",
            "sol",
            "site",
            "drive",
            "title",
            "caption",
            "credit",
            "link",
            "json_link",
            "sample_type",
            "date_taken_utc",
            "date_taken_mars",
            "date_received",
            "attitude",
            "image_files",
            "image_files.small",
            "image_files.medium",
            "image_files.large",
            "image_files.full_res",
            "camera",
            "camera.instrument",
            "camera.filter_name",
            "camera.camera_vector",
            "camera.camera_position",
            "camera.camera_model_type",
            "camera.camera_model_component_list",
            "extended",
            "extended.mastAz",
            "extended.mastEl",
            "extended.sclk",
            "extended.scaleFactor",
            "extended.xyz",
            "extended.subframeRect",
            "extended.dimension",
        ]
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.renditions:
            raise PlanError("renditions is empty; name at least one, such as full_res.")

    @property
    def inbox_name(self) -> str:
        """See `FeedAdapter`."""
        return self.name or self.category

    def query_digest(self) -> str:
        """See `FeedAdapter`."""
        return digest_query(self.url, self.category, self.since_sol, self.cameras, self.renditions)

    def page_url(self, number: int) -> str:
        """See `FeedAdapter`."""
        parameters = {"feed": "raw_images", "category": self.category, "feedtype": "json"}
        paging = {"num": self.page_size, "page": number, "order": "date_received desc"}
        return add_query(self.url, parameters | paging | self._sol_condition())

    def parse_arrival(self, record: RawRecord) -> ArrivalRecord:
        """See `FeedAdapter`."""
        files, camera = get_field(record, "image_files"), get_field(record, "camera")
        image_urls = (
            [text_field(files, name) for name in self.renditions]
            if isinstance(files, dict)
            else [text_field(record, "url")]
        )
        return parse_arrival(
            record,
            received_fields=("date_received", "created_at", "received"),
            instrument=text_field(camera if isinstance(camera, dict) else record, "instrument"),
            url=resolve_image_url(next(filter(None, image_urls), ""), self.url),
        )
