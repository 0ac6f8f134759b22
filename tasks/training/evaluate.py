"""A candidate against the champion, the baselines and the same model from random weights, on the same frozen examples."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tasks.config.finetuning import FinetuneConfig
from tasks.config.gate import GateConfig, Metric
from tasks.config.parallel import Layout
from tasks.data.tokens.examples import Example, read_examples
from tasks.record.files import file_entries, file_sha256, write_json
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request, input_manifest, verify, write_manifest
from tasks.training.baselines import majority_label, tfidf_labels
from tasks.training.evaluation import answer_losses, as_metrics, classification_metrics, predict_classes
from tasks.training.finetune import encode
from tasks.training.forgetting import NotMeasured, heldout_bits
from tasks.training.gate import Compared, Decision, Forgetting, Measured, Overlap, decide
from tasks.training.leakage import leaked
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import load_causal
from tasks.training.model.ranks import Ranks
from tasks.training.significance import accuracy_difference, macro_f1_difference, mean_difference

BATCH_SIZE = 32
VERSIONS = ("champion", "best")
"""Roles of registered versions, which `request.execution` names."""
NAMES = {
    "majority": "the majority class",
    "tfidf": "TF-IDF",
    "random_init": "the same model from random weights",
    "base": "the model before tuning",
}
"""What the candidate is compared with besides, as the decision calls it."""


@dataclass(frozen=True)
class Scored:
    """One model, or what stands for one, on the frozen examples."""

    metrics: dict[str, float]
    """`accuracy`, `macro_f1` and for models `heldout_loss`, or `answer_loss`."""
    scores: np.ndarray
    """(examples,), higher is better: 1 where it is right and 0 where it is wrong, or minus the loss of the answer (nats) over
    the mean number of answer tokens. Their mean is the accuracy, or minus the answer loss."""
    predicted: np.ndarray | None = None
    """Classification: places of the predicted labels among the examples' labels, -1 where it is none of them, (examples,)."""

    def score(self, metric: Metric) -> float:
        return -self.metrics[metric] if metric == "answer_loss" else self.metrics[metric]


def run(stage: StageLayout, request: Request, ranks: Ranks, attempt: int) -> None:
    """The whole stage; returns when its manifest, the record of the decision, is written. One rank."""
    journal = Journal(stage.journal, attempt)
    gate = GateConfig.model_validate(request.identity["gate"])
    folder, examples = Path(request.inputs["examples"].path), input_manifest(request, "examples")
    verify(folder, examples)
    train, test = (read_examples(folder, examples, split) for split in ("train", "test"))
    mesh = Mesh(Layout(replicate=ranks.world_size), ranks)
    found: dict[str, Scored] = {}
    models = model_folders(request)
    for number, (role, export) in enumerate(models.items()):
        journal.append("progress", fraction=number / (len(models) + 1), message=f"measuring {role}")
        found[role] = score(request, export, test, examples, mesh)
    journal.append("progress", fraction=len(models) / (len(models) + 1), message="measuring baselines")
    if request.identity["kind"] == "classification":
        found |= baselines(gate, train, test, examples.details["labels"])
    measured = compare(request, gate, found, places(test, examples))
    measured = measured.model_copy(update=beside(request, gate, train, test, mesh))
    record(stage, request, measured, decide(measured, gate), metrics_of(found, measured), journal)


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
    return folders | {role: Path(held["path"]) for role in VERSIONS if (held := request.execution.get(role))}


def score(request: Request, export: Path, examples: list[Example], manifest: Manifest, mesh: Mesh) -> Scored:
    """Load the exported model and measure it on every example, in fp32.

    A champion that does not know some of the labels is wrong on their examples, and its loss is that of the others.
    """
    kind = request.identity["kind"]
    config = FinetuneConfig(kind=kind, max_length=request.identity["max_length"])
    if kind == "instruction":
        model = load_causal(export).to(mesh.ranks.device).eval()  # type: ignore[arg-type]  # its stub forgets `self`
        with torch.no_grad():
            losses, counts = answer_losses(model, encode(config, export, examples, []).batches(BATCH_SIZE), mesh)
        return Scored({"answer_loss": float(losses.sum() / counts.sum())}, -losses / counts.mean())
    model = load_classifier(export).to(mesh.ranks.device).eval()  # type: ignore[arg-type]  # as above
    own, labels = [model.config.id2label[i] for i in range(model.config.num_labels)], manifest.details["labels"]
    known = [number for number, example in enumerate(examples) if example["label"] in own]
    test = encode(config, export, [examples[number] for number in known], own)
    with torch.no_grad():
        classes, losses = predict_classes(model, test.batches(BATCH_SIZE), mesh)
    predicted = np.full(len(examples), -1)
    predicted[known] = np.array([labels.index(label) if label in labels else -1 for label in own])[classes]
    return classified(predicted, places(examples, manifest), losses)


def classified(predicted: np.ndarray, truth: np.ndarray, losses: np.ndarray) -> Scored:
    metrics = classification_metrics(predicted, losses, truth)
    return Scored(metrics, (predicted == truth).astype(np.float64), predicted)


def places(examples: Sequence[Example], manifest: Manifest) -> np.ndarray:
    """Where each example's label is among the labels, (examples,); zeros where there are no labels."""
    labels = manifest.details.get("labels") or [None]
    return np.array([labels.index(example.get("label")) for example in examples])


def load_classifier(export: Path) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(export, dtype=torch.float32, local_files_only=True)


