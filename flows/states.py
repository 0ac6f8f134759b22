"""What a run has done and what is left, from requests and manifests alone: the plan of `--dry-run` and of the fast path."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.config.config import Config
from tasks.config.training import FinetuneConfig
from tasks.record.layout import RunLayout, StageLayout, runs_folder
from tasks.record.lock import owner
from tasks.record.manifest import Input, Manifest, read_request
from tasks.record.progress import ProgressReader
from tasks.registry.names import CANDIDATE, PRETRAINED, base_model, finetuned_model, registered_version
from tasks.stages.work import (
    Result,
    Work,
    evaluate_work,
    examples_work,
    finetune_work,
    prepare_work,
    pretrain_work,
    promote_work,
    promoted,
)

State = Literal["done", "running", "begun", "to do", "not needed"]


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
    return list(stage_states(config, RunLayout(home, name), home))


def stage_states(config: Config, run: RunLayout, home: Path) -> Iterator[StageState]:
    dataset = yield from planned("prepare text", lambda: prepare_work(home, config))
    base = yield from planned("pre-train", after(dataset, lambda d: pretrain_work(run, config, d)))
    yield from registration(home, base, base_model(config), PRETRAINED)
    for finetune in config.finetune:
        yield from finetune_states(config, finetune, run, home, base)


def finetune_states(
    config: Config, finetune: FinetuneConfig, run: RunLayout, home: Path, base: Result | None
) -> Iterator[StageState]:
    name = finetune.name
    examples = yield from planned(f"prepare examples {name}", lambda: examples_work(home, finetune))
    found: dict[str, Result | None] = {"base": base, "examples": examples}

    def tuned(random_init: bool) -> Callable[[], Work] | None:
        return after_all(found, lambda f: finetune_work(run, config, finetune, f["base"], f["examples"], random_init))

    found["candidate"] = yield from planned(f"fine-tune {name}", tuned(False))
    yield from registration(home, found["candidate"], finetuned_model(config, finetune), CANDIDATE)
    if finetune.gate.beat_random_init:
        found["random_init"] = yield from planned(f"random weights {name}", tuned(True))
    decision = yield from planned(f"evaluate {name}", after_all(found, lambda f: evaluate_work(run, config, finetune, f)))
    if decision is not None and not promoted(decision.manifest):
        yield StageState(f"promote {name}", "not needed", "the gate rejected the candidate")
        return
    both = {"candidate": found["candidate"], "decision": decision}
    model = finetuned_model(config, finetune)
    yield from planned(
        f"promote {name}", after_all(both, lambda f: promote_work(run, finetune, model, f["candidate"], f["decision"]))
    )


def after(earlier: Result | None, work: Callable[[Result], Work]) -> Callable[[], Work] | None:
    return None if earlier is None else lambda: work(earlier)


def after_all(earlier: dict[str, Result | None], work: Callable[[dict[str, Result]], Work]) -> Callable[[], Work] | None:
    """None while one of the earlier stages is not done: the request of the next one is not known yet."""
    done = {role: result for role, result in earlier.items() if result is not None}
    return (lambda: work(done)) if len(done) == len(earlier) else None


def planned(name: str, work: Callable[[], Work] | None) -> Generator[StageState, None, Result | None]:
    """Yield the state of one stage; its value is the result, if it is done."""
    if work is None:
        yield StageState(name, "to do", "after the stages before it")
        return None
    made = work()
    result = made.result()
    if result is not None:
        yield StageState(name, "done", f"on {result.manifest.created_at}", result)
    else:
        yield StageState(name, *unfinished(made.stage))
    return result


def registration(home: Path, result: Result | None, model: str, label: str) -> Iterator[StageState]:
    """Whether a finished stage's model is in the registry."""
    version = registered_version(home, result.stage, model, label) if result else None
    state: State = "to do" if version is None else "done"
    yield StageState(f"register {model}", state, f"as version {version}" if version else "")


def unfinished(stage: StageLayout) -> tuple[State, str]:
    """State and detail of a stage without manifest."""
    if owner(stage) is not None:
        return "running", ProgressReader(stage).read().line
    if stage.request.exists():
        return "begun", f"step {step}" if (step := ProgressReader(stage).read().step) else ""
    return "to do", ""


def complete(states: list[StageState]) -> bool:
    return all(state.state in ("done", "not needed") for state in states)


def observed_states(run: RunLayout) -> list[StageState]:
    """What lies in the run's folder, without asking whether the data changed: cheap, for `pretune status`."""
    stages = [StageLayout(path.parent) for path in sorted(run.path.glob("*/request.json"))]
    datasets = {i.path for stage in stages for role, i in read_inputs(stage).items() if role in ("dataset", "examples")}
    return [observed(StageLayout(Path(path))) for path in sorted(datasets)] + [observed(stage) for stage in stages]


def read_inputs(stage: StageLayout) -> dict[str, Input]:
    return read_request(stage).inputs


def observed(stage: StageLayout) -> StageState:
    if stage.manifest.exists():
        manifest = Manifest.read(stage.manifest)
        return StageState(stage.path.name, "done", f"on {manifest.created_at}", Result(stage, manifest))
    return StageState(stage.path.name, *unfinished(stage))


def run_names(home: Path) -> list[str]:
    return sorted(path.parent.name for path in runs_folder(home).glob("*/config.json"))
