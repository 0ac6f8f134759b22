"""What a run has done and what is left, by what lies in its folders: the plan of `--dry-run` and of the fast path."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.lifecycle import finetuning, pretraining
from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.record.errors import MissingBaseError
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, attempt_of, finetunes_folder, runs_folder
from tasks.record.lock import owner
from tasks.record.manifest import Input, Manifest, read_request
from tasks.record.outcomes import decided, open_question
from tasks.record.progress import ProgressReader
from tasks.registry.find_base import find_base
from tasks.registry.names import registered_version
from tasks.stages.work import Result, Results, Stage, Work

State = Literal["done", "running", "begun", "to do"]


@dataclass(frozen=True)
class StageState:
    name: str
    state: State
    detail: str = ""
    """When it was done, how far it is, or what it waits for."""
    result: Result | None = None

    @property
    def line(self) -> str:
        return f"{self.name:<28} {self.state:<11} {self.detail}".rstrip()


def plan_run(config: Config, name: str, home: Path) -> list[StageState]:
    """Every stage of the run in order, with its state. Starts nothing, and writes nothing but the cache of digests.

    Data sets on the hub are at a commit by now (`commits.pinned`). Raises RequestChangedError where a stage was begun with
    another request, and the errors of missing data and settings that contradict the data.
    """
    states, _ = look_at(pretraining(RunLayout(home, name), config), {}, home)
    return [*states, *(state for one in config.finetunes(name) for state in plan_finetune(one, home))]


def plan_finetune(settings: FinetuneFile, home: Path) -> list[StageState]:
    """As `plan_run`, for a fine-tune; a base that is not there yet is waited for."""
    try:
        base: Result | Work | None = find_base(home, settings)
    except MissingBaseError:
        base = None
    states: list[StageState] = []
    found: Results = {}
    if isinstance(base, Result):
        found["base"] = base
    elif base is not None:
        states, found = look_at([Stage("base", "take in base", lambda made: base, finetune=settings.name)], {}, home)
    made, found = look_at(finetuning(home, settings), found, home)
    return [*states, *made, verdict_on(settings, found, home)]


def verdict_on(settings: FinetuneFile, found: Results, home: Path) -> StageState:
    """What came of the candidate, by the record of outcomes."""
    name = f"judge {settings.name}"
    if "candidate" not in found:
        return StageState(name, "to do", "after the stages before it")
    layout, attempt = FinetuneLayout(home, settings.name), attempt_of(found["candidate"].stage).path
    if (outcome := decided(layout, attempt)) is not None:
        return StageState(name, "done", outcome.text)
    waiting = open_question(layout, attempt.name)
    return StageState(name, "to do", waiting.text if waiting else "")


def look_at(stages: list[Stage], found: Results, home: Path) -> tuple[list[StageState], Results]:
    """The state of each stage, then of what the flow registers behind them; and what was found before with what is done."""
    states, registrations = [], []
    for stage in stages:
        state = state_of(stage, found)
        states.append(state)
        if state.result is not None:
            found = found | {stage.role: state.result}
        if stage.label:
            registrations.append(registration(home, stage, state.result))
    return states + registrations, found


def state_of(stage: Stage, found: Results) -> StageState:
    if not found.keys() >= set(stage.needs):
        return StageState(stage.name, "to do", "after the stages before it")
    work = stage.work(found)
    if (result := work.result()) is not None:
        return StageState(stage.name, "done", f"on {result.manifest.created_at}", result)
    return StageState(stage.name, *unfinished(work.stage))


def registration(home: Path, stage: Stage, result: Result | None) -> StageState:
    """Whether the model of a finished stage is in the registry."""
    version = registered_version(home, result.stage, stage.model, stage.label) if result else None
    state: State = "to do" if version is None else "done"
    return StageState(f"register {stage.model}", state, f"as version {version}" if version else "")


def unfinished(stage: StageLayout) -> tuple[State, str]:
    """State and detail of a stage without manifest."""
    if owner(stage) is not None:
        return "running", ProgressReader(stage).read().line
    if stage.request.exists():
        return "begun", f"step {step}" if (step := ProgressReader(stage).read().step) else ""
    return "to do", ""


def complete(states: list[StageState]) -> bool:
    return all(state.state == "done" for state in states)


def observed_states(stages: list[StageLayout]) -> list[StageState]:
    """The states of stages and of their data, without asking whether the data changed: cheap, for `pretune status`."""
    datasets = {i.path for stage in stages for role, i in read_inputs(stage).items() if role in ("dataset", "examples")}
    return [observed(StageLayout(Path(path))) for path in sorted(datasets)] + [observed(stage) for stage in stages]


def stages_in(folder: Path) -> list[StageLayout]:
    """Every stage below a run's folder, or that of an attempt of a fine-tune, which was begun."""
    return [StageLayout(path.parent) for path in sorted(folder.glob("*/request.json"))]


def read_inputs(stage: StageLayout) -> dict[str, Input]:
    return read_request(stage).inputs


def observed(stage: StageLayout) -> StageState:
    if stage.manifest.exists():
        manifest = Manifest.read(stage.manifest)
        return StageState(stage.path.name, "done", f"on {manifest.created_at}", Result(stage, manifest))
    return StageState(stage.path.name, *unfinished(stage))


def finetune_names(home: Path) -> list[str]:
    return sorted(path.parent.name for path in finetunes_folder(home).glob("*/settings.json"))


def run_names(home: Path) -> list[str]:
    return sorted(path.parent.name for path in runs_folder(home).glob("*/config.json"))
