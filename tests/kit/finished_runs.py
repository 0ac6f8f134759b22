"""A tiny configuration on real files, and stages that are done because their manifest says so."""

import json
from pathlib import Path
from typing import Any

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import parse_config
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, attempt_of
from tasks.record.outcomes import Outcome, note_outcome
from tasks.registry.store import Registration, database_file
from tasks.stages.work import (
    Result,
    Work,
    evaluate_work,
    examples_work,
    finetune_work,
    prepare_work,
    pretrain_work,
)
from tests.kit.datasets import written

SENTENCE = "the cat sat on a mat while dogs ran over hills and birds sang in green trees near water all day long with joy"
DATASET_METRICS = {"vocab_size": 300, "train_tokens": 5000, "heldout_tokens": 500}
PRETRAIN_METRICS = {
    "initial_bits_per_byte": 3.9,
    "bits_per_byte": 2.1,
    "initial_heldout_loss": 5.7,
    "heldout_loss": 3.2,
    "num_parameters": 36384,
    "tokens_per_second": 189.0,
}
PRETRAIN_DETAILS = {
    "verdict": {"verdict": "converged", "reason": "the next round is worth 0.001"},
    "sample": "Once upon a time",
}
SCORES = {
    "candidate_accuracy": 0.81,
    "candidate_macro_f1": 0.79,
    "majority_accuracy": 0.5,
    "tfidf_accuracy": 0.77,
    "random_init_accuracy": 0.7,
}


def write_inputs(folder: Path) -> None:
    """A text of 120 documents and 80 labelled examples."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [json.dumps({"text": f"{SENTENCE} {SENTENCE[i % 40 :]} number {i}."}) for i in range(120)]
    (folder / "text.jsonl").write_text("\n".join(texts))
    rows = [f'{{"text": "{SENTENCE[i % 60 :]} {i}", "label": "{("cat", "dog")[i % 2]}"}}' for i in range(80)]
    (folder / "animals.jsonl").write_text("\n".join(rows))


def tiny_values(folder: Path) -> dict[str, Any]:
    """Ten steps of a model with 36 thousand parameters, then one epoch of classification; one rank."""
    examples = {"source": "jsonl", "path": str(folder / "animals.jsonl"), "min_test_examples": 2}
    gate = {"min_examples": 1, "above_majority": "off", "above_random_init": "off"}
    return {
        "data": {"name": "tiny", "source": "jsonl", "path": str(folder / "text.jsonl"), "heldout_fraction": 0.2},
        "tokenizer": {"vocab_size": 300},
        "model": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64},
        "pretrain": {
            "sequence_length": 32,
            "micro_batch_size": 2,
            "global_batch_tokens": 64,
            "train_tokens": 640,
            "warmup_steps": 2,
            "decay_steps": 2,
            "evaluate_every_steps": 2,
            "checkpoint_every_steps": 4,
            "heldout_tokens": 256,
        },
        "finetune": [
            {
                "name": "animals",
                "examples": examples,
                "gate": gate,
                "epochs": 1,
                "batch_size": 4,
                "micro_batch_size": 4,
                "max_length": 32,
                "evaluate_every_steps": 5,
                "checkpoint_every_steps": 10,
            }
        ],
        "registry": {"model_name": "tiny"},
        "launch": {"num_processes": 1},
    }


def config_on_files(folder: Path) -> Config:
    write_inputs(folder)
    return parse_config(tiny_values(folder))


def finished_result(work: Work, metrics: dict[str, Any] | None = None, details: dict[str, Any] | None = None) -> Result:
    """Write the request and the manifest of a stage, as its process would at its end."""
    return Result(work.stage, written(work.stage, work.request, metrics or {}, details or {}))


def register(home: Path, stage: StageLayout, versions: dict[str, dict[str, int]]) -> None:
    """Record versions as the registry does, in a store that exists."""
    database_file(home).parent.mkdir(parents=True, exist_ok=True)
    database_file(home).touch()
    write_json(stage.registration, Registration(store="local", run_id="r", versions=versions))


def finish_pretraining(home: Path, config: Config, name: str) -> tuple[Result, Result]:
    """Data set and pre-trained, registered model of a run."""
    dataset = finished_result(prepare_work(home, config), DATASET_METRICS)
    base = finished_result(pretrain_work(RunLayout(home, name), config, dataset), PRETRAIN_METRICS, PRETRAIN_DETAILS)
    register(home, base.stage, {"tiny": {"pretraining step 8": 1, "pretrained": 2}})
    return dataset, base


def tuned(config: Config, name: str = "r") -> FinetuneFile:
    """The only fine-tune of a run."""
    (one,) = config.finetunes(name)
    return one


def finish_candidate(home: Path, settings: FinetuneFile, base: Result) -> dict[str, Result]:
    """Examples, and a registered candidate that nobody has judged."""
    examples = finished_result(examples_work(home, settings), {"train_examples": 64, "test_examples": 16})
    candidate = finished_result(finetune_work(home, settings, base, examples))
    register(home, candidate.stage, {settings.name: {"candidate": 1}})
    write_json(FinetuneLayout(home, settings.name).settings, settings)
    return {"base": base, "examples": examples, "candidate": candidate}


def finish_evaluation(home: Path, settings: FinetuneFile, base: Result, decision: str) -> dict[str, Result]:
    """Candidate, examples and the gate's decision about it."""
    made = finish_candidate(home, settings, base)
    details = {"decision": decision, "reasons": ["✓ accuracy 0.81 is enough"], "champion": None}
    return made | {"decision": finished_result(evaluate_work(settings, made), SCORES, details)}


def finish_refresh(home: Path, settings: FinetuneFile, base: Result, decision: str = "promote") -> dict[str, Result]:
    """A refresh that came to its end: candidate, decision, and the line about it."""
    made = finish_evaluation(home, settings, base, decision)
    layout, evaluation = FinetuneLayout(home, settings.name), made["decision"].stage.path.name
    attempt = attempt_of(made["candidate"].stage).path.name
    came, message = ("Promoted", "accuracy 0.8100, the first champion") if decision == "promote" else ("Rejected", "too low")
    note_outcome(layout, Outcome(came=came, message=f"v1: {message}", attempt=attempt, version=1, evaluation=evaluation))
    return made
