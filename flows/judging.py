"""Judging a candidate against the champion: within a refresh, and at any time for any version."""

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.approval import answered, open_elsewhere
from flows.lifecycle import finetuning
from flows.parameters import ModelName, settled, stop_stages
from flows.walk import do
from tasks.config.finetuning import FinetuneFile
from tasks.evaluate import evaluate_candidate
from tasks.promote import promote_candidate
from tasks.record.errors import ComparisonNeededError, GateError
from tasks.record.files import read_json
from tasks.record.layout import FinetuneLayout, home
from tasks.record.manifest import Manifest, read_request
from tasks.record.outcomes import DECIDED, Came, Outcome, asked_by, decided, note_outcome
from tasks.registry.compared import candidate_of, made_with
from tasks.registry.names import CANDIDATE, registered_version
from tasks.stages.work import Results, promoted

logger = logging.getLogger("pretune")

NOT_APPROVED: dict[str, Came] = {"refused": "Refused", "expired": "Expired"}
COMPARISONS = 5
"""How often a candidate is compared anew because the champion moved in between."""


def judged(settings: FinetuneFile, made: Results) -> Outcome:
    """Compare the candidate with the champion and promote it where it passes; again, where the champion moved meanwhile."""
    version = registered_version(home(), made["candidate"].stage, settings.name, CANDIDATE)
    assert version is not None, "a candidate is registered before it is judged"
    attempt = made["candidate"].stage.path.parent.name
    if (waiting := open_elsewhere(settings.name, attempt)) is not None:
        return waiting
    for _ in range(COMPARISONS):
        decision = evaluate_candidate(settings, made)
        came = {"attempt": attempt, "version": version, "evaluation": decision.stage.path.name}
        if not promoted(decision.manifest):
            return Outcome(came="Rejected", message=f"v{version}: {broken(decision.manifest)}", **came)
        answer = None
        if settings.gate.approval == "required":
            answer = answered(settings, decision, came, gain(decision.manifest))
            if isinstance(answer, Outcome):
                return answer
            came |= {"by": answer.by, "reason": answer.reason or None}
            if answer.decision != "approved":
                return Outcome(came=NOT_APPROVED[answer.decision], message=f"v{version}: {answer.text}", **came)
        try:
            who, why = (answer.by or "refresh", answer.text) if answer else ("refresh", gain(decision.manifest))
            promote_candidate(settings.name, version, decision.manifest, by=who, reason=why)
        except ComparisonNeededError as error:
            logger.info("%-24s %s", settings.name, error)
            continue
        text = f"v{version}: {gain(decision.manifest)}" + (f"; {answer.text}" if answer else "")
        return Outcome(came="Promoted", message=text, **came)
    raise GateError(
        f"the champion of {settings.name} moved {COMPARISONS} times while v{version} was compared; refresh it again"
    )


def broken(decision: Manifest) -> str:
    """The rules that were not kept and had to be."""
    rules = decision.details["rules"]
    return "; ".join(one["sentence"] for one in rules if one["outcome"] == "broken" and one["weight"] == "required")


def gain(decision: Manifest) -> str:
    """What was gained over the champion, with its interval; or the score, where nobody was champion."""
    said, metric = decision.details, decision.details["metric"]
    if said.get("difference") is None:
        return f"{metric.replace('_', ' ')} {decision.metrics[f'candidate_{metric}']:.4f}, the first champion"
    by, low, high = (said[key] for key in ("difference", "difference_low", "difference_high"))
    if metric == "answer_loss":
        return f"{-by:+.4f} nats/token [{-high:.4f}, {-low:.4f}]"
    return f"{100 * by:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def concluded(model: str, flow_run_id: str) -> Outcome | None:
    """What came of the question that this flow run asked, where that was settled without it, such as by `pretune approve`."""
    layout = FinetuneLayout(home(), model)
    asked = asked_by(layout, flow_run_id)
    return decided(layout, layout.path / asked.attempt) if asked else None


@flow(name="evaluate", flow_run_name="evaluate {model} v{version}", on_cancellation=[stop_stages])
def evaluate(model: ModelName, version: int, against: int | None = None) -> State[Any]:
    """Compare a version with the champion, or with another version, on the version's own examples; nothing is promoted.

    Args:
        model: Name of the registered model, which is that of its fine-tune.
        version: The version that is judged.
        against: The version that it is compared with; empty means the champion.
    """
    settings, made = recalled(model, version)
    decision = evaluate_candidate(settings, made, against)
    name = "Passed" if promoted(decision.manifest) else "Rejected"
    return Completed(name=name, message=f"v{version}: {broken(decision.manifest) or gain(decision.manifest)}")


@flow(name="promote", flow_run_name="promote {model} v{version}", on_cancellation=[stop_stages])
def promote(model: ModelName, version: int) -> State[Any]:
    """Compare a version with the champion of now, and promote it where it passes the gate.

    Args:
        model: Name of the registered model, which is that of its fine-tune.
        version: The version that is to become champion.
    """
    settings, made = recalled(model, version)
    layout = FinetuneLayout(home(), model)
    if (earlier := concluded(model, flow_run.id)) is not None:
        return Completed(name=earlier.came, message=earlier.message)
    outcome = judged(settings, made)
    if asked_by(layout, flow_run.id) is not None and outcome.came in DECIDED:
        note_outcome(layout, outcome.model_copy(update={"flow_run_id": flow_run.id}))
    return Completed(name=outcome.came, message=outcome.message)


def recalled(model: str, version: int) -> tuple[FinetuneFile, Results]:
    """The settings and results that a version was made with: its recipe, and the gate of today.

    Raises the errors of `candidate_of` and `made_with`.
    """
    made = made_with(candidate_of(home(), model, version))
    values = read_json(FinetuneLayout(home(), model).settings) | read_request(made["candidate"].stage).identity["finetune"]
    settings = settled(FinetuneFile.model_validate(values))
    return settings, do(finetuning(home(), settings), made)
