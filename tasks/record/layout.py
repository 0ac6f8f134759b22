"""Where everything lies: the folders of $PRETUNE_HOME, which no other module names, and the files of a run and of a stage.

What a service, a checkpoint or prepared data hold inside of their folder is the business of the module that writes it.
"""

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


def runs_folder(home: Path) -> Path:
    return home / "runs"


def datasets_folder(home: Path) -> Path:
    return home / "datasets"


def bases_folder(home: Path) -> Path:
    """Models that were taken in, to be fine-tuned by any run."""
    return home / "bases"


def finetunes_folder(home: Path) -> Path:
    return home / "finetunes"


def deployed_folder(home: Path) -> Path:
    """The settings of every fine-tune that was deployed, so that `pretune up` can make its deployment again."""
    return home / "deployed"


def services_folder(home: Path) -> Path:
    """Records, credentials and logs of what `pretune up` started."""
    return home / "services"


def prefect_folder(home: Path) -> Path:
    """Prefect's own: its database holds every flow run of this home."""
    return home / "prefect"


def mlflow_folder(home: Path) -> Path:
    """Database, artifacts and locks of the registry."""
    return home / "mlflow"


def registry_folder(home: Path) -> Path:
    """What the registry knows without MLflow: its intents, and every move of an alias."""
    return home / "registry"


def predictions_folder(home: Path) -> Path:
    """What registered models said about files."""
    return home / "predictions"


def compiled_folder(home: Path) -> Path:
    """What torch.compile made: not in /tmp, so that the next start, also after a reboot, need not compile again."""
    return home / "compiled"


def digest_cache(home: Path) -> Path:
    """SHA-256 of input files that were read before; losing it costs time only."""
    return home / "cache" / "digests.json"


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
    def approval(self) -> Path:
        """Of an evaluation: what a person said about its candidate."""
        return self.path / "approval.json"

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

    def failure(self, attempt: int, rank: int) -> Path:
        """Why this rank ended, if it did so by an error."""
        return self.logs(attempt) / f"rank_{rank}.failure"

    def part_log(self, part: str) -> Path:
        return self.path / "logs" / "parts" / f"{part}.log"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "logs" / "supervisor.log"

    @property
    def mirror_log(self) -> Path:
        """Output of the process that ships the journal to MLflow."""
        return self.path / "logs" / "tracking.log"


@dataclass(frozen=True)
class RunLayout:
    """The folders of one run, `runs/NAME`."""

    home: Path
    name: str

    @property
    def path(self) -> Path:
        return runs_folder(self.home) / self.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def inputs(self) -> Path:
        """Which commits this run reads of data sets on the hub."""
        return self.path / "inputs.json"

    @property
    def lock(self) -> Path:
        """Held by whoever adds to `inputs`."""
        return self.path / "lock"

    @property
    def plan(self) -> Path:
        """What the pre-training was expected to take, before it began."""
        return self.path / "plan.json"

    def pretrain(self) -> StageLayout:
        return StageLayout(self.path / "02-pretrain")


@dataclass(frozen=True)
class AttemptLayout:
    """One attempt of a fine-tune, `finetunes/NAME/DIGEST`: the model that one base, one set of examples and one recipe give."""

    path: Path

    @property
    def candidate(self) -> StageLayout:
        return StageLayout(self.path / "finetune")

    @property
    def random_init(self) -> StageLayout:
        """The same fine-tune from random weights, which the gate compares with."""
        return StageLayout(self.path / "random-init")

    def evaluation(self, digest: str) -> StageLayout:
        """One for each champion that the candidate was compared with, and each gate."""
        return StageLayout(self.path / f"evaluate-{digest[:12]}")

    @property
    def evaluations(self) -> list[StageLayout]:
        """Those that are done."""
        return [StageLayout(path.parent) for path in sorted(self.path.glob("evaluate-*/manifest.json"))]


@dataclass(frozen=True)
class FinetuneLayout:
    """The folders of one fine-tune, `finetunes/NAME`."""

    home: Path
    name: str

    @property
    def path(self) -> Path:
        return finetunes_folder(self.home) / self.name

    @property
    def settings(self) -> Path:
        """Those of its last refresh."""
        return self.path / "settings.json"

    @property
    def inputs(self) -> Path:
        """Which revision it takes of a base on the hub."""
        return self.path / "inputs.json"

    @property
    def lock(self) -> Path:
        """Held by the refresh that runs."""
        return self.path / "lock"

    @property
    def outcomes(self) -> Path:
        """What came of every refresh, a line each."""
        return self.path / "outcomes.jsonl"

    def attempt(self, digest: str) -> AttemptLayout:
        """By the digest of what its candidate was asked for."""
        return AttemptLayout(self.path / digest[:12])

    @property
    def attempts(self) -> list[AttemptLayout]:
        return [AttemptLayout(path.parent.parent) for path in sorted(self.path.glob("*/finetune/request.json"))]


def attempt_of(candidate: StageLayout) -> AttemptLayout:
    return AttemptLayout(candidate.path.parent)


def dataset_stage(home: Path, name: str, digest: str) -> StageLayout:
    """Prepared data: shared by every run that asks for the same thing, so it lies outside of the runs."""
    return StageLayout(datasets_folder(home) / f"{name}-{digest[:12]}")


def base_stage(home: Path, name: str, digest: str) -> StageLayout:
    """A model that was taken in: shared by every run that begins from it."""
    return StageLayout(bases_folder(home) / f"{name}-{digest[:12]}")


def begun_stages(home: Path) -> list[StageLayout]:
    """Every stage that was ever begun in this home: bases and prepared data first, then those of runs and of fine-tunes."""
    shared = [path for folder in (bases_folder(home), datasets_folder(home)) for path in folder.glob("*/request.json")]
    own = [*runs_folder(home).glob("*/*/request.json"), *finetunes_folder(home).glob("*/*/*/request.json")]
    return [StageLayout(path.parent) for path in (*sorted(shared), *sorted(own))]


def step_folder(step: int) -> str:
    """Folder name of a checkpoint or milestone."""
    return f"step_{step:08d}"
