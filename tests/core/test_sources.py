"""What a SOURCE names: everything found is listed, under any name, and reading it gives its bytes or a reason."""

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
    Listed,
    ListFile,
    Mars2020Feed,
    MslFeed,
    OneFile,
    S3Prefix,
    Shards,
    Source,
    absolute,
    listing,
    parse,
    read,
    title,
    to_json,
)
from interpdisc_core.storage import Place

NAMES = [
    b"plain.jpg", b"with space .png", b" lead", b"new\nline.png", b"tab\t.png", b"quo'te\".png", b"<b>bold&amp;.png",
    "Ä-é-火星-🪐.jpg".encode(), b"latin1-\xe9.jpg", b"\xff\xfe\x80.png", b"100%25.png", b"%", b"a?b#c;d.png", b"*[1].png",
    b"back\\slash.png", b"-rf", b"s3:", b"file:", b"dot.", b"\x01\x7f.png", b"\\xff.png", "e\u0301.png".encode(),
    "\u202egnp.exe".encode(), b"x" * 200,
]  # fmt: skip


def place(root: Path, name: bytes, content: bytes = b"here") -> Path:
    """A file with any name of bytes."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(root), name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def why(uri: str) -> str:
    """The reason for which an input cannot be read; it may be all right another time."""
    with pytest.raises(Unreadable) as caught:
        read(uri)
    assert caught.value.access
    return str(caught.value)


def writable(item: Listed) -> None:
    """Every text of an entry can be written as UTF-8 (to a catalog, a table, a page), and its address is ASCII."""
    assert item.uri.isascii()
    for text in (item.id, item.uri, item.stamp, item.skipped, item.label or "", *item.record, *item.record.values()):
        text.encode("utf-8")


# ---------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_file_of_any_name_is_read_by_its_address(tmp_path: Path, name: bytes) -> None:
    """Listed in a folder, its address leads back to its bytes."""
    place(tmp_path, b"in/" + name, b"the content")
    (item,) = listing([str(tmp_path / "in")])
    assert read(item.uri) == b"the content"
    assert item.size == 11
    writable(item)


def test_names_do_not_run_into_each_other(tmp_path: Path) -> None:
    """All of them in one folder: one address each, each with its own content."""
    for number, name in enumerate(NAMES):
        place(tmp_path, name, str(number).encode())
    found = listing([str(tmp_path)])
    assert sorted(int(read(item.uri)) for item in found) == list(range(len(NAMES)))


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
@example(b"\xff")
@example(b"%41")
def test_any_name_goes_through_its_address(name: bytes) -> None:
    """Whatever bytes a file system allows as a name."""
    with tempfile.TemporaryDirectory() as root:
        place(Path(root), name, name)
        (item,) = listing([root])
        assert read(item.uri) == name
        writable(item)


def test_the_shown_name_is_relative_to_the_source(tmp_path: Path) -> None:
    """Ids are paths below the folder, with forward slashes, whatever the way the source was named."""
    for name in (b"a/b/c.png", b"a/d.png", b"e.png"):
        place(tmp_path, name)
    wanted = ["a/b/c.png", "a/d.png", "e.png"]
    for source in (str(tmp_path), f"{tmp_path}/", f"{tmp_path}/a/..", os.path.relpath(tmp_path)):
        assert [item.id for item in listing([source])] == wanted


# ---------------------------------------------------------------------------------------- kinds of source


def test_a_single_file(tmp_path: Path) -> None:
    """A file is a source of one, also where its name looks like a pattern."""
    for name in (b"one.jpg", b"star*[x].jpg"):
        path = place(tmp_path, name, name)
        (item,) = listing([str(path)])
        assert (item.id, read(item.uri)) == (name.decode(), name)


def test_a_glob(tmp_path: Path) -> None:
    """*, ? and ** find files below the pattern's fixed part; folders that match are no inputs."""
    for name in (b"sol1/a.jpg", b"sol1/b.png", b"sol2/c.jpg", b"sol2/deep/d.jpg", b"sol3.jpg/e.txt"):
        place(tmp_path, name)
    assert [i.id for i in listing([f"{tmp_path}/*/*.jpg"])] == ["sol1/a.jpg", "sol2/c.jpg"]
    assert [i.id for i in listing([f"{tmp_path}/**/*.jpg"])] == ["sol1/a.jpg", "sol2/c.jpg", "sol2/deep/d.jpg"]
    assert [i.id for i in listing([f"{tmp_path}/sol?/a.*"])] == ["sol1/a.jpg"]


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    """What exists is taken as it is."""
    place(tmp_path, b"run[1]*/a.jpg")
    assert [item.id for item in listing([str(tmp_path / "run[1]*")])] == ["a.jpg"]


