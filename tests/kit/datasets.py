"""Finished data sets and trainings, written by hand as their stages leave them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.documents.cleaning import clean, text_digest
from tasks.record.files import file_sha256, write_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, dataset_stage
from tasks.record.manifest import Input, Manifest, Request, write_manifest

METRICS = {"train_documents": 2, "train_tokens": 50, "train_bytes": 200, "heldout_documents": 1, "heldout_tokens": 9}


def written_dataset(
    home: Path, name: str, train: list[str], heldout: list[str], files: dict[str, Path], per_shard: int = 2, **data: Any
) -> Input:
    """A data set with these documents, made from these files, one source for each; `data` is what its request says more."""
    inputs = data.pop("inputs", {})
    request = Request(
        kind="prepare", identity={"data": {"name": name, "source": "text", "mixture": [], "quality": {}} | data}, inputs=inputs
    )
    stage = dataset_stage(home, name, request.digest)
    shards: dict[str, list[str]] = {"train": [], "heldout": []}
    stage.path.mkdir(parents=True)
    for split, texts in (("train", train), ("heldout", heldout)):
        for start in range(0, len(texts), per_shard):
            shards[split].append(f"{split}-{start // per_shard:05d}.bin")
            digests = [list(text_digest(clean(text))[:16]) for text in texts[start : start + per_shard]]
            np.save(stage.path / f"{shards[split][-1][:-4]}.digests.npy", np.array(digests, dtype=np.uint8))
    listing = [
        {"name": source, "files": [{"name": path.name, "size_bytes": path.stat().st_size, "sha256": file_sha256(path)}]}
        for source, path in files.items()
    ]
    write_json(stage.path / "sources.json", listing)
    (stage.path / "data_card.md").write_text(f"# Data set `{name}`\n\n![plot](data_card.png)\n")
    (stage.path / "data_card.png").write_bytes(b"\x89PNG picture")
    details = {"shards": shards, "sources": [{"name": source, "documents": 1, "tokens": 9} for source in files]}
    return written(stage, request, METRICS, details).as_input(stage.path)


def written_examples(home: Path, name: str, train: list[str], test: list[str], file: Path) -> Input:
    """Examples for a classification."""
    request = Request(kind="examples", identity={"kind": "classification", "name": name, "examples": {"source": "text"}})
    stage = dataset_stage(home, name, request.digest)
    stage.path.mkdir(parents=True)
    for split, texts in (("train", train), ("test", test)):
        rows = [{"id": text_digest(text).hex(), "text": text, "label": "x"} for text in texts]
        (stage.path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (stage.path / "data_card.md").write_text("# Examples\n")
    whole = text_digest(file_sha256(file)).hex()
    return written(stage, request, {}, {"source": {"files": 1, "bytes": file.stat().st_size, "sha256": whole}}).as_input(
        stage.path
    )


def written(stage: StageLayout, request: Request, metrics: dict[str, Any], details: dict[str, Any]) -> Manifest:
    """The request and the manifest of a stage, as its process writes them at its end."""
    write_json(stage.request, request)
    manifest = Manifest(
        kind=request.kind, request_digest=request.digest, inputs=request.inputs, metrics=metrics, details=details
    )
    return write_manifest(stage.path, manifest)


def begun(stage: StageLayout, kind: str, inputs: dict[str, Input], **identity: Any) -> StageLayout:
    """A training that has made two checkpoints and a milestone, and has no manifest yet."""
    write_json(stage.request, Request(kind=kind, identity=identity, inputs=inputs))
    for step in (10, 20):
        write_manifest(stage.checkpoints / f"step_{step:08d}", Manifest(kind="checkpoint", request_digest="r", step=step))
    milestone = Manifest(kind="milestone", request_digest="r", step=20, details={"label": "converged", "of": str(stage.path)})
    write_manifest(stage.milestones / "step_00000020", milestone)
    return stage


def pretraining(home: Path, run: str, dataset: Input) -> StageLayout:
    return begun(RunLayout(home, run).pretrain(), "pretrain", {"dataset": dataset}, run=run)


def finetuning(home: Path, run: str, base: Input, examples: Input, init: str = "base") -> StageLayout:
    attempt = FinetuneLayout(home, f"{run}-topic").attempt("0" * 64)
    stage = attempt.candidate if init == "base" else attempt.random_init
    return begun(stage, "finetune", {"base": base, "examples": examples}, run=run, init=init)
