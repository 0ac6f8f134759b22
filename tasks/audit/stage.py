"""All that can be proved about one training stage afterwards, from its own files and those of its inputs."""

from pathlib import Path

from tasks.audit.consumption import Consumption, check_consumption
from tasks.audit.files import FileCheck
from tasks.audit.history import History, read_history
from tasks.audit.order import Order, order_of
from tasks.record.errors import ConfigError, IntegrityError
from tasks.record.files import Record, read_json
from tasks.record.journal import CHAIN_START
from tasks.record.layout import StageLayout
from tasks.record.lock import owner
from tasks.record.manifest import Manifest, Request, read_request


class SourceUse(Record):
    """How often the samples of one source were seen."""

    source: str
    """Empty where the data set is one."""
    samples: int
    fewest: int
    most: int


class StageProof(Record):
    """What holds about a stage and what does not."""

    stage: str
    kind: str
    done: bool
    steps: int
    tokens_seen: int
    unit: str
    """What its samples are."""
    uses: tuple[SourceUse, ...]
    attempts: int
    undone_steps: int
    """Taken and lost in an interruption, or left behind by a rollback; they do not count."""
    chain: str
    checkpoints: int
    milestones: int
    files: int
    size_bytes: int
    consumption_failures: tuple[str, ...]
    """Why it is not proved that the steps consumed what they should have."""
    record_failures: tuple[str, ...]
    """Where request, manifest and checkpoints do not agree with the journal."""
    file_failures: tuple[str, ...]
    """What is damaged or gone."""

    @property
    def failures(self) -> tuple[str, ...]:
        return (*self.consumption_failures, *self.record_failures, *self.file_failures)


def prove_stage(stage: StageLayout) -> StageProof:
    """Read everything of the stage. Raises IntegrityError only where its request cannot be read."""
    request, history = read_request(stage), read_history(stage.journal)
    manifest, unreadable = manifest_of(stage)
    order, consumption, unknown = consumption_of(request, history)
    records = [*unreadable, *record_failures(stage, request, manifest, history, consumption)]
    check, folders = FileCheck(), [Path(entry.path) for entry in request.inputs.values()]
    folders += [stage.path] if manifest else []
    folders += saved(stage.checkpoints) + saved(stage.milestones)
    # A training that goes on deletes old checkpoints meanwhile.
    damaged = [s for path in folders if (s := check.folder(path)) and not (owner(stage) is not None and not path.exists())]
    return StageProof(
        stage=stage.path.name,
        kind=request.kind,
        done=manifest is not None,
        steps=len(history.steps),
        tokens_seen=consumption.tokens_seen if consumption else 0,
        unit=order.unit if order else "samples",
        uses=uses(order, consumption) if order and consumption else (),
        attempts=len(history.attempts),
        undone_steps=history.undone,
        chain=last_chain(history),
        checkpoints=len(saved(stage.checkpoints)),
        milestones=len(saved(stage.milestones)),
        files=check.files,
        size_bytes=check.size_bytes,
        consumption_failures=unknown + (consumption.failures if consumption else ()),
        record_failures=tuple(records),
        file_failures=tuple(damaged),
    )


def manifest_of(stage: StageLayout) -> tuple[Manifest | None, list[str]]:
    """The manifest, None while the stage is not done, and why it cannot be read."""
    try:
        return (Manifest.read(stage.manifest) if stage.manifest.exists() else None), []
    except IntegrityError as error:
        return None, [str(error)]


def consumption_of(request: Request, history: History) -> tuple[Order | None, Consumption | None, tuple[str, ...]]:
    """The order and what it says about the history, or a sentence why there is none."""
    try:
        order = order_of(request)
        return order, check_consumption(history, order), ()
    except (IntegrityError, ConfigError, OSError, ValueError, LookupError) as error:
        return None, None, (f"what the steps should have read cannot be known: {error}",)


def record_failures(
    stage: StageLayout, request: Request, manifest: Manifest | None, history: History, consumption: Consumption | None
) -> list[str]:
    """Whether the manifest and every checkpoint stand where the journal says, with the chain that it has there."""
    failures = []
    proved = consumption.chains if consumption else ()
    if manifest is not None:
        kept = manifest.details.get("chain")
        failures += mismatches("manifest.json", manifest, kept, request, history, proved)
        if manifest.step != len(history.steps):
            failures.append(f"manifest.json is of step {manifest.step} and the journal ends with step {len(history.steps)}")
    for path in saved(stage.checkpoints):
        try:
            kept = read_json(path / "state.json")["chain"]
            failures += mismatches(path.name, Manifest.read(path / "manifest.json"), kept, request, history, proved)
        except (OSError, ValueError, KeyError, TypeError, IntegrityError) as error:
            if path.exists() or owner(stage) is None:
                failures.append(f"{path.name} cannot be compared with the journal: {error!r}")
    failures += [
        f"{path.name} of the milestones belongs to another request"
        for path in saved(stage.milestones)
        if (found := manifest_of(StageLayout(path))[0]) and found.request_digest != request.digest
    ]
    return failures


def mismatches(
    name: str, manifest: Manifest, kept: str | None, request: Request, history: History, proved: tuple[str, ...]
) -> list[str]:
    """Where one record (a stage's or checkpoint's manifest with its chain) disagrees with the journal."""
    failures, step = [], manifest.step or 0
    if manifest.request_digest != request.digest:
        failures.append(f"{name} was made for another request than request.json")
    if step > len(history.steps):
        return [*failures, f"{name} is of step {step}, which the journal does not have"]
    line = history.steps[step - 1] if step else None
    written = CHAIN_START if step == 0 else line and line.chain
    if kept != (proved[step - 1] if 0 < step <= len(proved) else written):
        failures.append(f"the hash chain of {name} is not the one that the journal has at step {step}")
    if line and manifest.tokens_seen != line.tokens_seen:
        failures.append(f"tokens_seen of {name} is {manifest.tokens_seen} and in the journal at step {step} {line.tokens_seen}")
    return failures


def uses(order: Order, consumption: Consumption) -> tuple[SourceUse, ...]:
    found, start = [], 0
    for number, size in enumerate(order.sizes):
        times = consumption.times_seen[start : start + size]
        name = order.sources[number] if order.sources else ""
        found.append(SourceUse(source=name, samples=size, fewest=int(times.min()), most=int(times.max())))
        start += size
    return tuple(found)


def last_chain(history: History) -> str:
    last = history.steps[-1] if history.steps else None
    return (last.chain if last else None) or CHAIN_START


def saved(folder: Path) -> list[Path]:
    """Committed checkpoints or milestones, oldest first."""
    return sorted(folder.glob("step_*"))
