"""Where everything lies. The only module that knows a path inside $PRETUNE_HOME."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout, or the folder that a wheel was installed into: in both, `configs` lies beside `tasks`."""


def is_checkout() -> bool:
    """Whether this code runs from its repository, and not from a wheel."""
    return (REPOSITORY / "pyproject.toml").is_file()


def home() -> Path:
    """$PRETUNE_HOME, else `.pretune` in the checkout, else, for a wheel, `pretune` among the user's data.

    Not below the working directory, which differs between a command and the processes that it starts.
    """
    if chosen := os.environ.get("PRETUNE_HOME"):
        return Path(chosen).resolve()
    if is_checkout():
        return REPOSITORY / ".pretune"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "pretune"


@dataclass(frozen=True)
class StageLayout:
    """The files of one stage."""

    path: Path

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def error(self) -> Path:
        """Name and message of the user error that ended the last attempt."""
        return self.path / "error.json"

    @property
    def stop(self) -> Path:
        """Its existence asks the ranks to stop at the next step boundary."""
        return self.path / "stop"

    @property
    def orchestrator(self) -> Path:
        """Which Prefect flow run waits for this stage."""
        return self.path / "orchestrator.json"

    @property
    def registration(self) -> Path:
        """MLflow run id and model versions of this stage."""
        return self.path / "registration.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def milestones(self) -> Path:
        return self.path / "milestones"

    @property
    def export(self) -> Path:
        """The finished model in Hugging Face layout."""
        return self.path / "export"

    def logs(self, attempt: int) -> Path:
        return self.path / "logs" / f"attempt_{attempt}"


@dataclass(frozen=True)
class RunLayout:
    """The folders of one run, `runs/NAME`."""

    home: Path
    name: str

    @property
    def path(self) -> Path:
        return self.home / "runs" / self.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def plan(self) -> Path:
        """What the pre-training was expected to take, before it began."""
        return self.path / "plan.json"

    def pretrain(self) -> StageLayout:
        return StageLayout(self.path / "02-pretrain")

    def finetune(self, name: str) -> StageLayout:
        return StageLayout(self.path / f"03-finetune-{name}")

    def random_init(self, name: str) -> StageLayout:
        """The same fine-tune from random weights, which the gate compares with."""
        return StageLayout(self.path / f"03-random-init-{name}")

    def evaluate(self, name: str) -> StageLayout:
        return StageLayout(self.path / f"04-evaluate-{name}")

    def promote(self, name: str) -> StageLayout:
        return StageLayout(self.path / f"05-promote-{name}")


def dataset_stage(home: Path, name: str, digest: str) -> StageLayout:
    """Prepared data: shared by every run that asks for the same thing, so it lies outside of the runs."""
    return StageLayout(home / "datasets" / f"{name}-{digest[:12]}")


def step_folder(step: int) -> str:
    """Folder name of a checkpoint or milestone."""
    return f"step_{step:08d}"
