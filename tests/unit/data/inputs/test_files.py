"""Which files are meant, and that nothing outside of the data root is read."""

import sys
from pathlib import Path

import fsspec
import pytest

from tasks.data.inputs.files import InputFile, find_input, input_files, open_file_system, resolve_files
from tasks.record.errors import DataError


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    names = (
        "b.jsonl",
        "a.jsonl",
        "sub/c.NDJSON",
        "sub/deep/d.jsonl",
        "other.txt",
        ".hidden.jsonl",
        ".git/e.jsonl",
        "z.jsonl.GZ",
    )
    for name in (*names, "dump.xml.bz2", "text.md.zst", "rows.csv.xz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"text": "{name}"}}\n')
    return folder


def names(files: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files]


def test_files_folders_and_globs_are_found_sorted(folder, monkeypatch):
    found = ["a.jsonl", "b.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl", "z.jsonl.GZ"]
    assert names(resolve_files("jsonl", str(folder)), folder) == found
    assert names(resolve_files("jsonl", str(folder / "other.txt")), folder) == ["other.txt"]
    assert names(resolve_files("jsonl", f"{folder}/[ab].jsonl"), folder) == ["a.jsonl", "b.jsonl"]
    assert names(resolve_files("jsonl", f"{folder}/sub/**/*.jsonl"), folder) == ["sub/deep/d.jsonl"]
    monkeypatch.chdir(folder)
    assert resolve_files("jsonl", "*.jsonl") == [Path(".hidden.jsonl"), Path("a.jsonl"), Path("b.jsonl")]


@pytest.mark.parametrize(
    ("source", "name"), [("mediawiki", "dump.xml.bz2"), ("text", "other.txt"), ("csv", "rows.csv.xz"), ("text", "text.md.zst")]
)
def test_compressed_files_of_a_folder_belong_to_their_source(folder, source, name):
    assert name in names(resolve_files(source, str(folder)), folder)


def test_names_are_relative_to_what_was_named(folder, monkeypatch):
    def found(path):
        return [file.name for file in input_files("jsonl", path)]

    assert found(str(folder)) == ["a.jsonl", "b.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl", "z.jsonl.GZ"]
    assert found(f"{folder}/sub/**/*.jsonl") == ["deep/d.jsonl"]
    assert found(f"{folder}/sub/deep/d.jsonl") == ["d.jsonl"]
    monkeypatch.chdir(folder)
    assert found("s*/deep/*") == ["sub/deep/d.jsonl"]
    assert input_files("text", "other.txt") == [InputFile(str(folder / "other.txt"), "other.txt", 22)]
    assert input_files("text", f"file://{folder}/other.txt") == input_files("text", "other.txt")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", ["data.path=", "nothing' does not exist; give a file, a folder or a glob of source 'csv'"]),
        (
            "sub",
            ["is a folder without files of source 'csv' (*.csv, *.csv.gz, *.csv.bz2, *.csv.zst, *.csv.xz, *.tsv, *.tsv.gz"],
        ),
        ("*.tsv", ["matches no file; mend the pattern"]),
        ("empty.txt", ["empty.txt is empty; remove it or give it content"]),
    ],
)
def test_what_is_not_there_is_said(folder, path, words):
    (folder / "empty.txt").touch()
    with pytest.raises(DataError) as raised:
        resolve_files("csv", f"{folder}/{path}")
    for word in words:
        assert word in str(raised.value)


def test_what_lies_beside_is_named_with_its_reason(folder, tmp_path):
    (folder / "door").symlink_to(tmp_path)
    found = find_input("jsonl", str(folder)).passed_over
    others = {"other.txt", "dump.xml.bz2", "text.md.zst", "rows.csv.xz"}
    assert {name for name, why in found.items() if why.startswith("its ending is none of this source's")} == others
    assert found[".git/"] == found[".hidden.jsonl"] == "hidden"
    assert found["door/"] == "a link to a folder, which is not followed"
    assert find_input("jsonl", f"{folder}/a*").passed_over == {}
    assert list(find_input("jsonl", f"{folder}/*").passed_over) == [".git", "door", "sub"]
    memory = fsspec.filesystem("memory")
    for name in ("train.jsonl", "test.jsonl", "notes.doc", ".hidden"):
        memory.pipe(f"/beside/{name}", b"{}")
    remote = find_input("jsonl", "memory://beside")
    assert [file.name for file in remote.files] == ["train.jsonl"]
    assert set(remote.passed_over) == {"test.jsonl", "notes.doc"}
    assert len(input_files("jsonl", "memory://beside")) == 2, "who does not train reads all splits"


def test_all_empty_and_all_closed_files_are_named_at_once(folder, monkeypatch):
    for name in ("e1.jsonl", "e2.jsonl"):
        (folder / name).touch()
    with pytest.raises(DataError, match=r"e1\.jsonl, .*e2\.jsonl are empty; remove them or give them content"):
        find_input("jsonl", str(folder))
    assert len(find_input("jsonl", str(folder), empty=True).files) == 7
    monkeypatch.setattr("os.access", lambda path, mode: path.name not in ("a.jsonl", "b.jsonl"))
    with pytest.raises(DataError, match=r"a\.jsonl, .*b\.jsonl cannot be read; change the permissions"):
        find_input("jsonl", str(folder))


