"""A candidate against the champion, the baselines and the same model from random weights, on the same frozen examples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tasks.config.finetuning import FinetuneConfig
from tasks.config.gate import GateConfig
from tasks.config.parallel import Layout
from tasks.data.tokens.examples import read_examples
from tasks.record.files import file_entries, file_sha256, write_json
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request, input_manifest, verify, write_manifest
from tasks.training.baselines import majority_accuracy, tfidf_accuracy
from tasks.training.evaluation import answer_losses, as_metrics, classification_metrics, paired_bootstrap, predict_classes
from tasks.training.finetune import encode
from tasks.training.gate import Decision, Measured, decide
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import load_causal
from tasks.training.model.ranks import Ranks

BATCH_SIZE = 32
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Scored:
    """One model on the frozen examples; `scores` and `weights` are per example, their weighted mean is `score`."""

    score: float
    scores: np.ndarray
    weights: np.ndarray
    metrics: dict[str, float]


def run(stage: StageLayout, request: Request, ranks: Ranks, attempt: int) -> None:
    """The whole stage; returns when its manifest, the record of the decision, is written. One rank."""
    journal = Journal(stage.journal, attempt)
    gate = GateConfig.model_validate(request.identity["gate"])
    folder = Path(request.inputs["examples"].path)
    examples_manifest = input_manifest(request, "examples")
    verify(folder, examples_manifest)
    examples = read_examples(folder, examples_manifest, "test")
    found: dict[str, Scored] = {}
    models = model_folders(request)
    for number, (role, export) in enumerate(models.items()):
        journal.append("progress", fraction=number / (len(models) + 1), message=f"measuring {role}")
        found[role] = score(request, export, examples, examples_manifest, Mesh(Layout(replicate=ranks.world_size), ranks))
    journal.append("progress", fraction=len(models) / (len(models) + 1), message="measuring baselines")
    metrics = baselines(request, folder, examples_manifest, examples, found)
    measured, differences = compare(request, gate, found, metrics)
    record(stage, request, measured, decide(measured, gate), metrics | differences, journal)


def model_folders(request: Request) -> dict[str, Path]:
    """Role -> export folder of every model to be measured, each verified against its manifest.

    Raises IntegrityError for the first that is not what its manifest says, so that nothing damaged is measured or promoted.
    """
    roles = ["candidate"] + [role for role in ("random_init", "base") if role in request.inputs]
    folders = {}
    for role in roles:
        if role == "base" and request.identity["kind"] == "classification":
            continue
        path = Path(request.inputs[role].path)
        verify(path, input_manifest(request, role))
        folders[role] = StageLayout(path).export
    if champion := request.execution.get("champion"):
        folders["champion"] = Path(champion["path"])
    return folders


def score(request: Request, export: Path, examples: list[dict[str, str]], manifest: Manifest, mesh: Mesh) -> Scored:
    """Load the exported model and measure it on every example, in fp32."""
    kind = request.identity["kind"]
    config = FinetuneConfig(kind=kind, max_length=request.identity["max_length"])
    if kind == "instruction":
        model = load_causal(export).to(mesh.ranks.device).eval()  # type: ignore[arg-type]  # its stub forgets `self`
        with torch.no_grad():
            losses, counts = answer_losses(model, encode(config, export, examples, []).batches(BATCH_SIZE), mesh)
        loss = float(losses.sum() / counts.sum())
        return Scored(-loss, -losses / counts, counts, {"answer_loss": loss})
    model = load_classifier(export).to(mesh.ranks.device).eval()  # type: ignore[arg-type]  # as above
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    if missing := sorted(set(manifest.details["labels"]) - set(labels)):
        return unknown_labels(labels, missing, examples, config, export, model, mesh)
    test = encode(config, export, examples, labels)
    with torch.no_grad():
        predicted, losses = predict_classes(model, test.batches(BATCH_SIZE), mesh)
    truth = np.array(test.labels)
    metrics = classification_metrics(predicted, losses, truth, len(labels))
    right = (predicted == truth).astype(np.float64)
    return Scored(metrics["accuracy"], right, np.ones(len(right)), metrics)


def unknown_labels(
    labels: list[str], missing: list[str], examples: list[dict[str, str]], config: FinetuneConfig, export: Path,
    model: PreTrainedModel, mesh: Mesh,
) -> Scored:  # fmt: skip
    """A champion that does not know some of the labels: it is wrong on their examples, and measured on the others."""
    known = [i for i, example in enumerate(examples) if example["label"] not in missing]
    test = encode(config, export, [examples[i] for i in known], labels)
    with torch.no_grad():
        predicted, losses = predict_classes(model, test.batches(BATCH_SIZE), mesh)
    right = np.zeros(len(examples))
    right[known] = predicted == np.array(test.labels)
    metrics = classification_metrics(predicted, losses, np.array(test.labels), len(labels)) | {"accuracy": float(right.mean())}
    return Scored(metrics["accuracy"], right, np.ones(len(right)), metrics)


def load_classifier(export: Path) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(export, dtype=torch.float32, local_files_only=True)


def baselines(
    request: Request, folder: Path, manifest: Manifest, test: list[dict[str, str]], found: dict[str, Scored]
) -> dict[str, float]:
    """Every model's metrics under its role's name, and those of the models-that-are-none."""
    metrics = {f"{role}_{name}": value for role, scored in found.items() for name, value in scored.metrics.items()}
    if request.identity["kind"] == "classification":
        train = [(e["text"], e["label"]) for e in read_examples(folder, manifest, "train")]
        pairs = [(e["text"], e["label"]) for e in test]
        metrics["majority_accuracy"] = majority_accuracy([y for _, y in train], [y for _, y in pairs])
        metrics["tfidf_accuracy"] = tfidf_accuracy(train, pairs)
    return metrics


def compare(
    request: Request, gate: GateConfig, found: dict[str, Scored], metrics: dict[str, float]
) -> tuple[Measured, dict[str, float]]:
    """What the gate judges, and the paired differences with their intervals as metrics."""
    candidate, champion, random_init = found["candidate"], found.get("champion"), found.get("random_init")
    kind = request.identity["kind"]
    differences: dict[str, float] = {}
    for role, other in (("champion", champion), ("random_init", random_init)):
        if other is not None:
            weights = candidate.weights / candidate.weights.mean()
            pairs = (candidate.scores * weights) - (other.scores * other.weights / other.weights.mean())
            low, high = paired_bootstrap(pairs, gate.confidence, gate.bootstrap_samples, BOOTSTRAP_SEED)
            name = "difference" if role == "champion" else f"{role}_difference"
            differences |= {name: candidate.score - other.score, f"{name}_low": low, f"{name}_high": high}
    named = request.execution.get("champion")
    measured = Measured(
        kind=kind,
        num_examples=len(candidate.scores),
        candidate=candidate.score,
        baseline=metrics["majority_accuracy"] if kind == "classification" else found["base"].score,
        random_init=random_init.score if random_init else None,
        champion=champion.score if champion else None,
        champion_name=f"version {named['version']}" if named else None,
        difference_low=differences.get("difference_low"),
        difference_high=differences.get("difference_high"),
    )
    return measured, differences


def record(
    stage: StageLayout, request: Request, measured: Measured, decision: Decision, metrics: dict[str, Any], journal: Journal
) -> None:
    """Write `decision.json`, `decision.md` and the manifest."""
    champion = request.execution.get("champion")
    markdown = decision_markdown(measured, decision, metrics)
    write_json(stage.path / "decision.json", {"measured": measured.model_dump(), "decision": decision.model_dump(mode="json")})
    (stage.path / "decision.md").write_text(markdown, encoding="utf-8")
    manifest = Manifest(
        kind="evaluate",
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(stage.path, [stage.path / "decision.json", stage.path / "decision.md"]),
        metrics=as_metrics(metrics) | {"num_examples": measured.num_examples},
        details={
            "decision": decision.decision,
            "reasons": list(decision.reasons),
            "champion": champion["version"] if champion else None,
            "champion_digest": champion["digest"] if champion else None,
            "examples_sha256": file_sha256(Path(request.inputs["examples"].path) / "test.jsonl"),
            "markdown": markdown,
        },
    )
    journal.append("done", durable=True, step=None)
    write_manifest(stage.path, manifest)


def decision_markdown(measured: Measured, decision: Decision, metrics: dict[str, Any]) -> str:
    """The decision as a page for a person."""
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(metrics.items()))
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    return (
        f"# Decision: {decision.decision}\n\n{reasons}\n\n"
        f"Measured on {measured.num_examples} frozen examples.\n\n| metric | value |\n| --- | ---: |\n{rows}\n"
    )
