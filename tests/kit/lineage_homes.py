"""A home with runs, bases, fine-tunes and versions, related at random, written as their stages and the registry write them."""

import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.record.files import file_entries, file_sha256, write_json
from tasks.record.journal import Journal
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, bases_folder, dataset_stage
from tasks.record.manifest import Input, Manifest, Request, write_manifest
from tasks.registry.records import Move, VersionRecord, history_file, write_record


@dataclass
class LineageHome:
    home: Path
    chance: random.Random
    files: list[Path] = field(default_factory=list)
    datasets: list[Input] = field(default_factory=list)
    examples: list[Input] = field(default_factory=list)
    models: list[Input] = field(default_factory=list)
    """What a fine-tune can start from: taken-in bases, pre-trainings, milestones, fine-tunes."""
    versions: dict[str, int] = field(default_factory=dict)
    """The last one of each model."""

    def some(self, of: list[Any], most: int) -> list[Any]:
        return self.chance.sample(of, self.chance.randint(1, min(most, len(of))))


def random_home(home: Path, seed: int, finetunes: int = 7) -> LineageHome:
    made = LineageHome(home, random.Random(seed))
    for number in range(9):
        path = home.parent / "sources" / f"file-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of file {number} of home {seed}\n" * (number + 1))
        made.files.append(path)
    for number in range(4):
        made.datasets.append(data_set(made, number))
    for number in range(3):
        made.examples.append(example_set(made, number))
    for number in range(2):
        made.models.append(taken_base(made, number))
    for number in range(3):
        made.models += pretraining(made, number)
    for number in range(finetunes):
        finetuning(made, number)
    return made


