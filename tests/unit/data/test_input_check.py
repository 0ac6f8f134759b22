"""Bad files of a folder: all in one message before a preparation begins, or quarantined with what could be read kept."""

import bz2
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest

from tasks.config.data import DataConfig
from tasks.data import input_check
from tasks.data.input_check import check_inputs, ends_bz2
from tasks.record.errors import DataError
from tests.kit.preparations import card_of, documents_of, kept_texts, manifest_of, sentences

PAGE = "<page><title>P{n}</title><ns>0</ns><id>{n}</id><revision><text>{text}</text></revision></page>"


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def dump(texts: list[str]) -> bytes:
    pages = "".join(PAGE.format(n=n, text=text) for n, text in enumerate(texts))
    return f"<mediawiki><siteinfo><namespaces/></siteinfo>{pages}</mediawiki>".encode()


def message(**data) -> str:
    with pytest.raises(DataError) as raised:
        check_inputs(DataConfig(**data))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def folder(tmp_path):
    """Rows, of which four files are bad, each in its way."""
    folder, texts = tmp_path / "texts", sentences(80)
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(texts[:20]))
    (folder / "b.jsonl").touch()
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines(texts[20:40]))[:-100])
    (folder / "d.jsonl").write_bytes(lines(texts[40:60]) + b"{bad\n")
    (folder / "e.jsonl").write_bytes(lines(texts[60:]).replace(b"text", b"body"))
    return folder


def test_all_bad_files_are_named_at_once(folder, prepared, home):
    said = message(source="jsonl", path=str(folder))
    assert said.startswith(
        f"data.path='{folder}': 4 of 5 files cannot be read; mend or remove them, or set data.limits.on_bad_"
    )
    for words in (
        "(1) FOLDER/b.jsonl is empty; remove it or give it content.",
        "(2) FOLDER/c.jsonl.gz is cut off: its gzip data end in the middle at byte ",
        "(3) FOLDER/d.jsonl line 21 (byte ",
        "(4) FOLDER/e.jsonl line 1 (byte 0) has no column 'text' but 'body'",
    ):
        assert words.replace("FOLDER", str(folder)) in said
    with pytest.raises(DataError) as raised:
        prepared({"source": "jsonl", "path": str(folder)})
    assert str(raised.value) == said
    assert not (home / "datasets").exists(), "nothing has begun"


def test_under_quarantine_everything_that_can_be_read_is(folder, prepared):
    (folder / "e.jsonl").unlink()
    data = {"source": "jsonl", "path": str(folder), "limits": {"on_bad_input": "quarantine"}, "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    texts = kept_texts((stage, manifest))
    assert texts >= set(sentences(80)[:20]) | set(sentences(80)[40:60])
    assert len(texts) > 45, "and what came before the cut"
    assert manifest.details["quarantined"] == {"empty_file": 1, "invalid_json": 1, "truncated": 1}
    records = [json.loads(line) for line in (stage.path / "quarantine.jsonl").open()]
    found = {record["reason"]: (record["file"], record["place"]) for record in records}
    assert found["empty_file"] == ("b.jsonl", "the file")
    assert found["truncated"][0] == "c.jsonl.gz"
    assert found["truncated"][1].startswith(f"byte {(folder / 'c.jsonl.gz').stat().st_size} (")
    metrics = manifest.metrics
    assert metrics["read_documents"] == metrics["kept_documents"] + metrics["dropped_documents"] + 3
    assert "| `truncated` | 1 |" in card_of(stage)


def test_a_single_file_is_only_looked_at_where_it_is_empty(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"{bad\n")
    check_inputs(DataConfig(source="jsonl", path=str(tmp_path / "a.jsonl")))
    (tmp_path / "b.jsonl").touch()
    said = message(source="jsonl", path=str(tmp_path / "b.jsonl"))
    assert said.startswith(f"{tmp_path}/b.jsonl is empty; remove it or give it content, or set data.limits.on_bad_input=")


def test_of_large_files_the_beginning_and_the_end_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(input_check, "WHOLE_BYTES", 0)
    monkeypatch.setattr(input_check, "CHUNK_BYTES", 1000)
    whole = dump(sentences(50))
    middle = whole.replace(b"number 30", b"number \x01")
    for name, content in {
        "a.xml": whole, "b.xml": middle, "c.xml": whole[:-20], "d.xml.bz2": bz2.compress(whole),
        "e.xml.bz2": bz2.compress(whole)[:-5], "f.xml.xz": lzma.compress(whole), "g.xml.xz": lzma.compress(whole)[:-4],
        "h.xml": b"<html>" + b" " * 5000 + b"</mediawiki>",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    said = message(source="mediawiki", path=str(tmp_path))
    assert ": 4 of 8 files cannot be read" in said
    assert "c.xml is cut off: it does not end with </mediawiki>; copy" in said
    assert "e.xml.bz2 is cut off: it does not end with the end of a bzip2 stream" in said
    assert "g.xml.xz is cut off: it does not end with the end of an xz stream" in said
    assert "h.xml is no MediaWiki export: its first element is <html>" in said
    monkeypatch.undo()
    said = message(source="mediawiki", path=str(tmp_path))
    assert ": 5 of 8 files" in said
    assert "b.xml is no well-formed XML at byte " in said


def test_so_much_as_is_quick_is_read_whole_the_smallest_first(tmp_path, monkeypatch):
    for name, count in (("a.jsonl", 50), ("b.jsonl", 5), ("c.jsonl", 10)):
        (tmp_path / name).write_bytes(lines(sentences(count)) + b"bad\n")
    monkeypatch.setattr(input_check, "WHOLE_BYTES", sum((tmp_path / name).stat().st_size for name in ("b.jsonl", "c.jsonl")))
    said = message(source="jsonl", path=str(tmp_path))
    assert ": 2 of 3 files" in said
    assert "a.jsonl" not in said
    check_inputs(DataConfig(source="jsonl", path=str(tmp_path), max_documents=3))


def test_parquet_files_of_another_schema_or_cut_off_are_named_together(tmp_path):
    for name, column in (("a", "text"), ("b", "text"), ("c", "body")):
        pyarrow.parquet.write_table(pyarrow.table({column: sentences(30)}), tmp_path / f"{name}.parquet")
    content = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[:-9])
    said = message(source="parquet", path=str(tmp_path))
    assert "b.parquet is no Parquet file that can be read (" in said
    assert "column 'text' is not in " in said


def test_many_bad_files_are_named_and_counted(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02d}.jsonl").write_text("bad")
    said = message(source="jsonl", path=str(tmp_path))
    assert ": 40 of 40 files cannot be read" in said
    assert said.count("is not valid JSON") == 5
    assert "Others: 05.jsonl, 06.jsonl, " in said
    assert said.endswith("24.jsonl and 15 more.")


def test_the_end_of_a_bzip2_stream_is_found_at_every_bit():
    for number in range(64):
        packed = bz2.compress(b"word " * number + bytes([number]))
        assert ends_bz2(packed)
        assert not ends_bz2(packed[:-1])


def test_a_damaged_parquet_file_goes_to_the_quarantine_with_its_place(tmp_path, prepared):
    for name, texts in (("a", sentences(60)[:30]), ("b", sentences(60)[30:])):
        pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / f"{name}.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-9])
    data = {"source": "parquet", "path": str(tmp_path), "limits": {"on_bad_input": "quarantine"}, "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    assert manifest.details["quarantined"] == {"damaged": 1}
    assert sorted(documents_of((stage, manifest), "train") + documents_of((stage, manifest), "heldout")) == sorted(
        sentences(60)[:30]
    )
