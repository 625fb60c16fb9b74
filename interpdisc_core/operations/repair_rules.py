"""What a repair does with a damaged or lost file, by its path in the archive."""

import re
from collections.abc import Callable

from interpdisc_core.archive.layout import ARCHIVE_FORMAT
from interpdisc_core.errors import StoreError
from interpdisc_core.operations.repair_days import (
    drop_commit,
    drop_day_file,
    drop_inbox_file,
    drop_memory_file,
    drop_page,
    repeat_day,
    restore_day_result,
    restore_undone,
    set_revision_aside,
    set_trail_aside,
    set_verdict_aside,
)
from interpdisc_core.operations.repair_features import (
    drop_block_record,
    drop_examples,
    drop_listing,
    drop_part,
    drop_shard_record,
    drop_training_state,
    restore_batch,
    restore_compact_part,
    restore_remembered,
    restore_shard_plan,
    restore_spec,
)
from interpdisc_core.operations.repair_log import AGAIN, RepairLog
from interpdisc_core.storage.location import encode_json

Rule = Callable[[RepairLog, str], None]


def find_rule(path: str) -> Rule:
    """The rule for a path."""
    return next(rule for pattern, rule in _RULES if pattern.fullmatch(path))


def _restore_archive_file(log: RepairLog, path: str) -> None:
    payload = {"format": ARCHIVE_FORMAT, "made_by": "interpdisc repair"}
    log.replace(path, encode_json(payload), "was written again; what made the archive is not known any more")


def _drop_run_definition(log: RepairLog, path: str) -> None:
    """What a run is about: all of it is dropped, so that nothing is selected by half of it."""
    _, run_id, _ = path.split("/", 2)
    for name in ("plan.json", "inputs.json", "members.parquet", "constraints.json", "terms.json", "result.json"):
        if log.archive.exists(f"runs/{run_id}/{name}") or f"runs/{run_id}/{name}" == path:
            log.drop(f"runs/{run_id}/{name}", "the same command begins the run again")
    _repeat_days_of_run(log, run_id)


def _repeat_days_of_run(log: RepairLog, run_id: str) -> None:
    for day in log.archive.list_folders("days"):
        try:
            commit = log.archive.read_checked_json(f"days/{day}/commit.json")
            opened = log.archive.read_checked_json(f"days/{day}/opened.json")
            if run_id == commit.get("run") or run_id in opened.get("runs", {}).values():
                repeat_day(log, day)
        except (FileNotFoundError, NotADirectoryError, StoreError, AttributeError):
            continue


def _drop_selection(log: RepairLog, path: str) -> None:
    _, run_id, name = path.split("/", 2)
    folder = f"runs/{run_id}"
    if name == "vectors":
        log.drop(f"{folder}/vectors", "the picks and their vectors are made again by the same command")
        log.drop(f"{folder}/selection.json", "counts the vectors")
        log.drop(f"{folder}/picks.json", "the same command makes the same picks")
    else:
        log.drop(path, "the same command makes the same picks")
        if name == "selection.json":
            log.drop(f"{folder}/picks.json", "so that the same command makes the selection again")
    if log.archive.exists(f"{folder}/result.json"):
        log.drop(f"{folder}/result.json", "the same command writes it again")
    _repeat_days_of_run(log, run_id)


def _drop_ledger(log: RepairLog, path: str) -> None:
    log.drop(path, AGAIN)
    log.drop(f"{path.rpartition('/')[0]}/result.json", "the run has lost its listing: repeat its `interpdisc discover`")


def _drop_rendering(log: RepairLog, path: str) -> None:
    log.drop(path, "the options of the last `interpdisc explain` are lost; those of the plan count again", is_lost=True)


def _drop_environment(log: RepairLog, path: str) -> None:
    log.drop(path, "what computed the run is written again by the same command")
    log.drop(f"{path.rpartition('/')[0]}/result.json", "the same command writes it again")


def _drop_again(log: RepairLog, path: str) -> None:
    log.drop(path, AGAIN)


def _drop_crash(log: RepairLog, path: str) -> None:
    log.drop(path, "an image that killed its worker is tried again when it is listed, apart from the others")


def _set_aside_lost(log: RepairLog, path: str) -> None:
    log.set_aside(path, "it cannot be made again", is_lost=True)


_RULES: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"archive\.json", _restore_archive_file),
        (r"catalog/\d+-compact\.parquet", restore_compact_part),
        (r"catalog/.+", drop_part),
        (r"catalog-history/.+", set_trail_aside),
        (r"batches/\d+\.parquet", restore_batch),
        (r"features/[^/]+/spec\.json", restore_spec),
        (r"features/[^/]+/\d+/records/\d+\.json", drop_block_record),
        (r"listings/.+", drop_listing),
        (r"runs/[^/]+/(plan\.json|inputs\.json|members\.parquet|constraints\.json|terms\.json)", _drop_run_definition),
        (r"runs/[^/]+/(selection\.json|picks\.json|vectors)", _drop_selection),
        (r"runs/[^/]+/ledger\.json", _drop_ledger),
        (r"runs/[^/]+/environment\.json", _drop_environment),
        (r"runs/[^/]+/rendering\.json", _drop_rendering),
        (r"memory/[^/]+/records/.+", drop_memory_file),
        (r"feedback/.+", set_verdict_aside),
        (r"days/[^/]+/commit\.json", drop_commit),
        (r"days/[^/]+/day\.json", restore_day_result),
        (r"days/[^/]+/day-\d+\.json", set_revision_aside),
        (r"days/[^/]+/undone\.json", restore_undone),
        (r"days/[^/]+/redone\.json", set_trail_aside),
        (r"days/[^/]+/(scores\.parquet|opened\.json)", drop_day_file),
        (r"inbox/.+", drop_inbox_file),
        (r"site/.+", drop_page),
        (r"accounts/.+", set_trail_aside),
        (r"backfills/[^/]+/plan\.json", restore_shard_plan),
        (r"backfills/[^/]+/remembered\.json", restore_remembered),
        (r"backfills/[^/]+/(shards|faults)/.+", drop_shard_record),
        (r"training/[^/]+/(state\.safetensors|history\.json|best\.safetensors)", drop_training_state),
        (r"examples/[^/]+/roll\.parquet", _drop_again),
        (r"examples/.+", drop_examples),
        (r"(runs|backfills|learned|lab|cache|training)/.+", _drop_again),
        (r"crashes/.+", _drop_crash),
        (r"lock\.json", _drop_again),
        (r".*", _set_aside_lost),
    )
)