def test_several_sources_list_each_file_once(tmp_path: Path) -> None:
    """A folder, a glob into it and a file of it: each address once, sorted by id; adding a source again changes nothing."""
    for name in (b"b.jpg", b"a.jpg"):
        place(tmp_path, name)
    found = listing([str(tmp_path), f"{tmp_path}/*.jpg", str(tmp_path / "a.jpg"), str(tmp_path)])
    assert [item.id for item in found] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.jpg", "empty", "nowhere.csv", ""])
def test_a_source_that_names_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """One sentence that names it, before any work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError) as caught:
        listing([source])
    message = str(caught.value)
    assert source in message
    assert "\n" not in message
    assert message.endswith(".")


TEXTS = {
    "photos": Folder(path="photos"), "photos/a.jpg": OneFile(path="photos/a.jpg"), "photos/*.jpg": Glob(pattern="photos/*.jpg"),
    "l.CSV": ListFile(path="l.CSV"), "s.tar": Shards(of="s.tar"), "s.ZIP": Shards(of="s.ZIP"), "*.tar": Shards(of="*.tar"),
    "s-{00..10}.tar": Shards(of="s-{00..10}.tar"), "shards:photos": Shards(of="photos"), "[x].tar": Shards(of="[x].tar"),
    "s3://b/p": S3Prefix(url="s3://b/p"), "s3://b/*.jpg": S3Prefix(url="s3://b/*.jpg"), "s3://b/a.tar": Shards(of="s3://b/a.tar"),
    "s3://b/{0..9}.zip": Shards(of="s3://b/{0..9}.zip"), "shards:s3://b/p": Shards(of="s3://b/p"), "feed:msl": MslFeed(),
    "feed:mars2020": Mars2020Feed(), '{"kind": "folder", "path": "x"}': Folder(path="x"), "feed:x": Folder(path="feed:x"),
    '{"kind": "msl-feed", "since_sol": 4000}': MslFeed(since_sol=4000), "gone": None, "": None, "feed:venus": None,
    '{"kind": "folder"}': None, '{"kind": "x"}': None, '{"kind": "folder", "path": "x", "y": 1}': None, "{:": None,
    "http://host/x": None,
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_text_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Each kind has its texts; what exists is taken as it is; what is none of these is one sentence."""
    monkeypatch.chdir(tmp_path)
    for name in (b"photos/a.jpg", b"l.CSV", b"s.tar", b"s.ZIP", b"feed:x/a.jpg"):
        place(tmp_path, name)
    place(tmp_path, b"[x].tar")
    if (wanted := TEXTS[text]) is None:
        with pytest.raises((PlanError, StoreError), match=r"^[^\n]*\.$"):
            parse(text)
        return
    assert parse(text) == wanted
    assert parse(json.dumps(to_json(wanted))) == wanted
    assert title(text)
    assert title(wanted)
    elsewhere = absolute(text)
    monkeypatch.chdir("/")
    again = parse(elsewhere)
    assert type(again) is type(wanted)
    assert absolute(elsewhere) == elsewhere


def test_every_kind_has_a_text() -> None:
    """And kinds do not share a name."""
    kinds = get_args(get_args(Source)[0])
    assert {type(wanted) for wanted in TEXTS.values() if wanted} == set(kinds)
    assert len({kind.kind for kind in kinds}) == len(kinds)


