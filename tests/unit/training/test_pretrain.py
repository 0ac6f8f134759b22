"""Verdicts acted upon: decay, cap, rollback, divergence; and what the finished stage says about itself."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.config.model import ModelConfig
from tasks.config.training import ConvergenceConfig, PretrainConfig
from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.errors import ConfigError, DivergedError, IntegrityError
from tasks.record.files import read_json
from tasks.record.journal import read_journal
from tasks.record.layout import RunLayout
from tasks.record.manifest import Manifest, Request, verify
from tasks.stages.work import Result, prepare_work, pretrain_work
from tasks.training.checkpoint.checkpoint import committed_checkpoints, load_checkpoint
from tasks.training.loop import Recipe, Trainer
from tasks.training.model.model import load_causal
from tasks.training.pretrain import judge_progress, num_heldout_sequences, pretraining_recipe, stable_evaluations
from tests.kit.models import ALONE, tiny_model
from tests.kit.preparations import prepared_result
from tests.kit.runs import write_text
from tests.kit.stages import pretrained_base, run, small_config
from tests.kit.trainers import continued, same_weights, trainer

CONFIG = PretrainConfig(
    sequence_length=12, micro_batch_size=2, global_batch_tokens=96, train_tokens=96 * 40, warmup_steps=2, decay_steps=4,
    evaluate_every_steps=2, checkpoint_every_steps=4,
)  # fmt: skip


def judged(
    folder: Path, losses: Iterator[float], attempt: int = 1, config: PretrainConfig = CONFIG, **convergence: Any
) -> Trainer:
    """A trainer whose held-out losses are given, and judged as pre-training judges them."""
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    (tokenizer / "tokenizer.json").write_text("{}")
    rules = ConvergenceConfig(**{"min_gain": 0.02, "round_tokens": 960, "min_evaluations": 4} | convergence)
    return trainer(
        folder / "stage", attempt=attempt, max_steps=config.max_steps, evaluate=lambda model: {"heldout_loss": next(losses)},
        on_evaluation=partial(judge_progress, config=config, convergence=rules, tokenizer=tokenizer),
    )  # fmt: skip


def events(run: Trainer, kind: str) -> list[dict]:
    return [line for line in read_journal(run.stage.journal)[0] if line["kind"] == kind]


def test_a_flat_curve_has_converged_and_the_decay_follows_at_once(tmp_path: Path) -> None:
    run = continued(judged(tmp_path, iter([3.0] * 50)))
    assert run.state.verdict["verdict"] == "converged"
    assert run.state.decay_start == 10, "the fourth measurement after the warm-up of 2 steps: 4, 6, 8, 10"
    assert run.state.step == 14
    (verdict,) = events(run, "verdict")
    assert (verdict["step"], verdict["verdict"]) == (10, "converged")
    (milestone,) = events(run, "milestone")
    assert (milestone["label"], milestone["step"], milestone["path"]) == ("converged", 10, "milestones/step_00000010")


def test_a_curve_that_still_falls_decays_within_the_cap(tmp_path: Path) -> None:
    run = continued(judged(tmp_path, iter(5.0 - 0.1 * i for i in range(50))))
    assert (run.state.decay_start, run.state.step) == (36, 40)
    assert run.state.verdict["verdict"] == "improving"
    assert run.state.verdict["reason"].endswith("; the cap of 3,840 tokens ends the stable phase")
    phases = {line["step"]: line["phase"] for line in events(run, "step")}
    assert (phases[1], phases[20], phases[36], phases[37]) == ("warm-up", "stable", "stable", "decay")
    assert [m["label"] for m in events(run, "milestone")] == ["pretraining"]


def test_the_decay_reaches_the_cap_where_no_measurement_falls_on_its_start(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"train_tokens": 96 * 39})
    run = continued(judged(tmp_path, iter(5.0 - 0.1 * i for i in range(50)), config=config))
    assert (run.state.decay_start, run.state.step) == (35, 39)
    rates = [line["learning_rate"] for line in events(run, "step")]
    assert rates[34] == 0.01 > rates[35] > rates[-1] == 0.0


def overfitted() -> Iterator[float]:
    yield from (5.0, 4.0, 3.0, 2.9, 2.8, 3.2, 3.3, 3.4)
    while True:
        yield 2.7


def test_overfitting_goes_back_to_the_best_checkpoint_and_decays_there(tmp_path: Path) -> None:
    run = judged(tmp_path, overfitted(), min_evaluations=4, overfitting_margin=0.3)
    seen = {}
    original = run.recipe.on_evaluation

    def watch(run: Trainer) -> None:
        before = run.state.step
        original(run)
        if run.state.step < before:
            seen["from"], seen["to"] = before, run.state.step
            seen["weights"] = [p.detach().clone() for p in run.model.parameters()]
            seen["checkpoints"] = [p.name for p in committed_checkpoints(run.stage)]

    object.__setattr__(run.recipe, "on_evaluation", watch)
    continued(run)
    assert (seen["from"], seen["to"]) == (12, 8)
    assert seen["checkpoints"] == ["step_00000008", "step_00000004"], "step 12 is left behind"
    saved = trainer(tmp_path / "other", tiny_model(seed=5))
    path = run.stage.checkpoints / "step_00000008"
    assert load_checkpoint(path, "request", ALONE, saved.tensors()).step == 8
    assert all(torch.equal(a, b) for a, b in zip(seen["weights"], saved.model.parameters(), strict=True))
    assert (run.state.decay_start, run.state.step) == (8, 12)
    assert run.state.verdict["verdict"] == "overfitting"
    (event,) = [e for e in events(run, "event") if e["event"] == "rollback"]
    assert (event["from_step"], event["step"]) == (12, 8)
    assert [e["step"] for e in run.state.evaluations] == [0, 2, 4, 6, 8, 10, 12], "the curve goes on from the checkpoint"
    assert [e["heldout_loss"] for e in run.state.evaluations][-2:] == [3.4, 2.7]


def test_a_rollback_that_was_followed_by_a_kill_ends_in_the_same_weights(tmp_path: Path) -> None:
    """The losses here are a function of the step, as in real training."""
    curve = {0: 5.0, 2: 4.0, 4: 3.0, 6: 2.9, 8: 2.8, 10: 3.2, 12: 3.3}

    def once(folder: Path, killed: bool) -> Trainer:
        folder.mkdir()
        run = judged(folder, iter(()), overfitting_margin=0.3)
        object.__setattr__(run.recipe, "evaluate", lambda model: {"heldout_loss": curve[run.state.step]})
        if killed:
            run.train_step = dies_in_the_decay(run)
            with pytest.raises(KeyboardInterrupt):
                continued(run)
            run.finish_saving()
            assert run.state.decay_start == 8
            run = judged(folder, iter(()), attempt=2, overfitting_margin=0.3)
            object.__setattr__(run.recipe, "evaluate", lambda model: {"heldout_loss": curve[run.state.step]})
        return continued(run)

    whole, resumed = once(tmp_path / "whole", False), once(tmp_path / "killed", True)
    assert same_weights(whole.model, resumed.model)
    assert whole.state.chain == resumed.state.chain
    assert resumed.state.decay_start == 8


def dies_in_the_decay(run: Trainer) -> Callable[[], None]:
    """A training step that is not taken any more once the decay has begun."""
    step = run.train_step

    def dying() -> None:
        if run.state.decay_start is not None:
            raise KeyboardInterrupt
        step()

    return dying


def test_divergence_is_noted_and_ends_the_stage(tmp_path: Path) -> None:
    run = judged(tmp_path, iter([5.0, 4.0, 3.0, 4.5, 4.6]))
    with pytest.raises(
        DivergedError, match=r"pre-training has diverged: held-out loss 4.5000 at step 6 is more than 1.0 above"
    ):
        continued(run)
    assert events(run, "verdict")[-1]["verdict"] == "diverged"
    assert [p.name for p in committed_checkpoints(run.stage)] == ["step_00000004"], "the last good one stays"


def test_divergence_in_the_decay_is_noticed_too(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="at step 12"):
        continued(judged(tmp_path, iter([3.0] * 6 + [4.5])))


def test_milestones_come_at_their_steps_and_hold_a_whole_model(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"milestone_every_steps": 8})
    run = continued(judged(tmp_path, iter(5.0 - 0.1 * i for i in range(50)), config=config))
    assert [(m["label"], m["step"]) for m in events(run, "milestone")] == [("pretraining", n) for n in (8, 16, 24, 32, 36)]
    folder = run.stage.milestones / "step_00000016"
    manifest = Manifest.read(folder / "manifest.json")
    verify(folder, manifest)
    assert manifest.metrics["heldout_loss"] == pytest.approx(5.0 - 0.8)
    assert manifest.details["verdict"]["verdict"] == "improving"
    assert {"export/model.safetensors", "export/config.json", "curve.png"} <= {entry.path for entry in manifest.files}


def test_a_verdict_is_given_once_also_after_a_resume(tmp_path: Path) -> None:
    first = judged(tmp_path, iter([3.0] * 50))
    first.train_step = dies_in_the_decay(first)
    with pytest.raises(KeyboardInterrupt):
        continued(first)
    first.finish_saving()
    again = judged(tmp_path, iter([3.0] * 50), attempt=2)
    again.resume()
    assert (again.state.step, again.state.decay_start) == (10, 10), "the verdict is part of the checkpoint"
    again.train()
    assert len(events(again, "verdict")) == len(events(again, "milestone")) == 1
    assert again.state.step == 14


def test_the_curve_that_is_judged_leaves_out_the_warm_up() -> None:
    rows = [
        {"step": s, "tokens_seen": s * 10, "heldout_loss": 1.0, "train_loss": 1.0, "bits_per_byte": 2.0} for s in (0, 2, 4, 6)
    ]
    assert [e.step for e in stable_evaluations(rows, 4)] == [6]
    assert [e.step for e in stable_evaluations(rows, 0)] == [2, 4, 6]


@pytest.mark.parametrize(("tokens", "available", "count"), [(256, 100, 21), (10**6, 100, 100), (256, 3, 3)])
def test_held_out_sequences_are_as_many_as_asked_for_or_all(tokens: int, available: int, count: int) -> None:
    class Dataset:
        num_sequences = available

    assert num_heldout_sequences(CONFIG.model_copy(update={"heldout_tokens": tokens}), Dataset()) == count


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Result, Result]:
    torch.set_num_threads(1)
    return pretrained_base(tmp_path_factory.mktemp("home"))


def test_the_finished_stage_says_what_it_is(base: tuple) -> None:
    _, dataset, result = base
    stage, manifest = result.stage, result.manifest
    verify(stage.path, manifest)
    assert (manifest.kind, manifest.step, manifest.tokens_seen) == ("pretrain", 12, 12 * 512)
    assert manifest.inputs == {"dataset": dataset.input}
    assert {entry.path for entry in manifest.files} >= {
        "curve.png", "verdict.json", "export/config.json", "export/model.safetensors", "export/tokenizer.json",
    }  # fmt: skip
    assert manifest.metrics["heldout_loss"] < manifest.metrics["initial_heldout_loss"]
    assert manifest.metrics["bits_per_byte"] < manifest.metrics["initial_bits_per_byte"]
    assert read_json(stage.path / "verdict.json")["verdict"] == manifest.details["verdict"]
    assert manifest.details["milestones"] == [{"label": "pretraining", "step": 8, "path": "milestones/step_00000008"}]
    assert len(manifest.details["chain"]) == 64
    assert isinstance(manifest.details["sample"], str)


def test_a_data_set_that_was_changed_is_not_trained_on(base: tuple, tmp_path: Path) -> None:
    config, dataset, _ = base
    other = Result(dataset.stage, dataset.manifest.model_copy(update={"step": 1}))
    with pytest.raises(IntegrityError, match=r"manifest.json is not the dataset that was asked for"):
        run(pretrain_work(RunLayout(tmp_path, "other"), config, other))
    shard = next(dataset.stage.path.glob("train-*.bin"))
    content = shard.read_bytes()
    shard.write_bytes(content[:-2] + b"\x00\x01")
    try:
        with pytest.raises(IntegrityError, match="it is damaged, restore it or make it again"):
            run(pretrain_work(RunLayout(tmp_path, "damaged"), config, dataset))
    finally:
        shard.write_bytes(content)


def test_an_architecture_that_leaks_is_refused_before_the_first_step(base: tuple, tmp_path: Path) -> None:
    config, dataset, _ = base
    model = config.model.model_copy(update={"architecture": "bloom", "intermediate_size": None})
    work = pretrain_work(RunLayout(tmp_path, "leaks"), config.model_copy(update={"model": model}), dataset)
    with pytest.raises(ConfigError, match="lets documents of a packed sequence attend to each other"):
        run(work)
    assert not work.stage.checkpoints.exists()


def test_a_real_model_that_overfits_few_documents_goes_back_to_its_best(tmp_path: Path) -> None:
    config = small_config(
        write_text(tmp_path / "few.txt", documents=14), train_tokens=512 * 200, learning_rate=1e-2, weight_decay=0.0
    )
    config = config.model_copy(
        update={
            "convergence": ConvergenceConfig(min_gain=1e-6, min_evaluations=4, overfitting_margin=0.05, divergence_margin=9.0)
        }
    )
    result = run(pretrain_work(RunLayout(tmp_path, "few"), config, prepared_result(prepare_work(tmp_path, config))))
    lines = read_journal(result.stage.journal)[0]
    (rollback,) = [line for line in lines if line.get("event") == "rollback"]
    assert rollback["step"] < rollback["from_step"]
    assert result.manifest.details["verdict"]["verdict"] == "overfitting"
    assert result.manifest.step == rollback["step"] + config.pretrain.decay_steps
    worst = max(line["heldout_loss"] for line in lines if line["kind"] == "evaluation" and line["step"] > rollback["step"])
    assert result.manifest.metrics["heldout_loss"] < worst


def two_sources(folder: Path, shares: list[dict[str, Any]] | None) -> Recipe:
    """The recipe for 1200 tokens of 3s and 2400 of 4s, 12 tokens a sequence: 99 and 199 sequences."""
    for name, token, count in (("train-00000", 3, 1200), ("train-00001", 4, 2400), ("heldout-00000", 3, 100)):
        np.full(count, token, dtype="<u2").tofile(folder / f"{name}.bin")
        np.save(folder / f"{name}.documents.npy", np.array([0], dtype="<u8"))
    np.save(folder / TOKEN_BYTES_FILE, np.ones(10, dtype=np.uint16))
    sources = [{"name": name, "shards": {"train": [f"train-0000{i}.bin"]}} for i, name in enumerate(("books", "web"))]
    details = {
        "dtype": "uint16",
        "shards": {"train": ["train-00000.bin", "train-00001.bin"], "heldout": ["heldout-00000.bin"]},
        "sources": sources,
    }
    dataset = Manifest(kind="prepare", request_digest="", details=details)
    identity = {"model": ModelConfig().model_dump(mode="json"), "convergence": ConvergenceConfig().model_dump(mode="json")}
    request = Request(kind="pretrain", identity=identity | ({"mixture": shares} if shares else {}))
    heldout = TokenDataset(folder, dataset, "heldout", 12)
    return pretraining_recipe(CONFIG, request, folder, dataset, heldout)


def share(name: str, weight: float | None = None, max_epochs: float | None = None) -> dict[str, Any]:
    return {"name": name, "weight": weight, "max_epochs": max_epochs}


def test_sources_are_drawn_from_by_weight_until_their_limit(tmp_path: Path) -> None:
    recipe = two_sources(tmp_path, [share("books", 0.75, 1.0), share("web", 0.25)])
    batches = [recipe.read(recipe.sample_ids(step)) for step in range(40)]
    tokens = torch.stack([batch["input_ids"] for batch in batches]).reshape(320, 12)
    assert tokens.unique().tolist() == [3, 4]
    assert (tokens == tokens[:, :1]).all(), "no sequence has both"
    books = (tokens[:, 0] == 3).reshape(-1)
    assert int(books.sum()) == int(books[:132].sum()) == 99, "99 sequences once, within 99 / 0.75 positions"
    assert int(books[:66].sum()) == pytest.approx(0.75 * 66, abs=10)


def test_without_weights_the_sources_are_one_stream(tmp_path: Path) -> None:
    recipe = two_sources(tmp_path, None)
    ids = np.concatenate([recipe.sample_ids(step) for step in range(40)])
    assert sorted(ids[:299].tolist()) == list(range(299)), "3600 tokens, a sequence from one source into the next among them"
    row = recipe.read(np.array([99]))["labels"][0]
    assert row.tolist() == [3] * 11 + [4]


def test_muon_and_bf16_states_go_from_the_settings_to_the_exported_weights(tmp_path: Path) -> None:
    for home in ("usual", "changed"):
        (tmp_path / home).mkdir()
    _, _, usual = pretrained_base(tmp_path / "usual", precision="bf16")
    _, _, result = pretrained_base(tmp_path / "changed", precision="bf16", state_precision="bf16", optimizer="muon")
    weights = load_file(result.stage.export / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    (moments,) = (result.stage.checkpoints / "step_00000012").glob("optimizer_*.safetensors")
    names = load_file(moments).keys()
    assert any("q_proj.weight:momentum" in name for name in names) and any("norm.weight:exp_avg" in name for name in names)
    assert not any("q_proj.weight:exp_avg" in name for name in names)
    model = load_causal(result.stage.export)
    assert {p.dtype for p in model.parameters()} == {torch.float32}, "what comes after trains in fp32"
    assert result.manifest.metrics["heldout_loss"] == pytest.approx(usual.manifest.metrics["heldout_loss"], rel=0.1)
    assert result.manifest.metrics["heldout_loss"] < 0.99 * result.manifest.metrics["initial_heldout_loss"]
