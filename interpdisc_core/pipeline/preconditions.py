"""What can be wrong with a run's sources, plan, labels, archive and output, found before anything is started or written.

The command line checks it before it starts a server, and each flow before it creates or locks an archive. Of a store in
S3 each check asks for one page of a listing at most; no image is read.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import replace

from interpdisc_core.archive.layout import check_writable
from interpdisc_core.archive.run import RunInputs
from interpdisc_core.errors import PlanError
from interpdisc_core.inverters import Refined, UpConv
from interpdisc_core.inverters.checkpoint import parse_checkpoint_metadata, read_checkpoint
from interpdisc_core.plan import Plan, RenderingOptions
from interpdisc_core.representations import Trainable
from interpdisc_core.representations.weights import not_learned_error
from interpdisc_core.sources import (
    Folder,
    Glob,
    ListFile,
    Mars2020Feed,
    MslFeed,
    S3Prefix,
    Shards,
    Source,
    list_shard_entries,
    parse_source,
)
from interpdisc_core.sources.s3 import translate_listing_errors
from interpdisc_core.storage.location import Location, is_object_url, is_remote_url
from interpdisc_core.storage.remote_files import get_s3_filesystem


def check_run(archive: str, inputs: RunInputs, out: str = "", plan: Plan | None = None) -> None:
    """Check all of a run: see the functions below.

    Raises:
        PlanError, StoreError, WeightsError: As they do.
    """
    check_sources([*inputs.sources, *inputs.background])
    check_labels(inputs.labels)
    check_output_folder(out)
    if plan is not None:
        check_weights(plan)
    check_archive(archive, [*inputs.sources, *inputs.background])


def check_backfill(archive: str, sources: Iterable[str], plan: Plan) -> None:
    """Check the shards, the archive and the weights of a backfill.

    Raises:
        PlanError, StoreError, WeightsError: As the functions below.
    """
    shards = [Shards(of=source.removeprefix("shards:")) for source in sources]
    check_sources(shards)
    check_weights(replace(plan, explain=0))
    check_archive(archive, shards)


def check_sources(sources: Iterable[str | Source]) -> None:
    """Check that each source exists and has a file; feeds may have none yet.

    Raises:
        PlanError: If one does not exist, is empty, or is written wrongly.
        AccessError: If a store cannot be reached or refuses.
    """
    for text_or_source in sources:
        source = parse_source(text_or_source) if isinstance(text_or_source, str) else text_or_source
        address = _find_address(source)
        if is_object_url(address) and address.startswith("s3://"):
            is_empty = _is_empty_prefix(address)
        elif isinstance(source, Folder):
            is_empty = not any(files for _, _, files in os.walk(source.path))
        elif isinstance(source, Shards):
            is_empty = all(entry.size < 0 for entry in list_shard_entries(source))
        elif isinstance(source, Glob | ListFile | S3Prefix):
            is_empty = next(iter(source.list()), None) is None
        else:
            is_empty = False
        if is_empty:
            raise PlanError(
                f"{address}: no files found; name a folder, a pattern, a CSV list, a tar or zip, or an s3:// prefix with "
                "images."
            )


def _find_address(source: Source) -> str:
    """The path, pattern or s3:// address of a source; empty for a feed."""
    if isinstance(source, Mars2020Feed | MslFeed):
        return ""  # its URL is its server's: the poll says whether it answers
    values = (getattr(source, field, "") for field in ("path", "pattern", "of", "url"))
    return str(next(filter(None, values), ""))


def _is_empty_prefix(address: str) -> bool:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    prefix = re.split(r"[*?\[{]", key, maxsplit=1)[0]
    with translate_listing_errors(address, f"there is no bucket {bucket!r}"):
        # Not by the bucket's status: a store that refuses that does not say why.
        page = get_s3_filesystem().call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    return not page.get("Contents")


def check_labels(labels: str) -> None:
    """Check that there is a file of labels; `folder` and nothing are no file.

    Raises:
        PlanError: If there is no such file.
    """
    if labels not in ("", "folder") and "://" not in labels and not os.path.isfile(labels):
        raise PlanError(f"the labels {labels}: there is no such file; give a CSV file, or `folder`.")


def check_output_folder(out: str) -> None:
    """Check that a folder for results can be made.

    Raises:
        PlanError: If it, or a folder above it, is a file, or cannot be written to.
    """
    if not out or is_remote_url(out):
        return
    path = Location.parse(out).url
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise PlanError(f"{out}: {path} is a file; name a folder.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PlanError(f"{out}: you may not write to {path}; name another folder.")


def check_weights(plan: Plan) -> None:
    """Check that the files of weights that a plan names are there.

    Raises:
        WeightsError: If one is missing, or if the representation was not learned yet.
            Also if the checkpoint of the inverter cannot be read, or is for other features.
    """
    representation = plan.representation
    if isinstance(representation, Trainable):
        if not representation.learned_weights:
            raise not_learned_error(representation.kind)
        plan.features_digest  # noqa: B018  reads the weights
    if plan.explain:
        check_rendering(plan.rendering, representation)


def check_rendering(rendering: RenderingOptions, representation: object) -> None:
    """Check that the checkpoint that an inverter names is there, and is for these features.

    Raises:
        WeightsError: If it cannot be read, or is for other features.
    """
    inverter = rendering.inverter.start if isinstance(rendering.inverter, Refined) else rendering.inverter
    if isinstance(inverter, UpConv) and inverter.checkpoint:
        inverter.load_metadata(representation)


def check_checkpoint(path: str) -> None:
    """Check that there is a checkpoint of an inverter; an empty path is none.

    Raises:
        WeightsError: If it cannot be read.
    """
    if path:
        parse_checkpoint_metadata(read_checkpoint(path), path)


def check_archive(archive: str, sources: Iterable[str | Source] = ()) -> None:
    """Check that an archive can be written to, or created.

    Raises:
        PlanError: If it is a file, or lies in one of `sources`.
        StoreError: If it is a folder with other things in it, or an archive of another version.
    """
    check_output_folder(archive)
    location = Location.parse(archive)
    for text_or_source in sources:
        source = parse_source(text_or_source) if isinstance(text_or_source, str) else text_or_source
        address = _find_address(source)
        if is_object_url(address) and not address.startswith("s3://"):
            continue  # no archive can lie there
        if (is_remote_url(address) or os.path.isdir(address)) and _lies_in(location, address):
            raise PlanError(
                f"the archive {archive} lies in the source {address}, where its files would count as inputs: "
                "name a folder outside of it."
            )
    check_writable(location)


def _lies_in(archive: Location, folder: str) -> bool:
    source = Location.parse(folder)
    if archive.is_remote or source.is_remote:
        return f"{archive.url}/".startswith(f"{source.url}/")
    return f"{os.path.realpath(archive.url)}/".startswith(f"{os.path.realpath(source.url).rstrip('/')}/")
