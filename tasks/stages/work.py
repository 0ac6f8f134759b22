"""What a stage of a run is, where each lies, and its request from the configuration and the results of earlier stages."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tasks.config.config import Config
from tasks.config.data import PreparationConfig
from tasks.config.finetuning import FinetuneFile
from tasks.data.example_rows import check_first_rows
from tasks.data.input_check import check_inputs
from tasks.data.inputs.request import examples_request, prepare_request
from tasks.data.inputs.sources import examples_identity, tokenizer_identity
from tasks.data.inputs.text import earlier_datasets, text_identity
from tasks.record.errors import ConfigError
from tasks.record.files import read_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, attempt_of, dataset_stage
from tasks.record.manifest import Input, Manifest, Request, finished
from tasks.stages.requests import Version, check_length, evaluate_request, finetune_request, pretrain_request


@dataclass(frozen=True)
class Result:
    """A stage that is done. This or its `Work`, and nothing bigger, is what flows and tasks hand to each other."""

    stage: StageLayout
    manifest: Manifest

    @property
    def input(self) -> Input:
        return self.manifest.as_input(self.stage.path)


@dataclass(frozen=True)
class Work:
    """A stage to be done: its folder and what it is asked for."""

    stage: StageLayout
    request: Request

    def result(self) -> Result | None:
        """The result if the stage is done; raises RequestChangedError if the folder was begun with another request."""
        manifest = finished(self.stage, self.request)
        return Result(self.stage, manifest) if manifest else None


Results = dict[str, Result]
"""By role: `dataset` and `base`, and of one fine-tune `examples`, `candidate`, `random_init`, `decision`."""


@dataclass(frozen=True)
class Stage:
    """A stage as the order of a run has it, while the stages before it may not be done."""

    role: str
    """What the stages after it call its result."""
    what: str
    """In words, such as `evaluate`."""
    ask: Callable[[Results], Work]
    """Where it lies and what it is asked for, from the results that it needs."""
    needs: tuple[str, ...] = ()
    """Roles of the results that its request is made from."""
    finetune: str = ""
    """Name of the fine-tune that it belongs to, if it does."""
    model: str = ""
    """The registered model that it makes a version of, or decides about."""
    label: str = ""
    """Of the version that it makes; empty where it makes none."""

    @property
    def name(self) -> str:
        """`evaluate topic`."""
        return f"{self.what} {self.finetune}".strip()

    def work(self, made: Results) -> Work:
        """Raises the errors of settings that contradict the data, and of missing data."""
        return self.ask({role: made[role] for role in self.needs})


def prepare_work(home: Path, config: Config) -> Work:
    """Data sets on the hub are at a commit by now (`commits.pinned`). Raises DataError for input that is missing or bad."""
    check_cluster(config.preparation)
    identity, earlier = text_identity(home, config.data), earlier_datasets(home, config.data)
    request = prepare_request(config, identity, tokenizer_identity(home, config.tokenizer), earlier)
    stage = dataset_stage(home, config.data.name, request.digest)
    if not stage.path.exists():
        check_inputs(config.data)
    return Work(stage, request)


def check_cluster(preparation: PreparationConfig) -> None:
    """Raises ConfigError where a Ray cluster is to prepare the text and Ray is not installed."""
    if preparation.ray_address is not None and find_spec("prefect_ray") is None:
        raise ConfigError(
            f"preparation.ray_address={preparation.ray_address!r} needs Ray, which is not installed; "
            "install it with `pip install 'pretune[ray]'` or leave the address empty"
        )


def in_one_part(request: Request, preparation: PreparationConfig) -> bool:
    """Whether one process prepares the text: it is small, or more processes are not wanted."""
    if preparation.ray_address is not None:
        return False
    sizes = [source.get("bytes", 0 if "sample" in source else None) for source in request.identity["source"]["sources"]]
    small = None not in sizes and sum(sizes) <= request.identity["data"]["part_megabytes"] << 20
    return small or preparation.num_processes == 1


def pretrain_work(run: RunLayout, config: Config, dataset: Result) -> Work:
    return Work(run.pretrain(), pretrain_request(config, dataset.input, dataset.manifest))


def examples_work(home: Path, finetune: FinetuneFile) -> Work:
    """Raises DataError for input that is missing or empty, or whose first row cannot be an example."""
    section = f"{finetune.place}examples"
    source = examples_identity(home, finetune.examples, section)
    check_first_rows(finetune.examples, finetune.kind, section)
    request = examples_request(finetune, source, section)
    return Work(dataset_stage(home, finetune.name, request.digest), request)


def finetune_work(home: Path, finetune: FinetuneFile, base: Result, examples: Result, random_init: bool = False) -> Work:
    """In the folder of its attempt, which is called by what the candidate is asked for.

    Raises ConfigError for examples that may be longer than the base can read.
    """
    check_length(finetune, positions_of(base))
    candidate = finetune_request(finetune, base.input, examples.input, False)
    attempt = FinetuneLayout(home, finetune.name).attempt(candidate.digest)
    if random_init:
        return Work(attempt.random_init, finetune_request(finetune, base.input, examples.input, True))
    return Work(attempt.candidate, candidate)


def positions_of(base: Result) -> int | None:
    """The longest text that the model can read, in tokens; None where it has no end, or does not say."""
    if base.manifest.kind == "base":
        return base.manifest.details["max_length"]
    config = base.stage.export / "config.json"
    known = read_json(config) if config.is_file() else {}
    return known.get("max_position_embeddings", known.get("n_positions"))


def evaluate_work(
    finetune: FinetuneFile, results: Results, champion: Version | None = None, best: Version | None = None
) -> Work:
    """`results` has `candidate`, `base`, `examples` and, where the gate asks for it, `random_init`."""
    inputs = {role: result.input for role, result in results.items()}
    request = evaluate_request(finetune, inputs, champion, best)
    return Work(attempt_of(results["candidate"].stage).evaluation(request.digest), request)


def promoted(decision: Manifest) -> bool:
    """Whether an evaluation came out in favour of its candidate."""
    return decision.details.get("decision") == "promote"
