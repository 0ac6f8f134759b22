"""What `pretune lineage` prints: from a file or a document down to the aliases, as an indented tree."""

from collections.abc import Iterator

from tasks.audit.lineage import DatasetUse, Lineage, StageUse

KINDS = {"prepare": "data set", "examples": "examples", "pretrain": "pre-training", "finetune": "fine-tune"}
MAX_NAMES = 6
"""Checkpoints that are named; of more, the first and the last ones."""


def text_lineage(lineage: Lineage) -> str:
    lines = [headline(lineage)]
    for dataset in lineage.datasets:
        lines += ["", *dataset_lines(dataset)]
    return "\n".join([*lines, *(f"\nNote: {note}" for note in lineage.notes)])


def headline(lineage: Lineage) -> str:
    """The answer in one sentence."""
    what = {"source": "File", "document": "Document", "dataset": "Data set"}[lineage.asked]
    asked = f"{what} {lineage.given}" + (
        f" (SHA-256 {lineage.digest[:12]})" if lineage.digest not in (None, lineage.given) else ""
    )
    if lineage.asked == "dataset":
        stages = sum(len(dataset.stages) for dataset in lineage.datasets)
        return f"{asked}: {stages} {'training was' if stages == 1 else 'trainings were'} given it."
    if not lineage.datasets:
        return f"{asked} is in none of the {lineage.num_datasets} finished data sets."
    return f"{asked} is in {len(lineage.datasets)} of the {lineage.num_datasets} finished data sets."


def dataset_lines(dataset: DatasetUse) -> Iterator[str]:
    splits = " and ".join(dataset.splits)
    yield f"{KINDS[dataset.kind]} {dataset.dataset}  (split {splits}, digest {dataset.digest[:12]})"
    for place in dataset.places:
        yield f"  as {place}"
    if not dataset.stages:
        yield "  nothing was trained on it"
    for stage in dataset.stages:
        yield from stage_lines(stage, "  ")


def stage_lines(stage: StageUse, indent: str) -> Iterator[str]:
    yield f"{indent}{KINDS[stage.kind]} {stage.stage}: {stage.use}, {progress(stage)}"
    inner = indent + "  "
    for title, names in (("checkpoints", stage.checkpoints), ("milestones", stage.milestones)):
        if names:
            yield f"{inner}{title}: {shortened(names)}"
    if stage.exported:
        yield f"{inner}model: {stage.stage}/export"
    for one in stage.versions:
        held = f"  <- {', '.join(one.aliases)}" if one.aliases else ""
        yield f"{inner}registered: {one.model} version {one.version} ({one.label}){held}"
    for later in stage.stages:
        yield from stage_lines(later, inner)


def progress(stage: StageUse) -> str:
    if not stage.done:
        return "not finished"
    return (
        "done"
        + (f" at step {stage.step:,}" if stage.step else "")
        + (f", {stage.tokens_seen:,} tokens" if stage.tokens_seen else "")
    )


def shortened(names: tuple[str, ...]) -> str:
    if len(names) <= MAX_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:2])} ... {', '.join(names[-2:])} ({len(names)} in all)"
