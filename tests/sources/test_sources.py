"""Sources list every file under any name, and reading one gives its bytes or a reason."""

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interpdisc_core.errors import PlanError, StoreError, Unreadable
from interpdisc_core.sources import (
    Folder,
    Glob,
    ListFile,
    Mars2020Feed,
    MslFeed,
    OneFile,
    S3Prefix,
    Shards,
    Source,
    SourceEntry,
    format_source_title,
    list_entries,
    make_source_absolute,
    parse_source,
    read_input,
    source_to_json,
)
from interpdisc_core.storage.location import Location
from interpdisc_core.storage.tables import rows_to_csv

NAMES = [
    b"plain.jpg",
    b"with space .png",
    b" lead",
    b"new\nline.png",
    b"tab\t.png",
    b"quo'te\".png",
    b"<b>bold&amp;.png",
    "Ä-é-火星-🪐.jpg".encode(),
    b"latin1-\xe9.jpg",
    b"\xff\xfe\x80.png",
    b"100%25.png",
    b"%",
    b"a?b#c;d.png",
    b"*[1].png",
    b"back\\slash.png",
    b"-rf",
    b"s3:",
    b"file:",
    b"dot.",
    b"\x01\x7f.png",
    b"\\xff.png",
    "e\u0301.png".encode(),
    "\u202egnp.exe".encode(),
    b"x" * 200,
]


def write_file(root: Path, name: bytes, content: bytes = b"here") -> Path:
    """A file with any name of bytes."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(root), name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_error(uri: str) -> str:
    """The reason why an input cannot be read; it is retryable."""
    with pytest.raises(Unreadable) as caught:
        read_input(uri)
    assert caught.value.retryable
    return str(caught.value)


def check_writable(item: SourceEntry) -> None:
    """Every text of an entry can be written as UTF-8 (to a catalog, a table, a page), and its address is ASCII."""
    assert item.uri.isascii()
    for text in (
        item.id,
        item.uri,
        item.stamp,
        item.skip_reason,
        item.label or "",
        *item.record,
        *item.record.values(),
    ):
        text.encode("utf-8")


# ---------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_file_of_any_name_is_read_by_its_uri(tmp_path: Path, name: bytes) -> None:
    """As it is listed in a folder."""
    write_file(tmp_path, b"in/" + name, b"the content")
    (item,) = list_entries([str(tmp_path / "in")])
    assert read_input(item.uri) == b"the content"
    assert item.size == 11
    check_writable(item)


def test_every_name_has_its_own_uri(tmp_path: Path) -> None:
    """All of them in one folder, each with its own content."""
    for number, name in enumerate(NAMES):
        write_file(tmp_path, name, str(number).encode())
    entries = list_entries([str(tmp_path)])
    assert sorted(int(read_input(item.uri)) for item in entries) == list(range(len(NAMES)))


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
@example(b"\xff")
@example(b"%41")
def test_any_bytes_in_a_name_survive_in_the_uri(name: bytes) -> None:
    """Whatever a file system allows as a name."""
    with tempfile.TemporaryDirectory() as root:
        write_file(Path(root), name, name)
        (item,) = list_entries([root])
        assert read_input(item.uri) == name
        check_writable(item)


def test_ids_are_paths_relative_to_the_source(tmp_path: Path) -> None:
    """With forward slashes, however the source is named."""
    for name in (b"a/b/c.png", b"a/d.png", b"e.png"):
        write_file(tmp_path, name)
    expected = ["a/b/c.png", "a/d.png", "e.png"]
    for source in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/a/..", os.path.relpath(tmp_path)):
        assert [item.id for item in list_entries([source])] == expected


# ---------------------------------------------------------------------------------------- kinds of source


def test_a_file_is_a_source(tmp_path: Path) -> None:
    """Also if its name looks like a pattern."""
    for name in (b"one.jpg", b"star*[x].jpg"):
        path = write_file(tmp_path, name, name)
        (item,) = list_entries([str(path)])
        assert (item.id, read_input(item.uri)) == (name.decode(), name)


def test_a_pattern_is_a_source(tmp_path: Path) -> None:
    """*, ? and ** match files below the pattern's fixed part; folders that match are not inputs."""
    for name in (b"sol1/a.jpg", b"sol1/b.png", b"sol2/c.jpg", b"sol2/deep/d.jpg", b"sol3.jpg/e.txt"):
        write_file(tmp_path, name)
    assert [i.id for i in list_entries([f"{tmp_path}/*/*.jpg"])] == ["sol1/a.jpg", "sol2/c.jpg"]
    assert [i.id for i in list_entries([f"{tmp_path}/**/*.jpg"])] == ["sol1/a.jpg", "sol2/c.jpg", "sol2/deep/d.jpg"]
    assert [i.id for i in list_entries([f"{tmp_path}/sol?/a.*"])] == ["sol1/a.jpg"]


