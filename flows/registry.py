"""What the words for registered models do: rollback, history, registry. MLflow is asked only where it must be."""

import argparse
import getpass
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.record.errors import ConfigError
from tasks.record.layout import home
from tasks.registry.records import describe, models_with_history
from tasks.registry.records import history as moves_of


def rollback(asked: argparse.Namespace) -> int:
    from tasks.registry.aliases import rollback

    with quiet_mlflow():
        move = rollback(home(), asked.model, to=asked.to, reason=asked.reason or "rollback", by=user())
    print(describe(move))
    return 0


def history(asked: argparse.Namespace) -> int:
    """Who held which alias, when and why, by the record of this home."""
    moves = moves_of(home(), asked.model)
    if not moves:
        there = ", ".join(models_with_history(home())) or "none"
        raise ConfigError(f"no alias of {asked.model!r} was ever moved in {home()}; models with a history: {there}")
    if asked.json:
        print(json.dumps([move.model_dump(mode="json") for move in moves], indent=1))
        return 0
    for move in moves:
        print(describe(move) + (f" [blessing {move.blessing[:12]}]" if move.blessing else ""))
    return 0


def registry(asked: argparse.Namespace) -> int:
    """Exit code 1 where something differs still."""
    from tasks.registry.repair import repair

    with quiet_mlflow():
        findings = repair(home(), asked.model, asked.apply)
    for finding in findings:
        print(f"{finding.model}: {finding.found}; {'done: ' if finding.done else ''}{finding.remedy}")
    left = [finding for finding in findings if not finding.done]
    if not findings:
        print("MLflow has what the records of this home have")
    elif left and not asked.apply:
        print("Nothing was changed; to put it right, add --apply")
    return 1 if left else 0


def user() -> str:
    """Who types the command; a container may know no name for its user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "command line"


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """MLflow's migrations report themselves at INFO on standard error."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    yield
