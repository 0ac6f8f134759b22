"""Pre-training from random weights to a verdict, then the decay, then the export."""

from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.training import ConvergenceConfig, PretrainConfig
from tasks.data.order.training import mixture_of
from tasks.data.tokens.shards import TokenDataset
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.record.errors import ConfigError, DivergedError
from tasks.record.files import file_entries, fsync_folder, write_json
from tasks.record.layout import StageLayout, step_folder
from tasks.record.manifest import Manifest, Request, input_manifest, sha256_of, verify, write_manifest
from tasks.training.checkpoint.checkpoint import discard_after, load_checkpoint
from tasks.training.convergence import Evaluation, Verdict, judge
from tasks.training.evaluation import as_metrics, heldout_batches, heldout_metrics, read_text
from tasks.training.export.export import export_partition
from tasks.training.feed import to_device
from tasks.training.generate import sample_of
from tasks.training.input_check import InputCheck
from tasks.training.loop import Recipe, Trainer, relative
from tasks.training.measure.plots import loss_curve
from tasks.training.model.model import attention_implementation, build_model, with_parameters_in
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, make_trainable, probed_loss, profiled_step, random_partition


def run(stage: StageLayout, request: Request, ranks: Ranks, attempt: int) -> None:
    """The whole stage; returns when its manifest is written. All ranks call it."""
    config = PretrainConfig.model_validate(request.identity["pretrain"])
    folder = Path(request.inputs["dataset"].path)
    dataset = input_manifest(request, "dataset")
    inputs = InputCheck(ranks, [(folder, dataset)])
    # Read at once and small; the shards are read while they are verified.
    verify(folder, dataset.model_copy(update={"files": tuple(e for e in dataset.files if e.path.startswith("tokenizer/"))}))
    tokenizer = load_tokenizer(folder / "tokenizer")

    def build() -> PreTrainedModel:
        model_config = ModelConfig.model_validate(request.identity["model"])
        model = build_model(model_config, tokenizer.vocab_size, tokenizer.end_of_text_id, tokenizer.pad_id)
        model.set_attn_implementation(attention_implementation(model, config.sequence_length, ranks.device))
        return with_parameters_in(model, config.state_precision)

    setup = Setup.of(request, ranks, pipeline=True)
    loss, leak = probed_loss(build().config, setup)
    if leak is not None:
        raise ConfigError(leak)
    partition = random_partition(setup, build, config.precision, config.seed)
    make_trainable(partition, setup, loss)
    heldout = TokenDataset(folder, dataset, "heldout", config.sequence_length)
    trainer = Trainer(pretraining_recipe(config, request, folder, dataset, heldout), partition, stage, attempt, inputs)
    trainer.resume()
    trainer.train()
    finish(trainer, config, request, folder, heldout)


def pretraining_recipe(
    config: PretrainConfig, request: Request, folder: Path, dataset: Manifest, heldout: TokenDataset
) -> Recipe:
    shares = request.identity.get("mixture") or []
    train = TokenDataset(folder, dataset, "train", config.sequence_length, by_source=bool(shares))
    mixture = mixture_of(config, shares, train.sizes)
    num_heldout = num_heldout_sequences(config, heldout)
    convergence = ConvergenceConfig.model_validate(request.identity["convergence"])
    return Recipe(
        config=config,
        request_digest=request.digest,
        schedule=Schedule(config.learning_rate, config.min_learning_rate, config.warmup_steps, config.decay_steps, "1-sqrt"),
        max_steps=config.max_steps,
        profile_step=profiled_step(request),
        tokenizer_digest=sha256_of(dataset, "tokenizer/tokenizer.json"),
        sample_ids=lambda step: mixture.sample_ids(step, config.global_batch_size),
        read=partial(read_text, train),
        num_targets=lambda ids: len(ids) * config.sequence_length,
        num_tokens=lambda ids: len(ids) * config.sequence_length,
        evaluate=lambda trainer: measure_heldout(trainer, heldout, num_heldout, config.precision),
        on_evaluation=partial(judge_progress, config=config, convergence=convergence, tokenizer=folder / "tokenizer"),
    )


def measure_heldout(trainer: Trainer, heldout: TokenDataset, num_sequences: int, precision: str) -> dict[str, float]:
    """`heldout_loss` (nats/token) and `bits_per_byte` over the first sequences. All ranks call it and get the same."""
    mesh = trainer.mesh
    batches = heldout_batches(
        heldout, num_sequences, trainer.config.micro_batch_size, mesh.data_rank, mesh.layout.data_parallel
    )
    total = trainer.passes.measure((to_device(batch, trainer.ranks.device) for batch in batches), precision)
    return heldout_metrics(trainer.ranks.sum_(total).item(), heldout, num_sequences)