def test_an_existing_folder_is_not_a_pattern(tmp_path: Path) -> None:
    """A path that exists is taken literally."""
    write_file(tmp_path, b"run[1]*/a.jpg")
    assert [item.id for item in list_entries([str(tmp_path / "run[1]*")])] == ["a.jpg"]


def test_several_sources_list_each_file_once(tmp_path: Path) -> None:
    """A folder, a pattern and a file in it: each URI once, sorted by id."""
    for name in (b"b.jpg", b"a.jpg"):
        write_file(tmp_path, name)
    entries = list_entries([str(tmp_path), f"{tmp_path}/*.jpg", str(tmp_path / "a.jpg"), str(tmp_path)])
    assert [item.id for item in entries] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.jpg", "empty", "nowhere.csv", ""])
def test_an_empty_or_missing_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """In one sentence that names it, before any work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError) as caught:
        list_entries([source])
    message = str(caught.value)
    assert source in message
    assert "\n" not in message
    assert message.endswith(".")


SOURCE_BY_TEXT = {
    "photos": Folder(path="photos"),
    "photos/a.jpg": OneFile(path="photos/a.jpg"),
    "photos/*.jpg": Glob(pattern="photos/*.jpg"),
    "l.CSV": ListFile(path="l.CSV"),
    "s.tar": Shards(of="s.tar"),
    "s.ZIP": Shards(of="s.ZIP"),
    "*.tar": Shards(of="*.tar"),
    "s-{00..10}.tar": Shards(of="s-{00..10}.tar"),
    "shards:photos": Shards(of="photos"),
    "[x].tar": Shards(of="[x].tar"),
    "s3://b/p": S3Prefix(url="s3://b/p"),
    "s3://b/*.jpg": S3Prefix(url="s3://b/*.jpg"),
    "s3://b/a.tar": Shards(of="s3://b/a.tar"),
    "s3://b/{0..9}.zip": Shards(of="s3://b/{0..9}.zip"),
    "shards:s3://b/p": Shards(of="s3://b/p"),
    "feed:msl": MslFeed(),
    "feed:mars2020": Mars2020Feed(),
    '{"kind": "folder", "path": "x"}': Folder(path="x"),
    "feed:x": Folder(path="feed:x"),
    '{"kind": "msl-feed", "since_sol": 4000}': MslFeed(since_sol=4000),
    "gone": None,
    "": None,
    "feed:venus": None,
    '{"kind": "folder"}': None,
    '{"kind": "x"}': None,
    '{"kind": "folder", "path": "x", "y": 1}': None,
    "{:": None,
    "http://host/x": None,
}


@pytest.mark.parametrize("text", SOURCE_BY_TEXT)
def test_texts_are_parsed_as_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A path that exists is taken literally; a text that is not a source is refused in one sentence."""
    monkeypatch.chdir(tmp_path)
    for name in (b"photos/a.jpg", b"l.CSV", b"s.tar", b"s.ZIP", b"feed:x/a.jpg"):
        write_file(tmp_path, name)
    write_file(tmp_path, b"[x].tar")
    if (expected := SOURCE_BY_TEXT[text]) is None:
        with pytest.raises((PlanError, StoreError), match=r"^[^\n]*\.$"):
            parse_source(text)
        return
    assert parse_source(text) == expected
    assert parse_source(json.dumps(source_to_json(expected))) == expected
    assert format_source_title(text)
    assert format_source_title(expected)
    absolute_text = make_source_absolute(text)
    monkeypatch.chdir("/")
    reparsed = parse_source(absolute_text)
    assert type(reparsed) is type(expected)
    assert make_source_absolute(absolute_text) == absolute_text


def test_every_kind_of_source_is_tested() -> None:
    """And no two kinds share a name."""
    kinds = get_args(get_args(Source)[0])
    assert {type(expected) for expected in SOURCE_BY_TEXT.values() if expected} == set(kinds)
    assert len({kind.kind for kind in kinds}) == len(kinds)


