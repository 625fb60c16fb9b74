"""What a repair does to an archive, one action at a time; of a dry run, what it would do."""

from dataclasses import dataclass, field

from interpdisc_core.operations.verify_files import SET_ASIDE_FOLDER
from interpdisc_core.storage.location import Location

AGAIN = "the same command makes it again"


@dataclass(frozen=True, slots=True)
class RepairAction:
    """One action of a repair.

    Attributes:
        path: The file or folder in the archive.
        sentence: What was done, and what follows.
        is_lost: Whether something was lost that no command makes again.
    """

    path: str
    sentence: str
    is_lost: bool = False


@dataclass(slots=True)
class RepairLog:
    """The actions of a repair of `archive`; a dry run only collects them.

    Attributes:
        archive: The archive.
        dry_run: Whether nothing is changed.
        actions: What was done so far.
        unpublished_days: Days whose pages have to be made again; `is_index_damaged`: the index of the days has to be.
    """

    archive: Location
    dry_run: bool
    actions: list[RepairAction] = field(default_factory=list)
    unpublished_days: set[str] = field(default_factory=set)
    is_index_damaged: bool = False

    def is_settled(self, path: str) -> bool:
        """Whether an action has removed or replaced a file already."""
        return any(action.path in (path, f"{path}.sha256") for action in self.actions)

    def note(self, path: str, sentence: str, *, is_lost: bool = False) -> None:
        """Add an action that was done elsewhere."""
        self.actions.append(RepairAction(path, sentence, is_lost))

    def drop(self, path: str, sentence: str, *, is_lost: bool = False) -> None:
        """Remove a file and its checksum, or a folder: what is made again, or is of no use."""
        if not self.dry_run:
            self.archive.remove(path)
        self.note(path, sentence, is_lost=is_lost)

    def set_aside(self, path: str, sentence: str, *, is_lost: bool = False) -> None:
        """Move a file to `set-aside/`; its checksum is removed."""
        if not self.dry_run:
            if self.archive.exists(path):
                self.archive.write(f"{SET_ASIDE_FOLDER}/{path}", self.archive.read(path))
            self.archive.remove(path)
        self.note(path, f"{sentence}; it was moved to {SET_ASIDE_FOLDER}/{path}", is_lost=is_lost)

    def replace(self, path: str, data: bytes, sentence: str) -> None:
        """Write the right content."""
        if not self.dry_run:
            self.archive.remove(path)
            self.archive.write_checked(path, data)
        self.note(path, sentence)
