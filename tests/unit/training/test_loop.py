"""The loop: the same numbers for any number of ranks and after any stop; schedule, clipping, evaluation, errors."""

import hashlib
import math
from functools import partial
from itertools import chain as chain_of
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.config.parallel import Layout
from tasks.data.tokens.digest import samples_digest
from tasks.record.errors import DivergedError, IntegrityError, StoppedError
from tasks.record.journal import CHAIN_START, chain
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.checkpoint import committed_checkpoints
from tasks.training.loop import Trainer, random_seed
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import causal_loss
from tasks.training.model.partition import Partition
from tasks.training.model.patches import patch
from tasks.training.model.ranks import Ranks
from tests.kit.models import ALONE, tiny_model
from tests.kit.ranks import run_ranks
from tests.kit.trainers import (
    LENGTH,
    TOKENS,
    continued,
    heldout,
    lines_of,
    recipe,
    same_weights,
    token_batch,
    tokens_read,
    trainer,
)


def with_dropout(seed: int = 0) -> torch.nn.Module:
    return tiny_model("gpt2", seed=seed, extra={"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """12 steps with dropout, undisturbed."""
    torch.set_num_threads(1)
    return continued(trainer(tmp_path_factory.mktemp("whole"), with_dropout()))


def test_it_learns_and_logs_every_step_and_evaluation(whole: Trainer) -> None:
    steps, evaluations = lines_of(whole, "step"), lines_of(whole, "evaluation")
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["step"] for line in evaluations] == [0, 2, 4, 6, 8, 10, 12]
    assert evaluations[-1]["heldout_loss"] < 0.9 * evaluations[0]["heldout_loss"]
    assert steps[-1]["tokens_seen"] == whole.state.tokens_seen == 12 * 8 * LENGTH
    assert evaluations[1]["train_loss"] == pytest.approx((steps[0]["loss"] + steps[1]["loss"]) / 2)
    assert evaluations[2]["train_loss"] == pytest.approx((steps[2]["loss"] + steps[3]["loss"]) / 2)
    assert {line["phase"] for line in steps} <= {"warm-up", "stable"}
    assert steps[-1]["seconds_left"] == 0.0


def test_the_first_loss_and_gradient_are_those_of_the_global_batch(tmp_path: Path) -> None:
    run, model = trainer(tmp_path), tiny_model().eval()
    run.resume()
    run.train_step()
    ids = recipe().sample_ids(0)
    loss = causal_loss(model, token_batch(ids)) / (8 * LENGTH)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    (line,) = lines_of(run, "step")
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert line["learning_rate"] == 0.01 / 2


def test_the_hash_chain_is_over_steps_sample_ids_tokens_and_losses(whole: Trainer) -> None:
    link = CHAIN_START
    for line in lines_of(whole, "step"):
        ids = recipe().sample_ids(line["step"] - 1)
        samples = ((TOKENS[i, :-1], TOKENS[i, 1:], np.arange(LENGTH)) for i in ids)
        tokens = f"{samples_digest(range(8), samples):032x}"
        link = chain(link, line["step"], hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(), tokens, line["loss"])
        assert (line["token_digest"], line["chain"]) == (tokens, link)
    assert whole.state.chain == link


def three_steps(ranks: Ranks, folder: Path, layout: Layout, wrong: int | None = None) -> str | None:
    """Steps on a layout, where rank `wrong` reads one token of the second step wrongly; the error that it ended with."""

    def damaged(ids: np.ndarray) -> dict[str, torch.Tensor]:
        batch = token_batch(ids)
        if ranks.rank == wrong and ids[0] in recipe().sample_ids(1):
            batch["input_ids"] = batch["input_ids"].clone()
            batch["input_ids"][0, 0] += 1
        return batch

    mesh = Mesh(layout, ranks)
    partition = Partition(mesh, [tiny_model()])
    patch(partition, causal_loss)
    run = Trainer(recipe(read=damaged), partition, StageLayout(folder), 1)
    run.partition.train()
    try:
        for _ in range(3):
            run.train_step()
    except IntegrityError as error:
        return str(error)
    return None


def test_one_wrong_token_on_any_rank_is_in_the_digest_of_its_step(tmp_path: Path) -> None:
    for name, wrong in (("right", None), ("first", 0), ("second", 1)):
        run_ranks(2, partial(three_steps, folder=tmp_path / name, layout=Layout(replicate=2), wrong=wrong))
    right, *others = (tokens_read(tmp_path / name) for name in ("right", "first", "second"))
    for other in others:
        assert [a == b for a, b in zip(right, other, strict=True)] == [True, False, True]
    assert others[0] != others[1]


def test_ranks_that_share_their_samples_and_read_other_tokens_end_together(tmp_path: Path) -> None:
    """Two ranks with parts of the same matrices, as far as the digests know (the model here is whole on both)."""
    step = partial(three_steps, layout=Layout(tensor_parallel=2))
    assert run_ranks(2, partial(step, folder=tmp_path / "same")) == [None, None]
    run_ranks(1, partial(three_steps, folder=tmp_path / "alone", layout=Layout()))
    assert tokens_read(tmp_path / "same") == tokens_read(tmp_path / "alone")
    first, second = run_ranks(2, partial(step, folder=tmp_path / "other", wrong=1))
    assert first == second
    assert first.startswith("ranks that share the samples of step 2 read different tokens of them: the data set's files differ")


@pytest.mark.parametrize("stops", [[5], [1, 4, 11], [12]])
def test_a_run_that_was_stopped_any_number_of_times_is_bit_identical(whole: Trainer, tmp_path: Path, stops: list[int]) -> None:
    for attempt, stop in enumerate(stops, 1):
        run = trainer(tmp_path, with_dropout(seed=attempt - 1), attempt=attempt)
        run.resume()
        step = run.train_step

        def stopping(run: Trainer = run, step: Any = step, stop: int = stop) -> None:
            if run.state.step == stop - 1:
                run.stage.stop.touch()
            step()

        run.train_step = stopping
        with pytest.raises(StoppedError, match=f"stopped after step {stop}"):
            run.train()
        assert committed_checkpoints(run.stage)[0].name == f"step_{stop:08d}"
        run.stage.stop.unlink()
    last = continued(trainer(tmp_path, with_dropout(seed=9), attempt=9))
    assert same_weights(last.model, whole.model)
    assert last.state.chain == whole.state.chain
    assert last.state.evaluations == whole.state.evaluations
    assert [line["loss"] for line in lines_of(last, "step")] == [line["loss"] for line in lines_of(whole, "step")]


def gradients_of_a_step(ranks: Ranks, folder: Path) -> tuple[list[int], float, torch.Tensor]:
    """Samples that this rank reads, its share of the loss, and its gradients."""
    seen: list[int] = []
    run = trainer(folder, with_dropout(), ranks, read=lambda rows: (seen.extend(rows.tolist()), token_batch(rows))[1])
    run.partition.train()
    batches = run.feed.take(0, prepare_next=False)[0].batches
    loss = run.passes.train(batches, run.seed_of(0), 96)
    return seen, loss.item(), run.gradients.buffer


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_micro_batches_of_the_ranks_are_those_of_one_rank_dropout_included(tmp_path: Path, ranks: int) -> None:
    _, loss, whole = gradients_of_a_step(ALONE, tmp_path / "alone")
    seen, losses, parts = zip(*run_ranks(ranks, partial(gradients_of_a_step, folder=tmp_path)), strict=True)
    assert sorted(chain_of(*seen)) == sorted(recipe().sample_ids(0).tolist()), "every sample once"
    assert sum(losses) == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(torch.stack(parts).sum(0), whole, rtol=1e-5, atol=1e-7)


def test_dropout_is_really_on_while_training_and_off_while_measuring(tmp_path: Path) -> None:
    run = trainer(tmp_path, with_dropout())
    run.partition.train()
    batches = run.feed.take(0, prepare_next=False)[0].batches
    noisy = run.passes.train(batches, run.seed_of(0), 96)
    assert noisy == run.passes.train(batches, run.seed_of(0), 96), "a function of (seed, step, micro-batch)"
    assert noisy != run.passes.train(batches, run.seed_of(1), 96)
    run.evaluate()
    run.evaluate()
    assert run.state.evaluations[0]["heldout_loss"] == run.state.evaluations[1]["heldout_loss"]
    assert run.model.training


def test_random_seeds_differ_in_every_argument_and_fit_a_generator() -> None:
    seeds = {random_seed(seed, step, micro) for seed in range(4) for step in range(20) for micro in range(10)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert random_seed(1, 2, 3) == random_seed(1, 2, 3)


def test_accumulation_does_not_change_the_step(tmp_path: Path) -> None:
    runs = []
    for size in (1, 4, 8):
        run = trainer(tmp_path / str(size), micro_batch_size=size)
        run.resume()
        for _ in range(3):
            run.train_step()
        runs.append(lines_of(run, "step"))
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
            assert b["chain"] != "" and b["tokens_seen"] == a["tokens_seen"]


def test_the_decay_ends_training_after_its_steps(tmp_path: Path) -> None:
    def start(run: Trainer) -> None:
        if run.state.step == 4:
            run.state.decay_start = 4

    run = continued(trainer(tmp_path, on_evaluation=start))
    rates = {line["step"]: line["learning_rate"] for line in lines_of(run, "step")}
    assert run.state.step == run.last_step == 8
    assert [rates[s] for s in (1, 2, 3, 4)] == [0.005, 0.01, 0.01, 0.01]
    assert [rates[s] for s in (5, 6, 7, 8)] == pytest.approx([0.01 * (1 - math.sqrt(n / 4)) for n in (1, 2, 3, 4)])
    assert [line["max_steps"] for line in lines_of(run, "step")][3:5] == [12, 8]


@pytest.mark.parametrize("step", [0, 3])
def test_a_loss_that_is_no_number_ends_training_before_it_is_saved(tmp_path: Path, step: int) -> None:
    def broken(model: torch.nn.Module, batch: dict) -> torch.Tensor:
        return causal_loss(model, batch) * (math.nan if run.state.step == step and model.training else 1.0)

    run = trainer(tmp_path, loss=broken)
    with pytest.raises(DivergedError, match=f"the training loss at step {step + 1} is nan; lower the learning rate"):
        continued(run)
    assert committed_checkpoints(run.stage) == []
    assert lines_of(run, "step")[-1]["loss"] is None


def test_gradients_that_are_no_numbers_end_training_though_the_loss_is_one(tmp_path: Path) -> None:
    class Infinite(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * math.inf

    run = trainer(tmp_path, loss=lambda model, batch: Infinite.apply(causal_loss(model, batch)), checkpoint_every_steps=1)
    with pytest.raises(DivergedError, match="the norm of the gradients at step 1 is"):
        continued(run)
    assert committed_checkpoints(run.stage) == []


def test_checkpoints_keep_the_newest_and_the_best_of_those_that_were_measured(tmp_path: Path) -> None:
    worse = iter([9.0, 5.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    run = continued(
        trainer(
            tmp_path, evaluate=lambda model: {"heldout_loss": next(worse)}, checkpoint_every_steps=2, keep_checkpoints=1,
        )
    )  # fmt: skip
    assert [p.name for p in committed_checkpoints(run.stage)] == ["step_00000012", "step_00000004"]
    assert run.state.best_step == 4


def test_every_checkpoint_is_in_the_journal_though_two_were_committed_between_two_looks(tmp_path: Path) -> None:
    run = continued(trainer(tmp_path))
    for step in (13, 14):
        run.state.step = step
        run.save()
        run.saver.finish()
    run.finish_saving()
    assert [line["step"] for line in lines_of(run, "checkpoint")] == [4, 8, 12, 13, 14]


def test_a_finished_run_that_is_begun_again_takes_no_step(whole: Trainer) -> None:
    again = continued(trainer(whole.stage.path, with_dropout(seed=5), attempt=2))
    assert again.state == whole.state
    assert same_weights(again.model, whole.model)
    assert len(lines_of(again, "step")) == 12


def test_clipping_bounds_the_update_and_reports_the_norm_before(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_grad_norm=1e-3)
    run.resume()
    run.train_step()
    assert lines_of(run, "step")[0]["grad_norm"] > 1e-2
    assert torch.linalg.vector_norm(run.gradients.buffer).item() == pytest.approx(1e-3, rel=1e-3)


def test_bf16_keeps_parameters_and_moments_in_fp32_and_stays_close(tmp_path: Path) -> None:
    runs = [continued(trainer(tmp_path / precision, precision=precision, max_steps=4)) for precision in ("fp32", "bf16")]
    exact, close = (lines_of(run, "step") for run in runs)
    for a, b in zip(exact, close, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
    assert exact[-1]["loss"] != close[-1]["loss"]
    assert {p.dtype for p in runs[1].model.parameters()} == {torch.float32}
    assert {t.dtype for state in runs[1].optimizer.state.values() for t in state.values()} == {torch.float32}


def test_the_order_of_samples_is_all_that_a_step_sees(tmp_path: Path) -> None:
    asked = []
    run = trainer(tmp_path, read=lambda ids: (asked.append(ids.tolist()), token_batch(ids))[1])
    run.resume()
    run.train_step()
    run.train_step()
    run.feed.take(2, prepare_next=False)
    expected = np.concatenate([recipe().sample_ids(step).reshape(-1, 2) for step in (0, 1, 2)]).tolist()
    assert asked == expected, "each step is read once, one ahead"
    assert heldout(run)["heldout_loss"] > 0
