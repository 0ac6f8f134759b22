"""Flow: a registered model over a whole file, whose answers are written down."""

import json
import logging
import os
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.using import OFFLINE, Model, absolute, named_model, prediction_command
from tasks.data.sources.texts import STANDARD_INPUT, text_units
from tasks.orchestration.stage import artifact_key
from tasks.record.children import USER_ERROR_EXIT_CODE
from tasks.record.errors import ConfigError, DataError, StageError
from tasks.record.layout import REPOSITORY, home, predictions_folder
from tasks.registry.card import cell, table

logger = logging.getLogger("pretune")

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 200


@flow(name="predict", flow_run_name="{model}")
def predict(model: str, path: str, column: str | None = None, output: str | None = None) -> dict[str, Any]:
    """Ask a registered model about every text of a file; returns its version, the file of answers and the number of each label.

    Args:
        model: NAME@ALIAS, NAME/VERSION, or NAME for its champion.
        path: A file, folder or glob: text (a text a line), jsonl, csv or parquet, told by the ending.
        column: Where the text is in a row; empty means text, or prompt for a model that answers.
        output: File of the answers, as lines of JSON; empty means one in the folder predictions of $PRETUNE_HOME, and so does a
            name without a folder.
    """
    if path == STANDARD_INPUT:
        raise ConfigError("path='-' is standard input, which a flow does not have; give a file")
    source = absolute(path)
    text_units(source, None, "path")
    asked = named_model(model)
    answers = answers_file(asked, source, output)
    ask(asked, source, column, answers)
    found = counted(answers)
    create_markdown_artifact(
        summary(asked, source, answers, found),
        key=artifact_key(f"predict-{asked.version.name}"),
        description=f"What {asked.name} says about {Path(source).name}",
    )
    return {
        "model": asked.name,
        "output": str(answers),
        "rows": found.total(),
        "labels": dict(found) if "" not in found else {},
    }


def answers_file(model: Model, source: str, output: str | None) -> Path:
    """A name that was given, or one that says who answered what and when."""
    if output is not None:
        return predictions_folder(home()) / Path(output).expanduser()
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return predictions_folder(home()) / f"{Path(source).stem}-{model.version.name}-v{model.version.version}-{now}.jsonl"


@task(name="ask the model", task_run_name="ask {model.name}", cache_policy=NO_CACHE)
def ask(model: Model, source: str, column: str | None, answers: Path) -> None:
    """In a process of its own. Raises DataError for an input that cannot be used."""
    command = prediction_command(model, source, None, column, answers, {})
    done = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | OFFLINE, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == USER_ERROR_EXIT_CODE:
        raise DataError(said[-1].removeprefix("pretune: "))
    if done.returncode != 0:
        raise StageError(f"{model.name} could not be asked: {said[-1]}")
    logger.info("%s: %s", model.name, said[-1])


def counted(answers: Path) -> Counter[str]:
    """Rows by their label, all of them under the empty one where they are answers."""
    with answers.open(encoding="utf-8") as file:
        return Counter(json.loads(line).get("label", "") for line in file)


def summary(model: Model, source: str, answers: Path, found: Counter[str]) -> str:
    """For a person: how often each label was given, and the first rows."""
    parts = [f"{model.name} answered {found.total():,} rows of `{source}`; all of it is in `{answers}`."]
    if "" not in found:
        shares = [(cell(label), f"{number:,} ({number / found.total():.1%})") for label, number in found.most_common()]
        parts.append(table(("label", "rows"), shares))
    parts.append(table(("text", "answer"), first_rows(answers)))
    return "\n\n".join(parts)


def first_rows(answers: Path) -> list[tuple[str, str]]:
    rows = []
    with answers.open(encoding="utf-8") as file:
        for _, line in zip(range(SHOWN_ROWS), file, strict=False):
            row = json.loads(line)
            said = f"{row['label']} ({row['probability']:.3f})" if "label" in row else row["answer"]
            rows.append((cell(row.get("text", row.get("prompt"))[:SHOWN_CHARACTERS]), cell(said[:SHOWN_CHARACTERS])))
    return rows