def test_sources_list_as_their_texts(tmp_path: Path) -> None:
    """A source may be given as an object; an empty feed is not an error."""
    write_file(tmp_path, b"in/a.jpg")
    folder = str(tmp_path / "in")
    assert (
        list_entries([Folder(path=folder)])
        == list_entries([folder])
        == list_entries([f"file://{folder}", Glob(pattern=f"{folder}/*")])
    )
    assert list_entries([MslFeed()], Location.parse(str(tmp_path / "inbox"))) == []
    for source in (Folder(path=f"{folder}/x"), Glob(pattern=f"{folder}/x*"), ListFile(path=f"{folder}/x.csv")):
        with pytest.raises(PlanError, match="in/x"):
            list_entries([source])


# ---------------------------------------------------------------------------------------- lists


def test_a_list_with_id_label_and_record(tmp_path: Path) -> None:
    """A byte-order mark, quoted cells; every cell is kept verbatim; paths are relative to the list."""
    write_file(tmp_path, b"images/one, a.jpg", b"1")
    write_file(tmp_path, b"images/two.jpg", b"2")
    table = write_file(
        tmp_path,
        b"list.csv",
        "\ufeffPath,ImageID,Label,sol,note\r\n"
        '"images/one, a.jpg",first,rock,0012,"two\r\nlines, ""quoted"" "\r\n'
        "images/two.jpg,second,,7, é 火 \r\n".encode(),
    )
    first, second = list_entries([str(table)])
    assert (first.id, first.label, read_input(first.uri)) == ("first", "rock", b"1")
    assert first.record == {
        "Path": "images/one, a.jpg",
        "ImageID": "first",
        "Label": "rock",
        "sol": "0012",
        "note": 'two\r\nlines, "quoted" ',
    }
    assert (second.id, second.label, read_input(second.uri)) == ("second", None, b"2")
    assert second.record["note"] == " é 火 "


@pytest.mark.parametrize("column", ["path", "file", "uri", "FILENAME", " Image "])
def test_names_of_the_column_of_paths(tmp_path: Path, column: str) -> None:
    """In any case; without a column of ids the path is the id."""
    write_file(tmp_path, b"a.jpg")
    (item,) = list_entries([str(write_file(tmp_path, b"list.csv", f"x,{column}\n5,a.jpg\n".encode()))])
    assert (item.id, item.label, item.record[column]) == ("a.jpg", None, "a.jpg")
    assert read_input(item.uri) == b"here"


def test_a_list_that_this_program_wrote_has_its_own_texts(tmp_path: Path) -> None:
    """`picks.csv` is a list, too; what is marked there against spreadsheets is not part of a name."""
    row = {"path": "-a.png", "id": "=1+1", "label": "+x;-y", "@note": "'-b"}
    (tmp_path / "list.csv").write_bytes(rows_to_csv([row]))
    [entry] = ListFile(path=str(tmp_path / "list.csv")).list()
    assert (entry.id, entry.label, entry.record) == ("=1+1", "+x;-y", row)
    assert entry.uri.endswith("/-a.png")


def test_a_list_of_absolute_paths_and_uris(tmp_path: Path) -> None:
    """Other schemes are listed, and refused when they are read."""
    image_path = write_file(tmp_path, b"there/a b.jpg")
    (uri,) = [item.uri for item in list_entries([str(image_path)])]
    table = write_file(
        tmp_path, b"list.csv", f"uri,id\n{image_path},1\n{uri},2\nftp://host/x.jpg,3\ngone.jpg,4\n,5\n".encode()
    )
    by_id = {item.id: item for item in list_entries([str(table)])}
    assert read_input(by_id["1"].uri) == b"here"
    assert "2" not in by_id, "the same file, so the same image"
    assert "ftp" in read_error(by_id["3"].uri)
    assert "vanished" in read_error(by_id["4"].uri)
    assert read_error(by_id["5"].uri)


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    """Latin-1: the file of exactly this name is read, and the texts can be written as UTF-8."""
    write_file(tmp_path, b"caf\xe9.jpg")
    (item,) = list_entries([str(write_file(tmp_path, b"list.csv", b"path,label,note\ncaf\xe9.jpg,\xe9tat,\xe0\n"))])
    assert read_input(item.uri) == b"here"
    check_writable(item)