def baselines(gate: GateConfig, train: list[Example], test: list[Example], labels: list[str]) -> dict[str, Scored]:
    """The models-that-are-none for a classifier; TF-IDF only where the gate asks for it and there is something to fit."""
    truth = np.array([labels.index(example["label"]) for example in test])
    named = {"majority": [majority_label([example["label"] for example in train])] * len(test)}
    if gate.above_tfidf != "off":
        found = tfidf_labels([(e["text"], e["label"]) for e in train], [e["text"] for e in test])
        named |= {"tfidf": found} if found else {}
    return {
        role: classified(np.array([labels.index(label) for label in found]), truth, np.empty(0))
        for role, found in named.items()
    }


def compare(request: Request, gate: GateConfig, found: dict[str, Scored], truth: np.ndarray) -> Measured:
    """The candidate's score, and what it is compared with by the paired test of the gate's metric."""
    kind, candidate = request.identity["kind"], found["candidate"]
    metric = gate.metric_of(kind)
    names = NAMES | {role: f"version {held['version']}" for role in VERSIONS if (held := request.execution.get(role))}
    names |= {"best": f"{names['best']}, the best champion so far"} if "best" in names else {}
    compared = {}
    for role, name in names.items():
        if (other := found.get(role)) is not None:
            if metric != "macro_f1":
                test = accuracy_difference if metric == "accuracy" else mean_difference
                difference = test(candidate.scores, other.scores, gate.level)
            else:
                assert candidate.predicted is not None and other.predicted is not None
                difference = macro_f1_difference(candidate.predicted, other.predicted, truth, gate.level)
            compared[role] = Compared(
                name=name, score=other.score(metric), difference=difference.value, low=difference.low, high=difference.high,
                p_value=difference.p_value,
            )  # fmt: skip
    num_examples = len(candidate.scores)
    return Measured(kind=kind, metric=metric, num_examples=num_examples, candidate=candidate.score(metric), **compared)


def beside(request: Request, gate: GateConfig, train: list[Example], test: list[Example], mesh: Mesh) -> dict[str, Any]:
    """What else `Measured` holds: overlap of training and test, and forgetting."""
    found: dict[str, Any] = {}
    if gate.overlap != "off":
        exact, near = leaked(train, test)
        found["overlap"] = Overlap(exact=exact, near=near)
    if request.identity["kind"] == "instruction":
        try:
            found["forgetting"] = Forgetting(**heldout_bits(request, mesh))
        except NotMeasured as reason:
            found["forgetting_missing"] = str(reason)
    return found


def metrics_of(found: dict[str, Scored], measured: Measured) -> dict[str, float]:
    """Every model's metrics under its role's name, and the differences; those to the champion have no name in front."""
    metrics = {f"{role}_{name}": value for role, scored in found.items() for name, value in scored.metrics.items()}
    for role in (*NAMES, *VERSIONS):
        if (other := getattr(measured, role)) is not None:
            front = "" if role == "champion" else f"{role}_"
            metrics |= {f"{front}difference": other.difference, f"{front}p_value": other.p_value}
            metrics |= {f"{front}difference_low": other.low, f"{front}difference_high": other.high}
    if measured.overlap is not None:
        metrics |= {"overlap_exact": measured.overlap.exact, "overlap_near": measured.overlap.near}
    if measured.forgetting is not None:
        metrics |= {f"{role}_bits_per_byte": value for role, value in measured.forgetting.model_dump().items()}
    return as_metrics(metrics)


def record(
    stage: StageLayout, request: Request, measured: Measured, decision: Decision, metrics: dict[str, float], journal: Journal
) -> None:
    """Write `decision.json`, `decision.md` and the manifest."""
    markdown = decision_markdown(measured, decision, metrics)
    write_json(stage.path / "decision.json", as_json(measured, decision))
    (stage.path / "decision.md").write_text(markdown, encoding="utf-8")
    manifest = Manifest(
        kind="evaluate",
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(stage.path, [stage.path / "decision.json", stage.path / "decision.md"]),
        metrics=metrics | {"num_examples": measured.num_examples},
        details=details_of(request, measured, decision)
        | {"examples_sha256": file_sha256(Path(request.inputs["examples"].path) / "test.jsonl"), "markdown": markdown},
    )
    journal.append("done", durable=True, step=None)
    write_manifest(stage.path, manifest)


def as_json(measured: Measured, decision: Decision) -> dict[str, Any]:
    """Both, with null for what is no finite number, as a model that computes NaN makes it: JSON has none."""
    return {"measured": json.loads(measured.model_dump_json()), "decision": json.loads(decision.model_dump_json())}


def details_of(request: Request, measured: Measured, decision: Decision) -> dict[str, Any]:
    """What flows, cards and promotion read of the decision. The difference is above zero where the candidate is better."""
    found: dict[str, Any] = {
        "decision": decision.decision,
        "reasons": list(decision.reasons),
        "rules": [rule.model_dump(mode="json") for rule in decision.rules],
        "metric": measured.metric,
        "num_examples": measured.num_examples,
    }
    for role in VERSIONS:
        held = request.execution.get(role)
        found |= {role: held["version"] if held else None, f"{role}_digest": held["digest"] if held else None}
    champion = measured.champion
    for name, key in (
        ("difference", "difference"),
        ("low", "difference_low"),
        ("high", "difference_high"),
        ("p_value", "p_value"),
    ):
        value = getattr(champion, name) if champion else None
        found[key] = value if value is not None and math.isfinite(value) else None
    return found


def decision_markdown(measured: Measured, decision: Decision, metrics: dict[str, float]) -> str:
    """The decision as a page for a person."""
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(metrics.items()))
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    return (
        f"# Decision: {decision.decision}\n\n{reasons}\n\n"
        f"Measured on {measured.num_examples} frozen examples.\n\n| metric | value |\n| --- | ---: |\n{rows}\n"
    )
