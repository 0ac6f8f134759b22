"""Measurements against cases that can be worked out by hand, and against scikit-learn."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from tasks.config.parallel import Layout
from tasks.data.tokens.shard_writer import ShardWriter
from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.manifest import Manifest
from tasks.training.evaluation import (
    answer_losses,
    as_metrics,
    classification_batch,
    classification_metrics,
    heldout_batches,
    heldout_metrics,
    instruction_batch,
    predict_classes,
    read_text,
)
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import IGNORED_LABEL, causal_loss, token_losses
from tasks.training.model.ranks import Ranks
from tests.kit.models import ALONE, tiny_model
from tests.kit.ranks import run_ranks

LENGTH = 4
ONE = Mesh(Layout(), ALONE)


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


@pytest.mark.parametrize(
    ("sequences", "num_bytes"), [(1, 1 + 2 + 3 + 1), (2, 7 + 2 + 3 + 1 + 2), (3, 15 + 0 + 5 + 5 + 5), (4, 50)]
)
def test_bits_per_byte_are_the_bits_of_all_targets_over_the_bytes_of_their_text(
    dataset: TokenDataset, sequences: int, num_bytes: int
) -> None:
    assert dataset.num_sequences == 4
    one_bit_each = sequences * LENGTH * math.log(2)
    found = heldout_metrics(one_bit_each, dataset, sequences)
    assert found["heldout_loss"] == pytest.approx(math.log(2))
    assert found["bits_per_byte"] == pytest.approx(sequences * LENGTH / num_bytes)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize("sequences", [1, 3, 4])
def test_the_held_out_loss_is_that_of_the_sequences_however_they_are_shared(
    dataset: TokenDataset, sequences: int, batch_size: int, ranks: int
) -> None:
    model = tiny_model().eval()
    shares = [list(heldout_batches(dataset, sequences, batch_size, rank, ranks)) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1, "sharded weights are gathered together"
    batches = [batch for share in shares for batch in share]
    assert {tuple(batch["input_ids"].shape) for batch in batches} == {(batch_size, LENGTH)}
    assert sum(int((batch["labels"] != IGNORED_LABEL).sum()) for batch in batches) == sequences * LENGTH
    with torch.no_grad():
        total = sum(causal_loss(model, batch).item() for batch in batches)
        expected = causal_loss(model, read_text(dataset, np.arange(sequences))).item()
    assert total == pytest.approx(expected, rel=1e-6)


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


ANSWERS = [
    (np.array([1, 20, 30, 40, 50]), np.array([IGNORED_LABEL, IGNORED_LABEL, 30, 40, 50])),
    (np.array([5, 6]), np.array([IGNORED_LABEL, 6])),
    (np.array([7, 8, 9]), np.array([IGNORED_LABEL, IGNORED_LABEL, 9])),
]


def answers_apart(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    batches = [instruction_batch([row], [labels], 1) for row, labels in ANSWERS]
    with torch.no_grad():
        return answer_losses(tiny_model().eval(), batches, mesh, token_losses)


def test_the_loss_of_an_answer_does_not_depend_on_its_batch() -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        together, counts = answer_losses(model, [instruction_batch(*zip(*ANSWERS, strict=True), 1)], ONE)
        logits = model(input_ids=torch.tensor([[7, 8, 9]])).logits[0, 1]
    assert counts.tolist() == [3, 1, 1]
    np.testing.assert_allclose(together, answers_apart(ONE)[0], rtol=1e-5)
    assert together[2] == pytest.approx(-torch.log_softmax(logits, 0)[9].item(), rel=1e-5)


def answers_on_ranks(ranks: Ranks, layout: Layout) -> tuple[list[float], list[float]]:
    losses, counts = answers_apart(Mesh(layout, ranks))
    return losses.tolist(), counts.tolist()


@pytest.mark.parametrize("layout", [Layout(replicate=2), Layout(shard=2), Layout(tensor_parallel=2)], ids=str)
def test_answers_that_are_shared_by_ranks_count_once(layout: Layout) -> None:
    """Three batches on two ranks, or on two that both measure all of them."""
    expected = answers_apart(ONE)[0]
    for losses, counts in run_ranks(2, partial(answers_on_ranks, layout=layout)):
        assert losses == pytest.approx(expected.tolist(), rel=1e-6)
        assert counts == [3, 1, 1]


def test_predicted_classes_come_in_the_order_of_the_examples() -> None:
    class Echo(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> object:
            logits = torch.nn.functional.one_hot(input_ids[:, 0], 4).double() * 3
            return type("Output", (), {"logits": logits})

    batches = [
        classification_batch([np.array([c]) for c in classes], np.array(classes), 9) for classes in ([0, 3], [1], [2, 2])
    ]
    predicted, losses = predict_classes(Echo(), batches, ONE)
    assert predicted.tolist() == [0, 3, 1, 2, 2]
    np.testing.assert_allclose(losses, math.log(1 + 3 * math.exp(-3)), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(seed: int) -> None:
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 5, 200)
    predicted = np.where(chance.random(200) < 0.6, labels, chance.integers(0, 6, 200))
    found = classification_metrics(predicted, np.full(200, 0.5), labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", labels=np.unique(labels)))
    assert found["heldout_loss"] == 0.5


def test_a_class_that_is_never_named_counts_as_zero() -> None:
    found = classification_metrics(np.array([0, 0, 0, 0]), np.zeros(4), np.array([0, 0, 1, 1]))
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_only_finite_numbers_are_metrics() -> None:
    values = {"a": 1, "b": 2.5, "c": math.nan, "d": math.inf, "e": "text", "f": None, "g": np.float64(3.0)}
    assert as_metrics(values) == {"a": 1.0, "b": 2.5, "g": 3.0}