def test_plug_ins_list_as_their_texts_do(tmp_path: Path) -> None:
    """A source may be given as itself; a feed that brought nothing yet is no mistake."""
    place(tmp_path, b"in/a.jpg")
    folder = str(tmp_path / "in")
    assert (
        listing([Folder(path=folder)])
        == listing([folder])
        == listing([f"file://{folder}", Glob(pattern=f"{folder}/*")])
    )
    assert listing([MslFeed()], Place.of(str(tmp_path / "inbox"))) == []
    for source in (Folder(path=f"{folder}/x"), Glob(pattern=f"{folder}/x*"), ListFile(path=f"{folder}/x.csv")):
        with pytest.raises(PlanError, match="in/x"):
            listing([source])


# ---------------------------------------------------------------------------------------- lists


def test_a_list_with_everything(tmp_path: Path) -> None:
    """A byte-order mark, an id, a label, quoted cells; every cell is kept as it stands; paths are beside the list."""
    place(tmp_path, b"images/one, a.jpg", b"1")
    place(tmp_path, b"images/two.jpg", b"2")
    table = place(
        tmp_path, b"list.csv",
        "\ufeffPath,ImageID,Label,sol,note\r\n"
        '"images/one, a.jpg",first,rock,0012,"two\r\nlines, ""quoted"" "\r\n'
        "images/two.jpg,second,,7, é 火 \r\n".encode(),
    )  # fmt: skip
    first, second = listing([str(table)])
    assert (first.id, first.label, read(first.uri)) == ("first", "rock", b"1")
    assert first.record == {
        "Path": "images/one, a.jpg", "ImageID": "first", "Label": "rock", "sol": "0012", "note": 'two\r\nlines, "quoted" ',
    }  # fmt: skip
    assert (second.id, second.label, read(second.uri)) == ("second", None, b"2")
    assert second.record["note"] == " é 火 "


@pytest.mark.parametrize("column", ["path", "file", "uri", "FILENAME", " Image "])
def test_a_list_may_name_its_column_in_several_ways(tmp_path: Path, column: str) -> None:
    """The column of paths is found by its usual names, whatever its case; without an id column the path is the id."""
    place(tmp_path, b"a.jpg")
    (item,) = listing([str(place(tmp_path, b"list.csv", f"x,{column}\n5,a.jpg\n".encode()))])
    assert (item.id, item.label, item.record[column]) == ("a.jpg", None, "a.jpg")
    assert read(item.uri) == b"here"


def test_a_list_of_other_places(tmp_path: Path) -> None:
    """Absolute paths and file:// addresses are as they are; another scheme is listed, and refused when read."""
    there = place(tmp_path, b"there/a b.jpg")
    (uri,) = [item.uri for item in listing([str(there)])]
    table = place(tmp_path, b"list.csv", f"uri,id\n{there},1\n{uri},2\nftp://host/x.jpg,3\ngone.jpg,4\n,5\n".encode())
    found = {item.id: item for item in listing([str(table)])}
    assert read(found["1"].uri) == b"here"
    assert "2" not in found, "the same file, so the same image"
    assert "ftp" in why(found["3"].uri)
    assert "vanished" in why(found["4"].uri)
    assert why(found["5"].uri)


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    """Latin-1 cells: the file of that very name is found, and the texts can still be written down."""
    place(tmp_path, b"caf\xe9.jpg")
    (item,) = listing([str(place(tmp_path, b"list.csv", b"path,label,note\ncaf\xe9.jpg,\xe9tat,\xe0\n"))])
    assert read(item.uri) == b"here"
    writable(item)


