"""What `approve` and `refuse` do: answer for a person at the command line, with a server or without."""

import argparse
import getpass
import logging
import time
from typing import Literal
from uuid import UUID

from flows.registry import quiet_mlflow
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import parsed
from tasks.record.approvals import Approval, keep_approval
from tasks.record.errors import ComparisonNeededError, ConfigError, GateError
from tasks.record.files import read_json
from tasks.record.layout import FinetuneLayout, StageLayout, home
from tasks.record.manifest import Manifest
from tasks.record.outcomes import Outcome, decided, note_outcome, read_outcomes
from tasks.services.servers import use_running_server

logger = logging.getLogger("pretune")

FOLLOW_SECONDS = 120.0
"""How long a flow run that was resumed is watched; the worker needs some seconds to start it."""


def approve(asked: argparse.Namespace) -> int:
    return answer(asked, "approved")


def refuse(asked: argparse.Namespace) -> int:
    return answer(asked, "refused")


def answer(asked: argparse.Namespace, decision: Literal["approved", "refused"]) -> int:
    """Resume the flow run that waits, which does the rest; where none waits, do it here."""
    layout = FinetuneLayout(home(), asked.model)
    question = question_about(layout, asked.version)
    given = Approval(decision=decision, by=answering(layout, asked.by), reason=asked.reason.strip())
    if use_running_server(home()) and resumed(question, given):
        print(f"{asked.model} v{asked.version}: {given.text}")
        outcome = followed(layout, question)
        print(outcome.text if outcome else f"its flow run {question.flow_run_id} goes on in the worker of `pretune up`")
        return 0
    with quiet_mlflow():
        print(settled_here(layout, question, given).text)
    return 0


def question_about(layout: FinetuneLayout, version: int) -> Outcome:
    """The open question; raises GateError that says what there is instead."""
    about = [one for one in read_outcomes(layout) if one.version == version and one.came != "Skipped"]
    if not about:
        waiting = sorted({one.version for one in read_outcomes(layout) if one.came == "Waiting for approval" and one.version})
        known = ", ".join(str(number) for number in waiting) or "none"
        raise GateError(f"nobody was asked about {layout.name} version {version}; versions that were asked about: {known}")
    question = about[-1]
    if question.came != "Waiting for approval":
        raise GateError(f"{layout.name} v{version} does not wait for approval; it came to: {question.text} ({question.time})")
    if question.ran_out:
        raise GateError(
            f"the time for an answer about {layout.name} v{version} ran out at {question.until}; "
            f"`pretune promote {layout.name} {version}` compares it anew and asks again"
        )
    return question


def answering(layout: FinetuneLayout, by: str | None) -> str:
    """The name of who answers; raises ConfigError for one who may not."""
    name = by or getpass.getuser()
    approvers = parsed(FinetuneFile, read_json(layout.settings)).gate.approvers
    if approvers and name not in approvers:
        raise ConfigError(f"--by={name} is not among gate.approvers; give one of: {', '.join(approvers)}")
    return name


def resumed(question: Outcome, given: Approval) -> bool:
    """Whether the flow run that asked waits, and was given the answer as its form gives it."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    if question.flow_run_id is None:
        return False
    values = {"decision": "approve" if given.decision == "approved" else "refuse", "by": given.by, "reason": given.reason}
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(question.flow_run_id))
        except ObjectNotFound:
            return False
        if run.state is None or not run.state.is_paused():
            return False
        return client.resume_flow_run(run.id, run_input=values).status.value == "ACCEPT"


def followed(layout: FinetuneLayout, question: Outcome) -> Outcome | None:
    """What comes of it, if that is soon."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while time.monotonic() < deadline:
        later = read_outcomes(layout)[read_outcomes(layout).index(question) + 1 :]
        found = next((one for one in later if one.version == question.version and one.came != "Skipped"), None)
        if found is not None:
            return found
        time.sleep(0.5)
    return None


def settled_here(layout: FinetuneLayout, question: Outcome, given: Approval) -> Outcome:
    """Write the answer down and do what it says; a flow run that waits finds that done.

    Raises GateError where the champion moved since: what was approved is the comparison with another one.
    """
    from tasks.registry.aliases import promote

    assert question.version is not None
    evaluation = StageLayout(layout.path / question.attempt / question.evaluation)
    decision = Manifest.read(evaluation.manifest)
    stands = keep_approval(evaluation, given)
    came = {"attempt": question.attempt, "version": question.version, "evaluation": question.evaluation}
    said = {"by": stands.by, "reason": stands.reason or None, "flow_run_id": question.flow_run_id}
    if stands.decision != "approved":
        outcome = Outcome(came="Refused", message=f"v{question.version}: {stands.text}", **came, **said)
    else:
        try:
            promote(home(), layout.name, question.version, decision, by=stands.by or "command line", reason=stands.text)
        except ComparisonNeededError as error:
            raise GateError(
                f"{error}: `pretune promote {layout.name} {question.version}` compares it anew and asks again"
            ) from None
        outcome = Outcome(came="Promoted", message=f"v{question.version}: {stands.text}", **came, **said)
    if decided(layout, layout.path / question.attempt) is None:
        note_outcome(layout, outcome)
    return outcome
