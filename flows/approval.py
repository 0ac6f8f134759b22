"""Asking a person about a candidate that passed the gate: the flow run waits, without a process, for an answer in its form."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Literal
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, Pause
from prefect.input import RunInput, read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import flow_run
from prefect.states import Paused
from prefect.utilities.engine import propose_state_sync
from prefect.utilities.urls import url_for
from pydantic import Field, create_model

from flows.parameters import started_by
from flows.report import MACHINE_LEARNING, compared, finetune_rows, judged_report, own_command
from tasks.config.finetuning import FinetuneFile
from tasks.orchestration.stage import artifact_key
from tasks.record.approvals import Approval, keep_approval, read_approval
from tasks.record.layout import FinetuneLayout, home
from tasks.record.outcomes import Outcome, asked_by, note_outcome, open_question
from tasks.services.environment import page
from tasks.stages.work import Result

HOW = "; to answer until "
WAITING: Literal["Waiting for approval"] = "Waiting for approval"


class Answer(RunInput):
    """The form. A subclass of it has the names that may answer."""

    decision: Literal["approve", "refuse"] = Field(
        title="Decision", description="approve: it becomes champion; refuse: it does not.", json_schema_extra={"position": 0}
    )
    by: str = Field(title="Your name", min_length=1, description="Who decides.", json_schema_extra={"position": 1})
    reason: str = Field("", title="Reason", description="Why; kept with the decision.", json_schema_extra={"position": 2})

    @property
    def approval(self) -> Approval:
        decision: Literal["approved", "refused"] = "approved" if self.decision == "approve" else "refused"
        return Approval(decision=decision, by=self.by, reason=self.reason.strip())


def open_elsewhere(model: str, attempt: str) -> Outcome | None:
    """Skipped, where another flow run asks about this attempt and its time has not run out."""
    question = open_question(FinetuneLayout(home(), model), attempt)
    if question is None or question.flow_run_id == flow_run.id or question.ran_out or abandoned(question):
        return None
    return Outcome(came="Skipped", message=f"v{question.version} waits for approval since {question.time}", attempt=attempt)


def abandoned(question: Outcome) -> bool:
    """Whether the flow run that asks was cancelled, or failed, while it waited: its form takes no answer any more."""
    if question.flow_run_id is None:
        return False
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(question.flow_run_id)).state
        except ObjectNotFound:
            return False  # asked by a flow run of another server
    return state is not None and (state.is_cancelled() or state.is_failed() or state.is_crashed())


def answered(settings: FinetuneFile, decision: Result, came: dict[str, Any], gain: str) -> Approval | Outcome:
    """The answer of a person, or what the refresh ends with where there is none.

    A flow run of a deployment that has no answer yet ends here, by Pause, which Prefect takes for a wait: its process is gone,
    and the worker is free. When it is resumed, it begins from the top, finds all stages done, and comes here again. A flow run
    that cannot be started again, such as that of a command, ends as waiting; `pretune approve` goes on where it ended.
    """
    layout = FinetuneLayout(home(), settings.name)
    mine = asked_by(layout, flow_run.id)
    asked = mine or open_question(layout, came["attempt"])
    if asked is not None and (asked.evaluation != came["evaluation"] or (asked != mine and abandoned(asked))):
        asked = mine = None  # against another champion, or in a form that is gone: a new question
    known = read_approval(decision.stage)
    if known is not None and (known.decision != "expired" or mine is not None):
        return known
    if asked is not None and asked.ran_out:
        return keep_approval(decision.stage, Approval(decision="expired"))
    question = asked or new_question(settings, came, gain)
    if asked is None:
        note_outcome(layout, question)
        show(settings, decision, question, "waits for an answer")
    if not can_wait():
        return question
    answer = waited_for(form(settings, decision, question), question)
    approval = keep_approval(decision.stage, answer.approval if answer else Approval(decision="expired"))
    show(settings, decision, question, approval.text)
    return approval


def show(settings: FinetuneFile, decision: Result, question: Outcome, answer: str) -> None:
    """An artifact of the flow run: what was asked, and what was said."""
    text = f"## {answer[0].upper()}{answer[1:]}\n\n{blessing(settings, decision, question)}"
    create_markdown_artifact(text, key=artifact_key(f"approval-{settings.name}"), description=answer)


def can_wait() -> bool:
    """Whether this flow run can be started again by the worker: it is one of a deployment, and not inside of another one."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and run.deployment_id is not None and run.parent_task_run_id is None


def new_question(settings: FinetuneFile, came: dict[str, Any], gain: str) -> Outcome:
    until = (datetime.now(UTC) + timedelta(days=settings.gate.approval_days)).isoformat(timespec="seconds")
    if can_wait():
        address = url_for("flow-run", flow_run.id) or "the page of this run"
        how = f"open {address} and choose Resume in the menu behind its three dots"
    else:
        how = f"type `{own_command()} approve {settings.name} {came['version']}`, or `refuse` in place of `approve`"
    message = f"v{came['version']}: {gain}{HOW}{until}, {how}"
    return Outcome(came=WAITING, message=message, until=until, **started_by(), **came)


def waited_for(form: type[Answer], question: Outcome) -> Answer | None:
    """What was given in the form, in a flow run that was resumed; raises Pause in one that has to wait for it.

    None where the time has run out. As Prefect's own `suspend_flow_run`, whose state has neither a name of ours nor a message,
    and whose time-out makes the run fail.
    """
    run_id, digest = UUID(flow_run.id), question.evaluation.rpartition("-")[2]
    for turn in count():
        key = f"approval-{digest}-{turn}"
        keys = keyset_from_base_key(key)
        if (given := read_flow_run_input(keys["response"])) is not None:
            return form.model_validate(given)
        if question.ran_out:
            return None
        if read_flow_run_input(keys["schema"]) is None:
            form.save(keys)
        details = {"run_input_keyset": keys}
        wait: State[Any] = Paused(name=WAITING, message=question.message, reschedule=True, pause_key=key, state_details=details)
        with get_client(sync_client=True) as client:
            state = propose_state_sync(client, wait, flow_run_id=run_id)
        if not state.is_running():  # else it waited with this key before, and was started again without an answer
            raise Pause(state=state)
    raise AssertionError("count() has no end")


def form(settings: FinetuneFile, decision: Result, question: Outcome) -> type[Answer]:
    """The form of this question, which shows the blessing above its fields."""
    asked = Answer
    if settings.gate.approvers:  # a select, which the server holds to its names
        choice = Field(title="Your name", json_schema_extra={"position": 1, "enum": list(settings.gate.approvers)})
        asked = create_model("Answer", __base__=Answer, by=(str, choice))
    return asked.with_initial_data(description=blessing(settings, decision, question))


def blessing(settings: FinetuneFile, decision: Result, question: Outcome) -> str:
    """Markdown: what the gate found, and where the version is shown."""
    report = judged_report(settings, question, decision.manifest)
    lines = [f"**{settings.name} version {question.version}** passed the gate, {compared(report)}.", ""]
    found = question.message.partition(HOW)[0]  # whoever reads this is where it can be answered
    lines += [f"{found}. It can be answered until {question.until}.", ""]
    lines += ["| | |", "|---|---|", *(f"| {title} | {value} |" for title, value in finetune_rows(report)), ""]
    lines += [f"- {reason}" for reason in report.reasons]
    if mlflow := page(home(), "mlflow"):
        address = f"{mlflow}/#/models/{settings.name}/versions/{question.version}{MACHINE_LEARNING}"
        lines += ["", f"[Version {question.version} in MLflow]({address})"]
    return "\n".join(lines)
