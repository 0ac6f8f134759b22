"""Prefect task: a blessed candidate becomes champion, and the record that it did."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.config import Config
from tasks.config.training import FinetuneConfig
from tasks.record.errors import GateError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout, home
from tasks.record.manifest import Manifest, write_manifest
from tasks.registry.names import CANDIDATE, finetuned_model, registered_version
from tasks.registry.publish import logger
from tasks.stages.work import Result, promote_work


@task(name="promote", task_run_name="promote {finetune.name}", cache_policy=NO_CACHE)
def promote_candidate(config: Config, name: str, finetune: FinetuneConfig, candidate: Result, decision: Result) -> Result:
    """Raises GateError if the champion is no longer the one that the candidate was compared with."""
    model = finetuned_model(config, finetune)
    work = promote_work(RunLayout(home(), name), finetune, model, candidate, decision)
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
