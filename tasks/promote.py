"""Prefect task: a blessed candidate becomes champion."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.orchestration.events import say_new_base
from tasks.record.layout import home
from tasks.record.manifest import Manifest
from tasks.registry.publish import logger
from tasks.registry.records import Move


@task(name="promote", task_run_name="promote {model} version {version}", cache_policy=NO_CACHE)
def promote_candidate(model: str, version: int, decision: Manifest, by: str, reason: str | None = None) -> Move:
    """Raises GateError if the champion is no longer the one that the candidate was compared with."""
    from tasks.registry.aliases import promote

    move = promote(home(), model, version, decision, by=by, reason=reason)
    say_new_base(f"models:/{model}@{move.alias}")
    logger.info("%-24s %s version %d is champion", "promote", model, version)
    return move
