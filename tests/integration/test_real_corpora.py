"""Real dumps and novels, prepared whole: nothing fails, every document is accounted for, and it reads like prose."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lxml import etree

from tasks.config.config import Config
from tasks.data.__main__ import main
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import prepare_work
from tests.kit import real_data

MARKUP = re.compile(r"\{\{|\}\}|\{\||\|\}|<ref|</ref|\[\[|\]\]|'''")
ODD = re.compile(r"[^\w\s.,;:!?'\"()\[\]“”‘’–—/&-]")
"""What prose has next to nothing of."""


def prepared(home: Path, **data: object) -> tuple[StageLayout, Manifest]:
    work = prepare_work(home, Config.model_validate({"data": data, "tokenizer": {"vocab_size": 4096}}))
    write_json(work.stage.request, work.request)
    assert main([str(work.stage.path)]) == 0, read_json(work.stage.error)
    return work.stage, Manifest.read(work.stage.manifest)


def texts(stage: StageLayout, manifest: Manifest) -> list[str]:
    """Every document, read back from the shards."""
    tokenizer, found = load_tokenizer(stage.path / "tokenizer").tokenizer, []
    for name in (name for names in manifest.details["shards"].values() for name in names):
        tokens = np.fromfile(stage.path / name, dtype=manifest.details["dtype"])
        starts = np.load(stage.path / name.replace(".bin", ".documents.npy")).astype(np.int64)
        found += tokenizer.decode_batch([part[1:].tolist() for part in np.split(tokens, starts[1:])])
    return found


def pages_by_lxml(folder: Path) -> Counter[str]:
    """What an independent parser finds in the dumps: all pages, those of other namespaces, redirects of namespace 0."""
    import bz2

    counts = Counter[str]()
    for path in sorted(folder.rglob("*.xml*")):
        content = bz2.decompress(path.read_bytes()) if path.suffix == ".bz2" else path.read_bytes()
        for page in etree.fromstring(content, etree.XMLParser(huge_tree=True)).iter("{*}page"):
            counts["pages"] += 1
            if page.findtext("{*}ns", "0") != "0":
                counts["namespace"] += 1
            elif page.find("{*}redirect") is not None:
                counts["redirect"] += 1
    return counts


@pytest.fixture(scope="module")
def wikipedia(tmp_path_factory) -> tuple[StageLayout, Manifest]:
    folder = real_data.folder("wikipedia")
    return prepared(tmp_path_factory.mktemp("home"), name="wiki", source="mediawiki", path=str(folder), heldout_fraction=0.1)


def test_every_page_of_the_dumps_is_accounted_for(wikipedia):
    _, manifest = wikipedia
    expected, metrics, dropped = pages_by_lxml(real_data.folder("wikipedia")), manifest.metrics, manifest.details["dropped"]
    assert metrics["read_documents"] == expected["pages"] > 400
    assert (dropped["namespace"], dropped["redirect"]) == (expected["namespace"], expected["redirect"])
    gone = metrics["dropped_documents"] + metrics["quarantined_documents"]
    assert metrics["read_documents"] == metrics["kept_documents"] + gone
    assert metrics["kept_documents"] == metrics["train_documents"] + metrics["heldout_documents"] > 230


def test_no_markup_is_left_in_the_articles(wikipedia):
    left = Counter(found for text in texts(*wikipedia) for found in MARKUP.findall(text))
    assert left == {}


def test_the_articles_read_like_prose(wikipedia):
    stage, manifest = wikipedia
    anarchism = next(text for text in texts(stage, manifest) if text.startswith("Anarchism is a political philosophy"))
    assert "stateless societies" in anarchism
    assert len(anarchism) > 60_000
    assert len(ODD.findall(anarchism)) < 0.002 * len(anarchism)
    paragraphs = [paragraph for paragraph in anarchism.split("\n\n") if len(paragraph.split()) > 20]
    assert sum(len(paragraph) for paragraph in paragraphs) > 0.9 * len(anarchism)


def test_ninety_novels_are_prepared_whole(tmp_path):
    folder = real_data.folder("prose", "litbank")
    stage, manifest = prepared(tmp_path, name="novels", source="text", path=str(folder))
    metrics = manifest.metrics
    assert len(read_json(stage.path / "sources.json")[0]["files"]) == len(list(folder.glob("*.txt")))
    size = sum(path.stat().st_size for path in folder.glob("*.txt"))
    assert 0.98 * size < metrics["train_bytes"] + metrics["heldout_bytes"] <= size
    assert metrics["quarantined_documents"] == 0
    assert manifest.details["token_bytes"] == "exact"
