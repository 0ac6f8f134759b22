"""Measurements against cases that can be worked out by hand, and against scikit-learn."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from tasks.data.shard_writer import ShardWriter
from tasks.data.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.manifest import Manifest
from tasks.training.evaluation import (
    answer_losses,
    as_metrics,
    classification_batch,
    classification_metrics,
    heldout_metrics,
    instruction_batch,
    paired_bootstrap,
    predict_classes,
    read_text,
)
from tasks.training.objective import IGNORED_LABEL, causal_loss_from_logits
from tasks.training.ranks import Ranks
from tests.unit.training.tiny_models import ALONE, tiny_model

LENGTH = 4


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    """Two documents of 9 tokens; token n is n bytes long, and 0 is the end of a text, which has none."""
    writer = ShardWriter(tmp_path, "heldout", "uint16", 1000)
    for document in ([0, 1, 2, 3, 1, 2, 3, 1, 2], [0, 5, 5, 5, 5, 5, 5, 5, 5]):
        writer.add(np.array(document))
    writer.close()
    np.save(tmp_path / TOKEN_BYTES_FILE, np.arange(6, dtype=np.uint16))
    manifest = Manifest(
        kind="prepare", request_digest="r", details={"dtype": "uint16", "shards": {"heldout": writer.shards, "train": []}}
    )
    return TokenDataset(tmp_path, manifest, "heldout", LENGTH)


def one_bit(model: object, batch: dict) -> torch.Tensor:
    """A model that spends one bit on each token."""
    return torch.tensor(batch["labels"].numel() * math.log(2))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize(
    ("sequences", "num_bytes"), [(1, 1 + 2 + 3 + 1), (2, 7 + 2 + 3 + 1 + 2), (3, 15 + 0 + 5 + 5 + 5), (4, 50)]
)
def test_bits_per_byte_are_the_bits_of_all_targets_over_the_bytes_of_their_text(
    dataset: TokenDataset, batch_size: int, sequences: int, num_bytes: int
) -> None:
    assert dataset.num_sequences == 4
    found = heldout_metrics(None, dataset, sequences, batch_size, one_bit, ALONE)
    assert found["heldout_loss"] == pytest.approx(math.log(2))
    assert found["bits_per_byte"] == pytest.approx(sequences * LENGTH / num_bytes)


def test_the_held_out_loss_is_the_mean_over_tokens_however_it_is_shared(dataset: TokenDataset) -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        alone = heldout_metrics(model, dataset, 4, 3, causal_loss_from_logits, ALONE)
        expected = causal_loss_from_logits(model, read_text(dataset, np.arange(4))).item() / 16
        assert alone["heldout_loss"] == pytest.approx(expected, rel=1e-6)

        class OneOfTwo(Ranks):
            def sums(self, values: list[float]) -> list[float]:
                return list(values)

        parts = [
            heldout_metrics(model, dataset, 4, 1, causal_loss_from_logits, OneOfTwo(rank, 2, torch.device("cpu")))
            for rank in (0, 1)
        ]
    assert sum(part["heldout_loss"] for part in parts) == pytest.approx(alone["heldout_loss"], rel=1e-6)
    assert all(part["heldout_loss"] > 0 for part in parts)


def test_text_is_read_with_shifted_labels_and_positions_that_restart(dataset: TokenDataset) -> None:
    batch = read_text(dataset, np.array([2]))
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[2, 0, 5, 5]], "labels": [[0, 5, 5, 5]], "position_ids": [[0, 0, 1, 2]],
    }  # fmt: skip


def test_classification_batches_are_padded_behind_and_masked() -> None:
    batch = classification_batch([np.array([4, 5, 6]), np.array([7])], np.array([1, 0]), pad_id=9)
    assert batch["input_ids"].tolist() == [[4, 5, 6], [7, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]


def test_instruction_batches_predict_the_next_token_of_the_answer_only() -> None:
    ignored = IGNORED_LABEL
    rows = [np.array([1, 2, 3, 4]), np.array([5, 6])]
    batch = instruction_batch(rows, [np.array([ignored, ignored, 3, 4]), np.array([ignored, 6])], pad_id=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [5, 6, 9]]
    assert batch["labels"].tolist() == [[ignored, 3, 4], [6, ignored, ignored]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_the_loss_of_an_answer_does_not_depend_on_its_batch() -> None:
    model, ignored = tiny_model().eval(), IGNORED_LABEL
    rows = [np.array([1, 20, 30, 40, 50]), np.array([5, 6]), np.array([7, 8, 9])]
    labels = [np.array([ignored, ignored, 30, 40, 50]), np.array([ignored, 6]), np.array([ignored, ignored, 9])]
    with torch.no_grad():
        together, counts = answer_losses(model, [instruction_batch(rows, labels, 1)], ALONE)
        apart, _ = answer_losses(model, [instruction_batch([r], [t], 1) for r, t in zip(rows, labels, strict=True)], ALONE)
        logits = model(input_ids=torch.tensor([[7, 8, 9]])).logits[0, 1]
    assert counts.tolist() == [3, 1, 1]
    np.testing.assert_allclose(together, apart, rtol=1e-5)
    assert together[2] == pytest.approx(-torch.log_softmax(logits, 0)[9].item(), rel=1e-5)


def test_predicted_classes_come_in_the_order_of_the_examples() -> None:
    class Echo(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> object:
            logits = torch.nn.functional.one_hot(input_ids[:, 0], 4).double() * 3
            return type("Output", (), {"logits": logits})

    batches = [
        classification_batch([np.array([c]) for c in classes], np.array(classes), 9) for classes in ([0, 3], [1], [2, 2])
    ]
    predicted, losses = predict_classes(Echo(), batches, ALONE)
    assert predicted.tolist() == [0, 3, 1, 2, 2]
    np.testing.assert_allclose(losses, math.log(1 + 3 * math.exp(-3)), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(seed: int) -> None:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 5, 200)
    predicted = np.where(chance.random(200) < 0.6, labels, chance.integers(0, 6, 200))
    found = classification_metrics(predicted, np.full(200, 0.5), labels, 6)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", labels=np.unique(labels)))
    assert found["heldout_loss"] == 0.5


def test_a_class_that_is_never_named_counts_as_zero() -> None:
    found = classification_metrics(np.array([0, 0, 0, 0]), np.zeros(4), np.array([0, 0, 1, 1]), 3)
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_the_bootstrap_interval_is_that_of_the_normal_distribution() -> None:
    difference = np.random.default_rng(1).normal(0.1, 1.0, 2000)
    low, high = paired_bootstrap(difference, 0.95, 4000, 0)
    error = difference.std() / math.sqrt(2000)
    assert low == pytest.approx(difference.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(difference.mean() + 1.96 * error, abs=0.1 * error)
    narrow = paired_bootstrap(difference, 0.5, 4000, 0)
    assert narrow[1] - narrow[0] == pytest.approx(2 * 0.6745 * error, rel=0.1)


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        low, high = paired_bootstrap(np.random.default_rng(seed).normal(0.3, 1.0, 60), 0.9, 400, seed)
        inside += low <= 0.3 <= high
    assert 80 <= inside <= 97


def test_the_bootstrap_is_paired_and_repeatable() -> None:
    assert paired_bootstrap(np.full(50, 0.25), 0.95, 100, 0) == (0.25, 0.25)
    difference = np.random.default_rng(0).normal(size=30)
    assert paired_bootstrap(difference, 0.95, 200, 7) == paired_bootstrap(difference, 0.95, 200, 7)
    assert paired_bootstrap(difference, 0.95, 200, 7) != paired_bootstrap(difference, 0.95, 200, 8)


def test_only_finite_numbers_are_metrics() -> None:
    values = {"a": 1, "b": 2.5, "c": math.nan, "d": math.inf, "e": "text", "f": None, "g": np.float64(3.0)}
    assert as_metrics(values) == {"a": 1.0, "b": 2.5, "g": 3.0}
