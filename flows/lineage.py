"""`pretune lineage`: from data down to the aliases, as an indented tree; which other question was asked, and its answer."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.audit.lineage import (
    DatasetUse,
    Lineage,
    StageUse,
    lineage_of_dataset,
    lineage_of_document,
    lineage_of_source,
)
from tasks.record.errors import ConfigError
from tasks.record.files import write_atomically
from tasks.record.layout import home

KINDS = {
    "prepare": "data set",
    "examples": "examples",
    "base": "base",
    "pretrain": "pre-training",
    "finetune": "fine-tune",
}
MAX_NAMES = 6
"""Checkpoints that are named; of more, the first and the last ones."""


def lineage(asked: argparse.Namespace) -> int:
    """Exit code 0 also where nothing is found: 1 would look like an answer to a script when the command broke."""
    check_question(asked)
    if asked.model is not None:
        return ancestry(asked)
    found = asked_for(asked)
    if asked.withdrawn is not None:
        return withdrawn(asked, found)
    print(found.model_dump_json(indent=1) if asked.json else text_lineage(found))
    return 0


def check_question(asked: argparse.Namespace) -> None:
    """Raises ConfigError for flags that do not go together."""
    file = asked.withdrawn if isinstance(asked.withdrawn, str) else None
    subjects = [one for one in (asked.model, asked.source, asked.document, asked.dataset, file) if one is not None]
    if len(subjects) != 1:
        given = f"two: {' and '.join(map(repr, subjects))}" if subjects else "none"
        raise ConfigError(
            "lineage takes one of MODEL, --source FILE, --document FILE, --dataset NAME or --withdrawn FILE, and was given "
            f"{given}; name one"
        )
    for flag, wrong, needs in (
        ("--withdrawn", asked.withdrawn is not None and asked.model is not None, "a file, a document or a data set"),
        ("--retrain", asked.retrain and asked.withdrawn is None, "--withdrawn"),
        ("--html", asked.html is not None and asked.model is None, "a model, such as demo-topic@champion"),
    ):
        if wrong:
            raise ConfigError(f"lineage {flag} goes with {needs}; add it, or leave {flag} out")


def asked_for(asked: argparse.Namespace) -> Lineage:
    if asked.document is not None:
        return lineage_of_document(home(), asked.document)
    if asked.dataset is not None:
        return lineage_of_dataset(home(), asked.dataset)
    return lineage_of_source(home(), asked.source if asked.source is not None else asked.withdrawn)


def ancestry(asked: argparse.Namespace) -> int:
    """From a version up to its files."""
    from flows.ancestry import text_ancestry
    from tasks.audit.ancestry import ancestry_of

    found = ancestry_of(home(), asked.model)
    if asked.html is not None:
        from flows.ancestry_page import page

        path = Path(asked.html)
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--html={asked.html!r} lies in no folder that there is; make {path.absolute().parent}")
        write_atomically(path, page(found, str(home())).encode())
    print(found.model_dump_json(indent=1) if asked.json else text_ancestry(found))
    return 0


def withdrawn(asked: argparse.Namespace, found: Lineage) -> int:
    """What contains it, in the order in which to make it again; and what could be started was, where that was asked for."""
    from flows.withdrawal import retrain, text_retrained, text_withdrawal
    from tasks.audit.withdrawal import withdrawal

    listed = withdrawal(home(), found)
    if not asked.json:
        print(text_withdrawal(listed, found))
    if not asked.retrain:
        if asked.json:
            print(listed.model_dump_json(indent=1))
        return 0
    done = retrain(listed, found)
    again = lineage_of_source(home(), found.digest) if found.asked == "source" and found.digest else asked_for(asked)
    now = withdrawal(home(), again)
    if asked.json:
        print(json.dumps(now.model_dump(mode="json") | {"retrained": [one.model_dump(mode="json") for one in done]}, indent=1))
    else:
        print(f"\n{text_retrained(done, now)}")
    return 0


def text_lineage(lineage: Lineage) -> str:
    lines = [headline(lineage)]
    for dataset in (*lineage.datasets, *lineage.bases):
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
    looked = [f"{lineage.num_datasets} finished data sets"]
    held = [str(len(lineage.datasets) or "none")]
    if lineage.num_bases:
        looked.append(f"{lineage.num_bases} bases")
        held.append(str(len(lineage.bases) or "none"))
    parts = [f"{number} of the {all_of_them}" for number, all_of_them in zip(held, looked, strict=True)]
    return f"{asked} is in {' and in '.join(parts)}."


def dataset_lines(dataset: DatasetUse) -> Iterator[str]:
    splits = f"split {' and '.join(dataset.splits)}, " if dataset.splits else ""
    yield f"{KINDS[dataset.kind]} {dataset.dataset}  ({splits}digest {dataset.digest[:12]})"
    for place in dataset.places:
        yield f"  as {place}"
    if not dataset.stages:
        yield f"  nothing {'starts from' if dataset.kind == 'base' else 'was trained on'} it"
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
    if stage.gone:
        return "done, its folder is gone"
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
