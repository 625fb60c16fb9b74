"""What an attack found: one row for each kind of try."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class CampaignRow:
    """The tries of one kind. What is not right is described in `faults`, one sentence a try.

    Attributes:
        section: Name of the attack, such as "kills".
        kind: What was attacked and how.
        tries: Number of tries.
        right: Number that ended as promised.
        skip_reason: Why none was made; empty if some were.
        notes: Counts worth knowing, such as how often each stage was met.
        faults: What went wrong.
    """

    section: str
    kind: str
    tries: int = 0
    right: int = 0
    skip_reason: str = ""
    notes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def record(self, fault: str, note: str = "") -> None:
        """Count one try; `fault` is empty if it ended as promised."""
        self.tries += 1
        self.right += not fault
        if note:
            self.notes[note] += 1
        if fault:
            self.faults.append(fault)

    @property
    def is_right(self) -> bool:
        """Whether every try ended as promised."""
        return self.tries == self.right


def format_table(rows: list[CampaignRow]) -> str:
    """The rows as a Markdown table, then the faults, one a line."""
    lines = ["| attack | on | tries | as promised | notes |", "|---|---|---:|---:|---|"]
    for row in rows:
        notes = row.skip_reason and f"not tried: {row.skip_reason}"
        notes = notes or ", ".join(f"{name} {count}" for name, count in sorted(row.notes.items()))
        lines.append(f"| {row.section} | {row.kind} | {row.tries:,} | {row.right:,} | {notes} |")
    lines.append(f"| all | | {sum(row.tries for row in rows):,} | {sum(row.right for row in rows):,} | |")
    faults = [f"- {row.section}, {row.kind}: {fault}" for row in rows for fault in row.faults]
    return "\n".join([*lines, *(["", "Not as promised:", "", *faults] if faults else [])]) + "\n"


def save_rows(path: Path, rows: list[CampaignRow]) -> None:
    """Write the rows as JSON."""
    path.write_text(json.dumps([vars(row) for row in rows], indent=1))
