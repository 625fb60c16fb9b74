"""The raw-image feed of Mars 2020 (`rss/api`, category mars2020 or ingenuity)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from interpdisc_core.errors import PlanError
from interpdisc_core.feeds import arrivals
from interpdisc_core.feeds.arrivals import Arrival, Page, Record, field_of, said
from interpdisc_core.feeds.listing import listed
from interpdisc_core.feeds.manners import Manners
from interpdisc_core.feeds.polling import poll
from interpdisc_core.feeds.seam import Polled, Report, quiet
from interpdisc_core.feeds.settings import address, asked, checked, query
from interpdisc_core.storage import Place

if TYPE_CHECKING:
    from interpdisc_core.sources.listed import Listed

_FIELDS = (
    "imageid sol site drive title caption credit link json_link sample_type date_taken_utc date_taken_mars "
    "date_received attitude image_files image_files.small image_files.medium image_files.large image_files.full_res "
    "camera camera.instrument camera.filter_name camera.camera_vector camera.camera_position camera.camera_model_type "
    "camera.camera_model_component_list extended extended.mastAz extended.mastEl extended.sclk extended.scaleFactor "
    "extended.xyz extended.subframeRect extended.dimension"
)


@dataclass(frozen=True, kw_only=True)
class Mars2020Feed:
    """The images of a category as its feed publishes them.

    category: mars2020 or ingenuity. name: of the inbox, by default the category. since_sol: older sols are not asked
    for. cameras: instruments to take (any case), empty for all. renditions: which file of a record is fetched: the
    first of these that it has. page_size: records a page; the server gives at most 100. overlap_days: how far before
    the newest record of the last poll a poll looks, for what was published late. patience: polls after which an image
    that cannot be had is listed as skipped, with the reason; it is tried on.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["mars2020-feed"] = "mars2020-feed"
    url: str = "https://mars.nasa.gov/rss/api/"
    category: str = "mars2020"
    name: str = ""
    since_sol: int | None = None
    cameras: tuple[str, ...] = ()
    renditions: tuple[str, ...] = ("full_res", "large", "medium", "small")
    page_size: int = 100
    overlap_days: float = 7.0
    patience: int = 3
    manners: Manners = field(default_factory=Manners)

    def __post_init__(self) -> None:
        checked(self.url, self.called, self.page_size, self.overlap_days, self.patience, self.since_sol)
        if not self.renditions:
            raise PlanError("renditions is empty; name at least one, such as full_res.")

    @property
    def called(self) -> str:
        """Its name in the inbox."""
        return self.name or self.category

    def asked(self) -> str:
        """A digest of the settings that say which records are wanted, and which image of each."""
        return asked(self.url, self.category, self.since_sol, self.cameras, self.renditions)

    def page_url(self, number: int) -> str:
        """The address of a page, newest records first, from 0."""
        sols = {} if self.since_sol is None else {"condition_2": f"{self.since_sol}:sol:gte"}
        given = {"feed": "raw_images", "category": self.category, "feedtype": "json"}
        return query(self.url, given | {"num": self.page_size, "page": number, "order": "date_received desc"} | sols)

    def page(self, payload: Any) -> Page | None:
        """An answer's records, None where it has none that can be told."""
        return arrivals.page_of(payload, "images")

    def arrival(self, record: Record) -> Arrival:
        """The view of a record; never raises."""
        files, camera = field_of(record, "image_files"), field_of(record, "camera")
        renditions = (
            [said(files, name) for name in self.renditions] if isinstance(files, dict) else [said(record, "url")]
        )
        named = next(filter(None, renditions), "")
        return arrivals.arrival(
            record, ids=("imageid", "image_id", "id"), received=("date_received", "created_at", "received"),
            instrument=said(camera, "instrument") if isinstance(camera, dict) else said(record, "instrument"),
            url=address(named, self.url),
        )  # fmt: skip

    def wanted(self, arrival: Arrival) -> bool:
        """Whether this camera's images are taken."""
        return arrivals.of_cameras(arrival, self.cameras)

    def familiar(self, name: str) -> bool:
        """Whether a field of this name is known."""
        return name in _FIELDS.split()

    def poll(self, inbox: Place, report: Report = quiet) -> Polled:
        """Fetch what is new into the inbox; see `polling.poll`."""
        return poll(self, inbox, report)

    def list(self, inbox: Place | None = None) -> Iterator["Listed"]:
        """What the inbox holds; see `listing.listed`."""
        return listed(self, inbox, self.patience)
