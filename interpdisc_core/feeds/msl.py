"""The raw-image feed of the Mars Science Laboratory (`raw_image_items`)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from interpdisc_core.feeds import arrivals
from interpdisc_core.feeds.arrivals import Arrival, Page, Record, said
from interpdisc_core.feeds.listing import listed
from interpdisc_core.feeds.manners import Manners
from interpdisc_core.feeds.polling import poll
from interpdisc_core.feeds.seam import Polled, Report, quiet
from interpdisc_core.feeds.settings import address, asked, checked, query
from interpdisc_core.storage import Place

if TYPE_CHECKING:
    from interpdisc_core.sources.listed import Listed

_FIELDS = (
    "id imageid sol instrument url https_url site drive spacecraft_clock subframe_rect scale_factor camera_vector "
    "camera_position camera_model_type camera_model_component_list attitude xyz date_taken date_received created_at "
    "updated_at mission instrument_sort sample_type_sort is_thumbnail title description link image_credit extended "
    "extended.lmst extended.bucket extended.mast_az extended.mast_el extended.url_list extended.contributor "
    "extended.filter_name extended.sample_type"
)


@dataclass(frozen=True, kw_only=True)
class MslFeed:
    """The images of a mission as its feed publishes them.

    mission: as the feed calls it. name: of the inbox, by default the mission. since_sol: older sols are not asked for.
    cameras: instruments to take (any case), empty for all. page_size: records a page. overlap_days: how far before the
    newest record of the last poll a poll looks, for what was published late. patience: polls after which an image that
    cannot be had is listed as skipped, with the reason; it is tried on.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    kind: Literal["msl-feed"] = "msl-feed"
    url: str = "https://mars.nasa.gov/api/v1/raw_image_items/"
    mission: str = "msl"
    name: str = ""
    since_sol: int | None = None
    cameras: tuple[str, ...] = ()
    page_size: int = 100
    overlap_days: float = 7.0
    patience: int = 3
    manners: Manners = field(default_factory=Manners)

    def __post_init__(self) -> None:
        checked(self.url, self.called, self.page_size, self.overlap_days, self.patience, self.since_sol)

    @property
    def called(self) -> str:
        """Its name in the inbox."""
        return self.name or self.mission

    def asked(self) -> str:
        """A digest of the settings that say which records are wanted, and which image of each."""
        return asked(self.url, self.mission, self.since_sol, self.cameras)

    def page_url(self, number: int) -> str:
        """The address of a page, newest records first, from 0."""
        sols = {} if self.since_sol is None else {"condition_2": f"{self.since_sol}:sol:gte"}
        given = {"order": "created_at desc", "per_page": self.page_size, "page": number}
        return query(self.url, given | {"condition_1": f"{self.mission}:mission"} | sols)

    def page(self, payload: Any) -> Page | None:
        """An answer's records, None where it has none that can be told."""
        return arrivals.page_of(payload, "items")

    def arrival(self, record: Record) -> Arrival:
        """The view of a record; never raises."""
        named = said(record, "https_url") or said(record, "url")
        return arrivals.arrival(
            record, ids=("imageid", "image_id", "id"), received=("created_at", "date_received", "updated_at"),
            instrument=said(record, "instrument"), url=address(named, self.url),
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
