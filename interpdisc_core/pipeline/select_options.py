"""The options of a selection of features without images."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from interpdisc_core.errors import PlanError
from interpdisc_core.metadata.expressions import check_expression
from interpdisc_core.representations import Normalization
from interpdisc_core.selectors import Demud
from interpdisc_core.settings import settings

IdTuple = tuple[str, ...]


@settings
class SelectOptions:
    """What to select from what. No pick depends on `threads` and `device`.

    Attributes:
        source: The features; see `interpdisc_core.pipeline.feature_readers.read_feature_table`.
        features: The representation of an archive that has several.
        where: Expression; only rows for which it is true are candidates.
        normalise: `l2` divides each row by its length; `none`.
        labels: CSV file of classes by id, or `folder`; empty for the source's own labels.
        background: Sources of rows that count as known.
        background_where: Expression; only background rows for which it is true are used.
        known: Ids of rows that are learned before the first pick and never picked.
        interesting: Ids of rows that may be picked, but are not learned then.
        selector: DEMUD's settings; a start row is given by its number in the source.
        picks: Number of picks.
        threads: Threads that score rows.
        device: `cpu`, or a PyTorch device that multiplies rows.
        horizon: Stratum of a memory whose batches count as known, instead of a background.
        last: Only the last batches of the horizon, as many.
        without: Batches that the horizon leaves out.
        memory: The archive that has the memory; empty for the source.
    """

    kind: ClassVar[str] = "select"
    source: str
    features: str = ""
    where: str = ""
    normalise: Normalization = "none"
    labels: str = ""
    background: tuple[str, ...] = ()
    background_where: str = ""
    known: IdTuple = ()
    interesting: IdTuple = ()
    selector: Demud = field(default_factory=Demud)
    picks: Annotated[int, Field(ge=1)] = 50
    threads: Annotated[int, Field(ge=1)] = 1
    device: str = "cpu"
    horizon: str = ""
    last: int | None = None
    without: IdTuple = ()
    memory: str = ""

    def __post_init__(self) -> None:
        if overlap := sorted({*self.known} & {*self.interesting}):
            raise PlanError(f"{overlap[0]!r} cannot be both known and interesting: known rows are never picked.")
        if self.horizon and self.background:
            raise PlanError(
                "give --background or --stratum, not both: the rows that count as known come from one of them."
            )
        if (self.last or self.without or self.memory) and not self.horizon:
            raise PlanError("--last, --exclude and --memory need --stratum.")
        if self.background_where and not self.background:
            raise PlanError("--background-where needs --background.")
        check_expression(self.where)
        check_expression(self.background_where)


def parse_ids(text: str) -> IdTuple:
    """Ids as given on a command line: separated by commas, or `@FILE` for a file with an id in each line.

    Raises:
        PlanError: If the file cannot be read.

    Example:
        >>> parse_ids("a, b")
        ('a', 'b')
    """
    if not text.startswith("@"):
        return tuple(name for name in (part.strip() for part in text.split(",")) if name)
    try:
        content = Path(text[1:]).read_bytes().decode("utf-8-sig", "backslashreplace")
    except OSError as error:
        raise PlanError(f"{text[1:]}: cannot be read: {error.strerror}.") from error
    return tuple(line for line in (line.strip() for line in content.splitlines()) if line)
