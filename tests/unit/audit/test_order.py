"""The order by request and data set; that it is the order of training is shown in tests/integration/test_verify.py."""

from pathlib import Path

import numpy as np
import pytest

from tasks.audit.order import order_of
from tasks.config.finetuning import FinetuneConfig
from tasks.config.training import PretrainConfig
from tasks.data.tokens.shards import TOKEN_BYTES_FILE
from tasks.data.tokens.tokenizer import save_tokenizer, train_tokenizer
from tasks.record.errors import IntegrityError
from tasks.record.files import write_json
from tasks.record.manifest import Manifest, Request, write_manifest
from tasks.stages.work import examples_work
from tests.kit.preparations import prepared_result

CONFIG = PretrainConfig(
    sequence_length=12, micro_batch_size=2, global_batch_tokens=96, train_tokens=96 * 40, warmup_steps=2, decay_steps=4,
    evaluate_every_steps=2, checkpoint_every_steps=4,
)  # fmt: skip


def request_on(folder: Path, shares: list[dict] | None = None) -> Request:
    """1200 tokens of books and 2400 of the web, 12 tokens a sequence: 99 and 199 sequences, or 299 in one stream."""
    for name, count in (("train-00000", 1200), ("train-00001", 2400)):
        np.full(count, 3, dtype="<u2").tofile(folder / f"{name}.bin")
        np.save(folder / f"{name}.documents.npy", np.array([0], dtype="<u8"))
    np.save(folder / TOKEN_BYTES_FILE, np.ones(10, dtype=np.uint16))
    details = {
        "dtype": "uint16",
        "shards": {"train": ["train-00000.bin", "train-00001.bin"]},
        "sources": [{"name": name, "shards": {"train": [f"train-0000{i}.bin"]}} for i, name in enumerate(("books", "web"))],
    }
    manifest = write_manifest(folder, Manifest(kind="prepare", request_digest="", details=details))
    identity = {"pretrain": CONFIG.model_dump(mode="json")} | ({"mixture": shares} if shares else {})
    return Request(kind="pretrain", identity=identity, inputs={"dataset": manifest.as_input(folder)})


def test_one_stream_is_seen_once_in_each_epoch(tmp_path: Path) -> None:
    order = order_of(request_on(tmp_path))
    assert (order.sizes, order.sources, order.unit) == ((299,), (), "sequences")
    ids = np.concatenate([order.sample_ids(step) for step in range(40)])
    assert sorted(ids[:299].tolist()) == list(range(299))
    assert order.num_tokens(order.sample_ids(0)) == 96


def test_sources_are_told_apart_where_they_have_weights(tmp_path: Path) -> None:
    shares = [{"name": "books", "weight": 0.75, "max_epochs": None}, {"name": "web", "weight": 0.25, "max_epochs": None}]
    order = order_of(request_on(tmp_path, shares))
    assert (order.sizes, order.sources) == ((99, 199), ("books", "web"))
    ids = np.concatenate([order.sample_ids(step) for step in range(40)])
    assert (ids < 99).mean() == pytest.approx(0.75, abs=0.02)


def test_another_data_set_in_its_place_is_refused(tmp_path: Path) -> None:
    request = request_on(tmp_path)
    write_json(tmp_path / "manifest.json", Manifest.read(tmp_path / "manifest.json").model_copy(update={"step": 3}))
    with pytest.raises(IntegrityError, match="is not the dataset that was asked for"):
        order_of(request)


@pytest.mark.parametrize("kind", ["classification", "instruction"])
def test_a_fine_tune_sees_its_examples_in_the_tokens_of_its_base(tmp_path: Path, kind: str) -> None:
    rows = [f'{{"text": "a cat {i}", "label": "{"ab"[i % 2]}", "prompt": "what {i}?", "answer": "cat"}}\n' for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    examples = {"source": "jsonl", "path": str(tmp_path / "rows.jsonl"), "test_fraction": 0.3, "min_test_examples": 5}
    config = FinetuneConfig.model_validate({"kind": kind, "examples": examples, "batch_size": 8, "max_length": 12})
    prepared = prepared_result(examples_work(tmp_path, config))
    save_tokenizer(train_tokenizer(["what is a cat? a cat is a cat"], 300, 1000), tmp_path / "base" / "export")
    base = write_manifest(tmp_path / "base", Manifest(kind="pretrain", request_digest="b"))
    identity = {"finetune": config.model_dump(mode="json", exclude={"gate", "schedule", "examples"}), "init": "base"}
    inputs = {"base": base.as_input(tmp_path / "base"), "examples": prepared.input}
    order = order_of(Request(kind="finetune", identity=identity, inputs=inputs))
    count = prepared.manifest.metrics["train_examples"]
    assert (order.sizes, order.unit) == ((count,), "examples")
    ids = np.concatenate([order.sample_ids(step) for step in range(2 * count)])
    assert np.bincount(ids).tolist() == [16] * count, "8 examples in each step"
    assert order.num_tokens(np.arange(count)) > 3 * count
    assert order.num_tokens(np.array([0, 0])) == 2 * order.num_tokens(np.array([0]))