@pytest.fixture
def rooted(folder, tmp_path, monkeypatch) -> Path:
    """`folder` is the data root; a secret lies beside it."""
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}\n')
    (tmp_path / "corpus-2").mkdir()
    (tmp_path / "corpus-2" / "f.jsonl").write_text('{"text": "other"}\n')
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(folder))
    return folder


def test_what_lies_below_the_data_root_is_read(rooted, monkeypatch):
    (rooted / "inner.jsonl").symlink_to(rooted / "a.jsonl")
    assert "inner.jsonl" in names(resolve_files("jsonl", str(rooted)), rooted)
    assert resolve_files("jsonl", f"{rooted}/sub/../a.jsonl")
    monkeypatch.chdir(rooted)
    assert resolve_files("jsonl", "[ab].jsonl")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "ROOT/../secret.jsonl", "ROOT/..", "ROOT/../*.jsonl", "ROOT-2/f.jsonl", "ROOT-2", "../secret.jsonl",
             "/etc/pass*", "/etc/no-such-file", "file:///etc/passwd", "file://ROOT/../secret.jsonl"],
)  # fmt: skip
def test_a_path_that_leaves_the_data_root_is_refused(rooted, monkeypatch, path):
    monkeypatch.chdir(rooted)
    with pytest.raises(
        DataError, match=r"data\.path=.* is a path that leaves the data root PRETUNE_DATA_ROOT=.*; move the data"
    ):
        input_files("jsonl", path.replace("ROOT", str(rooted)))


@pytest.mark.parametrize("how", ["file", "folder", "glob", "deep"])
def test_a_symlink_out_of_the_data_root_is_refused_wherever_it_is_met(rooted, tmp_path, how):
    (rooted / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (rooted / "sub" / "door").symlink_to(tmp_path / "corpus-2")
    path = {"file": "link.jsonl", "folder": "", "glob": "l*.jsonl", "deep": "sub/door/f.jsonl"}[how]
    with pytest.raises(
        DataError, match=r"(link|f)\.jsonl \(that is .*(secret|corpus-2/f)\.jsonl\) is a path that leaves the data"
    ):
        resolve_files("jsonl", f"{rooted}/{path}")


def test_several_roots_and_urls_may_be_listed(rooted, tmp_path, monkeypatch):
    memory = fsspec.filesystem("memory")
    memory.pipe("/open/a.jsonl", b"{}")
    memory.pipe("/opened/a.jsonl", b"{}")
    with pytest.raises(DataError, match=r"memory://open is a path that leaves the data root"):
        input_files("jsonl", "memory://open")
    monkeypatch.setenv("PRETUNE_DATA_ROOT", f"{rooted}:memory://open:memory:///open:{tmp_path}/corpus-2")
    assert input_files("jsonl", f"{tmp_path}/corpus-2/f.jsonl")
    assert [file.location for file in input_files("jsonl", "memory://open")] == ["memory:///open/a.jsonl"]
    for url in ("memory://opened", "memory://open/../opened", "memory://open/%2e%2e/opened", "s3://bucket/x"):
        with pytest.raises(DataError, match="is a path that leaves the data root"):
            input_files("jsonl", url)


def test_remote_files_folders_and_globs():
    memory = fsspec.filesystem("memory")
    for name in ("b.jsonl.gz", "a.jsonl", "sub/c.jsonl", "d.txt", ".hidden.jsonl", "empty/e.jsonl"):
        memory.pipe(f"/files/{name}", b"" if "empty" in name else b"{}")
    memory.rm("/files/empty", recursive=True)
    assert [file.name for file in input_files("jsonl", "memory://files")] == ["a.jsonl", "b.jsonl.gz", "sub/c.jsonl"]
    assert [file.name for file in input_files("jsonl", "memory://files/*/*.jsonl")] == ["sub/c.jsonl"]
    assert [file.name for file in input_files("jsonl", "memory://files/sub/c.jsonl")] == ["c.jsonl"]
    assert all(file.size == 2 and file.version for file in input_files("jsonl", "memory://files"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://gone", "data.path='memory://gone' does not exist or matches no file"),
        ("memory://wanting", "is a folder without files of source 'jsonl' (*.jsonl, "),
        ("memory://wanting/empty.txt", "empty.txt is empty; remove it"),
        ("ftp://host/file", "has protocol 'ftp', and these are read: s3, "),
        ("zip://a.jsonl::file:///etc/archive.zip", "has protocol 'zip', and these are read"),
        ("simplecache::memory://wanting", "has protocol 'simplecache::memory', and these are read"),
        ("memory://a::file:///etc/passwd", "joins two addresses"),
        ("gs://bucket/x", "needs a package that is missing"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url, words):
    memory = fsspec.filesystem("memory")
    memory.pipe("/wanting/a.txt", b"text")
    memory.pipe("/wanting/empty.txt", b"")
    with pytest.raises(DataError) as raised:
        input_files("jsonl", url)
    assert words in str(raised.value)


def test_a_missing_s3_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(
        DataError, match=r"data\.path='s3://bucket/a' needs a package that is missing .* `pip install 'pretune\[s3\]'`"
    ):
        open_file_system("s3://bucket/a", "data.path")


def test_a_loop_of_links_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(tmp_path))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match=r"data\.path=.* (leads nowhere .*; mend the link|does not exist; give a file)"):
        resolve_files("text", str(tmp_path / "loop"))