def test_rows_of_uneven_length(tmp_path: Path) -> None:
    """Missing cells are empty; cells beyond the header do not hurt."""
    for name in (b"a.jpg", b"b.jpg"):
        place(tmp_path, name)
    first, second = listing([str(place(tmp_path, b"list.csv", b"path,label\na.jpg\nb.jpg,rock,more,and more\n"))])
    assert (first.label, first.record) == (None, {"path": "a.jpg", "label": ""})
    assert (second.label, second.record["path"]) == ("rock", "b.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "rows"), (b"path,label\n", "rows"), (b"alpha,beta\n1,2\n", "column"), (b'path\n"a.jpg\n', "CSV"),
        (b"path\n" + b"a" * 200_000 + b"\n", "CSV"),
    ],
    ids=["empty", "only a header", "no column of paths", "an open quote", "an endless cell"],
)  # fmt: skip
def test_a_list_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    """A sentence with the list's name and what is wrong with it."""
    table = place(tmp_path, b"list.csv", content)
    with pytest.raises(PlanError, match=said) as caught:
        listing([str(table)])
    assert str(table) in str(caught.value)


# ---------------------------------------------------------------------------------------- what is odd on a disk


def test_what_is_not_tried_is_listed_with_a_reason(tmp_path: Path) -> None:
    """Hidden files and folders, links to folders, and names that are no image's: none is skipped in silence."""
    for name in (b"a.jpg", b".hidden.jpg", b".cache/x.jpg", b"notes.TXT", b"labels.csv", b"Thumbs.db", b"no-suffix"):
        place(tmp_path, name)
    place(tmp_path.parent, b"other-folder/y.jpg")
    (tmp_path / "link").symlink_to(tmp_path.parent / "other-folder")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = {item.id: item.skipped for item in listing([str(tmp_path)])}
    assert {name for name, skipped in found.items() if not skipped} == {"a.jpg", "no-suffix"}
    assert "hidden file" in found[".hidden.jpg"]
    assert "hidden folder" in found[".cache"]
    assert "link" in found["link"]
    assert "link" in found["loop"]
    assert ".txt" in found["notes.TXT"]
    assert set(found) == {
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


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    """Links to files are inputs; one that leads nowhere, or to itself, is listed and cannot be read."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.jpg").symlink_to(place(tmp_path, b"real.jpg"))
    (tmp_path / "in" / "broken.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "in" / "self.jpg").symlink_to(tmp_path / "in" / "self.jpg")
    broken, good, self = listing([str(tmp_path / "in")])
    assert read(good.uri) == b"here"
    assert "vanished" in why(broken.uri)
    assert why(self.uri)


def test_a_file_that_vanishes(tmp_path: Path) -> None:
    """Gone between listing and reading: a reason, not a crash."""
    path = place(tmp_path, b"a.jpg")
    (item,) = listing([str(tmp_path)])
    path.unlink()
    assert "vanished" in why(item.uri)
    path.mkdir()
    assert "regular" in why(item.uri)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    """A named pipe without a writer is listed and refused at once."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (item,) = listing([str(tmp_path)])
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(why(item.uri)), daemon=True)
    reader.start()
    reader.join(timeout=5)
    assert not reader.is_alive()
    assert "regular" in said[0]


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


def test_a_file_without_permission(powerless: Path) -> None:
    """It is listed, and the reason for which it cannot be read is the permission."""
    place(powerless, b"a.jpg").chmod(0)
    give_up_rights()
    (item,) = listing([str(powerless)])
    assert "permission" in why(item.uri)


def test_a_folder_without_permission(powerless: Path) -> None:
    """It is listed as a folder that cannot be read; what lies beside it is listed as ever."""
    place(powerless, b"a.jpg")
    closed = place(powerless, b"closed/b.jpg").parent
    closed.chmod(0)
    give_up_rights()
    found = {item.id: item.skipped for item in listing([str(powerless)])}
    assert found["a.jpg"] == ""
    assert "cannot be read" in found["closed"]


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """Size or stamp differ after a change, and are the same without one."""
    path = place(tmp_path, b"a.jpg")
    (before,) = listing([str(tmp_path)])
    assert listing([str(tmp_path)]) == [before]
    path.write_bytes(b"heRe")
    os.utime(path, ns=(1, 1))
    (after,) = listing([str(tmp_path)])
    assert after.stamp != before.stamp
