"""Prefect task: a blessed candidate becomes champion, and the record that it did."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.record.errors import GateError
from tasks.record.files import write_json
from tasks.record.layout import home
from tasks.record.manifest import Manifest, write_manifest
from tasks.registry.names import CANDIDATE, registered_version
from tasks.registry.publish import logger
from tasks.stages.work import Result, Results, Stage


@task(name="promote", task_run_name="promote {stage.finetune}", cache_policy=NO_CACHE)
def promote_candidate(stage: Stage, made: Results) -> Result:
    """Raises GateError if the champion is no longer the one that the candidate was compared with."""
    model, candidate, decision = stage.model, made["candidate"], made["decision"]
    work = stage.work(made)
    name = work.stage.path.parent.name
    if (done := work.result()) is not None:
        logger.info("%-24s skipped: done on %s", work.stage.path.name, done.manifest.created_at)
        return done
    version = registered_version(home(), candidate.stage, model, CANDIDATE)
    if version is None:
        raise GateError(
            f"{candidate.stage.path.name} of run {name!r} is not registered as {model}; run `finetune` for it again"
        )
    from tasks.registry.aliases import promote

    move = promote(home(), model, version, decision.manifest, by=f"run {name}")
    write_json(work.stage.request, work.request)
    manifest = Manifest(
        kind="promote",
        request_digest=work.request.digest,
        inputs=work.request.inputs,
        metrics={"version": version, "previous_version": move.from_version},
        details={"model": model, "alias": move.alias, "reason": move.reason},
    )
    logger.info("%-24s %s version %d is champion", work.stage.path.name, model, version)
    return Result(work.stage, write_manifest(work.stage.path, manifest))