def test_rows_of_uneven_length_are_read(tmp_path: Path) -> None:
    """Missing cells are empty; cells beyond the header are ignored."""
    for name in (b"a.jpg", b"b.jpg"):
        write_file(tmp_path, name)
    first, second = list_entries(
        [str(write_file(tmp_path, b"list.csv", b"path,label\na.jpg\nb.jpg,rock,more,and more\n"))]
    )
    assert (first.label, first.record) == (None, {"path": "a.jpg", "label": ""})
    assert (second.label, second.record["path"]) == ("rock", "b.jpg")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "rows"),
        (b"path,label\n", "rows"),
        (b"alpha,beta\n1,2\n", "column"),
        (b'path\n"a.jpg\n', "CSV"),
        (b"path\n" + b"a" * 200_000 + b"\n", "CSV"),
    ],
    ids=["empty", "only a header", "no column of paths", "an open quote", "an endless cell"],
)
def test_an_invalid_list_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    """The message names the list and the problem."""
    table = write_file(tmp_path, b"list.csv", content)
    with pytest.raises(PlanError, match=expected) as caught:
        list_entries([str(table)])
    assert str(table) in str(caught.value)


# ---------------------------------------------------------------------------------------- what is odd on a disk


def test_skipped_files_are_listed_with_a_reason(tmp_path: Path) -> None:
    """Hidden files and folders, links to folders, and names that are not an image's."""
    for name in (b"a.jpg", b".hidden.jpg", b".cache/x.jpg", b"notes.TXT", b"labels.csv", b"Thumbs.db", b"no-suffix"):
        write_file(tmp_path, name)
    write_file(tmp_path.parent, b"other-folder/y.jpg")
    (tmp_path / "link").symlink_to(tmp_path.parent / "other-folder")
    (tmp_path / "loop").symlink_to(tmp_path)
    by_id = {item.id: item.skip_reason for item in list_entries([str(tmp_path)])}
    assert {name for name, skipped in by_id.items() if not skipped} == {"a.jpg", "no-suffix"}
    assert "hidden file" in by_id[".hidden.jpg"]
    assert "hidden folder" in by_id[".cache"]
    assert "link" in by_id["link"]
    assert "link" in by_id["loop"]
    assert ".txt" in by_id["notes.TXT"]
    assert set(by_id) == {
        "a.jpg",
        "no-suffix",
        ".hidden.jpg",
        ".cache",
        "link",
        "loop",
        "notes.TXT",
        "labels.csv",
        "Thumbs.db",
    }


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """A broken or cyclic link is listed and cannot be read."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.jpg").symlink_to(write_file(tmp_path, b"real.jpg"))
    (tmp_path / "in" / "broken.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "in" / "self.jpg").symlink_to(tmp_path / "in" / "self.jpg")
    broken, good, cyclic = list_entries([str(tmp_path / "in")])
    assert read_input(good.uri) == b"here"
    assert "vanished" in read_error(broken.uri)
    assert read_error(cyclic.uri)


def test_a_deleted_file_has_a_reason(tmp_path: Path) -> None:
    """Deleted between listing and reading, or replaced by a folder."""
    path = write_file(tmp_path, b"a.jpg")
    (item,) = list_entries([str(tmp_path)])
    path.unlink()
    assert "vanished" in read_error(item.uri)
    path.mkdir()
    assert "regular" in read_error(item.uri)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """A named pipe without a writer is listed and refused at once."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (item,) = list_entries([str(tmp_path)])
    reasons: list[str] = []
    reader = threading.Thread(target=lambda: reasons.append(read_error(item.uri)), daemon=True)
    reader.start()
    reader.join(timeout=5)
    assert not reader.is_alive()
    assert "regular" in reasons[0]


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder that anyone may enter, while this process has no one's rights but its own."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        user = os.geteuid()
        try:
            yield root
        finally:
            os.seteuid(user)
            for folder in root.rglob("closed"):
                folder.chmod(0o700)


def give_up_rights() -> None:
    """Root reads everything: become nobody, until the fixture's end."""
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_a_file_without_permission_has_a_reason(powerless: Path) -> None:
    """It is listed."""
    write_file(powerless, b"a.jpg").chmod(0)
    give_up_rights()
    (item,) = list_entries([str(powerless)])
    assert "permission" in read_error(item.uri)


def test_a_folder_without_permission_has_a_reason(powerless: Path) -> None:
    """The files next to it are listed."""
    write_file(powerless, b"a.jpg")
    closed = write_file(powerless, b"closed/b.jpg").parent
    closed.chmod(0)
    give_up_rights()
    by_id = {item.id: item.skip_reason for item in list_entries([str(powerless)])}
    assert by_id["a.jpg"] == ""
    assert "cannot be read" in by_id["closed"]


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """It is equal without a change."""
    path = write_file(tmp_path, b"a.jpg")
    (before,) = list_entries([str(tmp_path)])
    assert list_entries([str(tmp_path)]) == [before]
    path.write_bytes(b"heRe")
    os.utime(path, ns=(1, 1))
    (after,) = list_entries([str(tmp_path)])
    assert after.stamp != before.stamp
