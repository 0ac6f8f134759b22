"""Whether a run's trainings consumed exactly what they should have, and whether all that they made is intact."""

from pathlib import Path

from tasks.audit.stage import StageProof, prove_stage, saved
from tasks.record.errors import ConfigError
from tasks.record.files import Record
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, finetunes_folder, runs_folder
from tasks.record.manifest import read_request

TRAINING_KINDS = ("pretrain", "finetune")


class RunProof(Record):
    """`proved` if nothing failed in any stage."""

    run: str
    proved: bool
    stages: tuple[StageProof, ...]


def has_begun(stage: StageLayout) -> bool:
    """Whether it left anything, also where its journal is gone."""
    return stage.journal.exists() or stage.manifest.exists() or bool(saved(stage.checkpoints))


def verify_run(home: Path, name: str) -> RunProof:
    """Prove every training stage of the run, or of the fine-tune. Changes nothing, and may be asked while it trains.

    Raises ConfigError for a run that does not exist or has not trained, IntegrityError where a request cannot be read.
    """
    run, tuning = RunLayout(home, name).path, FinetuneLayout(home, name).path
    if not run.is_dir() and not tuning.is_dir():
        folders = (runs_folder(home), finetunes_folder(home))
        known = ", ".join(sorted(path.name for folder in folders for path in folder.glob("*") if path.is_dir())) or "none"
        raise ConfigError(f"run {name!r} does not exist; there are: {known}")
    found = [*run.glob("*/request.json"), *tuning.glob("*/*/request.json")]
    stages = [StageLayout(path.parent) for path in sorted(found)]
    trainings = [stage for stage in stages if read_request(stage).kind in TRAINING_KINDS and has_begun(stage)]
    if not trainings:
        raise ConfigError(f"run {name!r} has not trained anything yet, so there is nothing to verify; let it begin first")
    proofs = tuple(prove_stage(stage) for stage in trainings)
    return RunProof(run=name, proved=not any(proof.failures for proof in proofs), stages=proofs)