def num_heldout_sequences(config: PretrainConfig, heldout: TokenDataset) -> int:
    """Sequences that each evaluation measures: `heldout_tokens` worth of them, at least one, all if there are fewer."""
    return max(1, min(heldout.num_sequences, config.heldout_tokens // config.sequence_length))


def judge_progress(trainer: Trainer, config: PretrainConfig, convergence: ConvergenceConfig, tokenizer: Path) -> None:
    """Judge the curve of the stable phase: start the decay where it has converged, over-fits, or reaches the cap.

    The verdict is a function of the curve, so every rank comes to the same one, also after a resume.
    """
    state = trainer.state
    verdict = judge(stable_evaluations(state.evaluations, config.warmup_steps), convergence)
    if verdict.verdict == "diverged":
        trainer.note("verdict", durable=True, step=state.step, **verdict.model_dump(mode="json"))
        raise DivergedError(f"pre-training has diverged: {verdict.reason}")
    if state.decay_start is not None or state.step == 0:
        return
    last_stable = config.max_steps - config.decay_steps
    if verdict.verdict == "improving" and state.step + config.evaluate_every_steps > last_stable:
        state.decay_start = last_stable
        reason = f"{verdict.reason}; the cap of {config.train_tokens:,} tokens ends the stable phase"
        verdict = verdict.model_copy(update={"reason": reason})
    elif verdict.verdict == "converged":
        state.decay_start = state.step
    elif verdict.verdict == "overfitting":
        roll_back(trainer, verdict)
    elif every := config.milestone_every_steps:
        if state.step % every == 0:
            write_milestone(trainer, "pretraining", tokenizer, verdict)
        return
    else:
        return
    trainer.state.verdict = verdict.model_dump(mode="json")
    trainer.note("verdict", durable=True, step=trainer.state.step, **trainer.state.verdict)
    label = "converged" if verdict.verdict == "converged" else "pretraining"
    write_milestone(trainer, label, tokenizer, verdict)
    trainer.save()


def stable_evaluations(evaluations: list[dict], warmup_steps: int) -> list[Evaluation]:
    """The curve that is judged: warm-up left out."""
    fields = Evaluation.model_fields
    return [Evaluation(**{k: e[k] for k in fields}) for e in evaluations if e["step"] > warmup_steps]


def roll_back(trainer: Trainer, verdict: Verdict) -> None:
    """Return to the checkpoint with the lowest held-out loss and start the decay there."""
    best, left = trainer.state.best_step, trainer.state.step
    if best is None:
        trainer.state.decay_start = left
        return
    trainer.finish_saving()
    path = trainer.stage.checkpoints / step_folder(best)
    trainer.state = load_checkpoint(
        path, trainer.recipe.request_digest, trainer.ranks, trainer.tensors(), trainer.recipe.tokenizer_digest
    )
    trainer.state.decay_start = best
    trainer.note("event", durable=True, event="rollback", from_step=left, step=best, reason=verdict.reason)
    trainer.ranks.barrier()
    if trainer.ranks.is_first:
        discard_after(trainer.stage, best)
    trainer.ranks.barrier()


def write_milestone(trainer: Trainer, label: str, tokenizer: Path, verdict: Verdict) -> None:
    """Export the weights of this step to `milestones/step_N`, complete or not at all. All ranks call it; rank 0 writes."""
    stage, state = trainer.stage, trainer.state
    target = stage.milestones / step_folder(state.step)
    if target.exists():
        return
    trainer.conclude_inputs()
    temporary = target.with_name(f".{target.name}")
    files = export_partition(trainer.partition, tokenizer, temporary / "export")
    if trainer.ranks.is_first:
        curve = temporary / "curve.png"
        curve.write_bytes(loss_curve(state.evaluations, verdict.model_dump(mode="json")))
        latest = state.evaluations[-1]
        manifest = Manifest(
            kind="milestone",
            request_digest=trainer.recipe.request_digest,
            files=file_entries(temporary, [*files, curve]),
            step=state.step,
            tokens_seen=state.tokens_seen,
            metrics=as_metrics({k: v for k, v in latest.items() if k not in ("step", "tokens_seen")}),
            details={"label": label, "verdict": verdict.model_dump(mode="json")},
        )
        write_manifest(temporary, manifest)
        temporary.rename(target)
        fsync_folder(stage.milestones)
        trainer.note("milestone", durable=True, label=label, step=state.step, path=relative(target, stage))
    trainer.ranks.barrier()


def finish(trainer: Trainer, config: PretrainConfig, request: Request, folder: Path, heldout: TokenDataset) -> None:
    """Final measurement in fp32, export, curve, manifest. All ranks call it; rank 0 writes."""
    stage, state, ranks = trainer.stage, trainer.state, trainer.ranks
    trainer.partition.train(False)
    final = measure_heldout(trainer, heldout, num_heldout_sequences(config, heldout), "fp32")
    files = export_partition(trainer.partition, folder / "tokenizer", stage.export)
    environment = trainer.environment()
    if ranks.is_first:
        curve, verdict_file = stage.path / "curve.png", stage.path / "verdict.json"
        curve.write_bytes(loss_curve(state.evaluations, state.verdict))
        write_json(verdict_file, {"verdict": state.verdict, "evaluations": state.evaluations})
        first, last = state.evaluations[0], state.evaluations[-1]
        metrics = final | {
            "initial_heldout_loss": first["heldout_loss"],
            "initial_bits_per_byte": first["bits_per_byte"],
            "train_loss": last["train_loss"],
            "num_parameters": trainer.partition.num_parameters,
        }
        manifest = Manifest(
            kind="pretrain",
            request_digest=request.digest,
            inputs=request.inputs,
            files=file_entries(stage.path, [*files, curve, verdict_file]),
            step=state.step,
            tokens_seen=state.tokens_seen,
            environment=environment,
            metrics=as_metrics(metrics),
            details={
                "verdict": state.verdict,
                "chain": state.chain,
                "milestones": [
                    {
                        "label": Manifest.read(p / "manifest.json").details["label"],
                        "step": int(p.name[5:]),
                        "path": relative(p, stage),
                    }
                    for p in sorted(stage.milestones.glob("step_*"))
                ],
                "sample": sample_of(trainer.partition, stage.export, config.seed),
            },
        )
        trainer.note("done", durable=True, step=state.step)
        write_manifest(stage.path, manifest)
    ranks.barrier()