def listing(folder: Path, sources: dict[str, list[Path]]) -> None:
    rows = [
        {"name": name, "files": [{"name": p.name, "size_bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in files]}
        for name, files in sources.items()
    ]
    write_json(folder / "sources.json", rows)


def done(stage: StageLayout, request: Request, files: list[Path], **more: Any) -> Manifest:
    write_json(stage.request, request)
    manifest = Manifest(
        kind=request.kind, request_digest=request.digest, inputs=request.inputs, files=file_entries(stage.path, files), **more
    )
    return write_manifest(stage.path, manifest)


def data_set(made: LineageHome, number: int) -> Input:
    """Of one or two sources; a later one may have been compared with an earlier one."""
    sources = {name: made.some(made.files, 3) for name in ("first", "second")[: made.chance.randint(1, 2)]}
    compared = number == 2 or (made.datasets and made.chance.random() < 0.5)
    against = {"against-00": made.chance.choice(made.datasets)} if compared else {}
    mixture = [{"name": name, "source": "text"} for name in list(sources)[1:]]
    data = {"name": "first", "source": "text", "mixture": mixture, "quality": {}, "number": number}
    identities = [{"files": len(files), "bytes": 1, "sha256": "0"} for files in sources.values()]
    request = Request(kind="prepare", identity={"data": data, "source": {"sources": identities}}, inputs=against)
    stage = dataset_stage(made.home, f"text-{number}", request.digest)
    stage.path.mkdir(parents=True)
    listing(stage.path, sources)
    details = {
        "sources": [{"name": name, "documents": 10, "tokens": 90} for name in sources],
        "dropped": {"too_short": 3, "duplicate": number},
    }
    metrics = {"read_documents": 23 + number, "kept_documents": 20, "train_tokens": 5000, "heldout_tokens": 400}
    return done(stage, request, [stage.path / "sources.json"], details=details, metrics=metrics).as_input(stage.path)


def example_set(made: LineageHome, number: int) -> Input:
    identity = {"kind": "classification", "examples": {"source": "jsonl"}, "source": {"files": 2}, "number": number}
    request = Request(kind="examples", identity=identity)
    stage = dataset_stage(made.home, f"labels-{number}", request.digest)
    stage.path.mkdir(parents=True)
    listing(stage.path, {"examples": made.some(made.files, 2)})
    metrics = {"read_examples": 100, "kept_examples": 90, "train_examples": 70, "test_examples": 20}
    details = {"dropped": {"duplicate": 10}, "source": {"files": 2}}
    return done(stage, request, [stage.path / "sources.json"], details=details, metrics=metrics).as_input(stage.path)


def taken_base(made: LineageHome, number: int) -> Input:
    files = {path.name: file_sha256(path) for path in made.some(made.files, 2)}
    source = f"organisation/model-{number}"
    request = Request(kind="base", identity={"format": 1, "source": {"kind": "folder", "files": files}})
    stage = StageLayout(bases_folder(made.home) / f"model-{number}-{request.digest[:12]}")
    return done(stage, request, [], details={"source": source, "licence": "apache-2.0"}).as_input(stage.path)


def pretraining(made: LineageHome, number: int) -> list[Input]:
    """The finished one and a milestone of it, both registered."""
    stage = RunLayout(made.home, f"run-{number}").pretrain()
    dataset = made.chance.choice(made.datasets)
    request = Request(kind="pretrain", identity={"pretrain": {"seed": number}, "model": {}}, inputs={"dataset": dataset})
    verdict = {"verdict": "converged", "reason": "the next round promises 0.001"}
    milestone = Manifest(
        kind="milestone", request_digest=request.digest, step=20, details={"label": "converged", "verdict": verdict}
    )
    folder = stage.milestones / "step_00000020"
    milestone = write_manifest(folder, milestone)
    manifest = done(stage, request, [], step=40, tokens_seen=4000, details={"verdict": verdict})
    model = f"run-{number}"
    register(made, model, "converged step 20", stage, folder, milestone, request)
    register(made, model, "pretrained", stage, stage.path, manifest, request)
    return [milestone.as_input(folder), manifest.as_input(stage.path)]


def finetuning(made: LineageHome, number: int) -> None:
    """A further attempt of one of three fine-tunes, with its decision, and the same from random weights, not registered."""
    name = f"tuned-{made.chance.randrange(3)}"
    inputs = {"base": made.chance.choice(made.models), "examples": made.chance.choice(made.examples)}
    for init in ("random", "base"):
        request = Request(kind="finetune", identity={"finetune": {"seed": number}, "init": init}, inputs=inputs)
        attempt = FinetuneLayout(made.home, name).attempt(request.digest)
        stage = attempt.candidate if init == "base" else attempt.random_init
        manifest = done(stage, request, [], step=30, tokens_seen=900 + number)
    made.models.append(manifest.as_input(stage.path))
    decision = Manifest(
        kind="evaluate",
        request_digest="e",
        inputs={"candidate": manifest.as_input(stage.path), "examples": inputs["examples"]},
        metrics={"candidate_accuracy": 0.9, "num_examples": 20},
        details={"decision": "promote", "reasons": ["✓ accuracy 0.9 is enough"], "examples_sha256": "5" * 64},
    )
    decision = write_manifest(attempt.evaluation(f"{number:012d}").path, decision)
    register(made, name, "candidate", stage, stage.path, manifest, request, decision)
    champion(made, name)


def register(
    made: LineageHome, model: str, label: str, stage: StageLayout, folder: Path, manifest: Manifest, request: Request,
    decision: Manifest | None = None,
) -> None:  # fmt: skip
    """The record of a version, and the registry's copy of its manifest."""
    number = made.versions[model] = made.versions.get(model, 0) + 1
    copy = made.home / "mlflow" / "artifacts" / f"{model}-{number}"
    write_json(copy / "manifest.json", manifest)
    tags = {"digest": manifest.digest, "path": str(copy), "stage": str(stage.path)}
    tags |= {f"input.{role}": entry.digest for role, entry in request.inputs.items()}
    record = VersionRecord(
        state="done", store="local", key=f"{model}@{manifest.digest}", folder=str(folder / "export"), model=model, label=label,
        stage=str(stage.path), version=number, tags=tags, decision=decision,
    )  # fmt: skip
    write_record(made.home, record)


def champion(made: LineageHome, model: str) -> None:
    number = made.versions[model]
    move = Move(
        model=model, alias="champion", from_version=number - 1 or None, to_version=number, reason="better", by="anna",
        time="2030-01-31T12:00:00+00:00",
    )  # fmt: skip
    journal = Journal(history_file(made.home), attempt=0)
    journal.append("done", id=f"{model}-{number}", moves=[json.loads(move.model_dump_json())])
    journal.close()


def lose_some(made: LineageHome) -> None:
    """Remove the folders of a run and of an attempt: what was registered of them stays in the registry."""
    shutil.rmtree(RunLayout(made.home, "run-1").path)
    shutil.rmtree(made.chance.choice(sorted((made.home / "finetunes").glob("*/*"))))
