"""Doing one stage under Prefect: skip it, start it or join it, show its progress, pass on a cancellation, read its manifest."""

import base64
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

from tasks.data.card.card import CARD_FILE, CARD_PLOT, embedded
from tasks.launch.stage import follow, request_stop, start_or_attach
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import StageLayout
from tasks.record.progress import Progress, ProgressReader, duration
from tasks.stages.work import Result, Work

logger = logging.getLogger("pretune")

LINE_SECONDS = 10.0
ARTIFACT_SECONDS = 3.0
CURVE_SECONDS = 30.0
CANCELLATION_SECONDS = 5.0
CHART_STYLE = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#1f77b4"}}}}%%'
"""Mermaid's own first colour cannot be seen on the page's background."""
SERVER_ERRORS = (httpx.HTTPError, PrefectException, OSError)
"""What talking to a Prefect server that is away can raise. It costs a picture of the training, never the training."""


def run_stage(work: Work, on_poll: Callable[[], None] | None = None) -> Result:
    """The result of the stage, at once if it is done; otherwise its supervisor is started, or joined, and followed.

    `on_poll` is called on every look at a stage that runs, and once more at its end.
    """
    if (result := work.result()) is not None:
        logger.info("%-24s skipped: done on %s", work.stage.path.name, result.manifest.created_at)
    else:
        started = time.monotonic()
        waiting = orchestrator()
        view = StageView(work.stage, UUID(waiting["flow_run_id"]), on_poll)
        start_or_attach(work.stage, work.request, waiting)
        result = Result(work.stage, follow(work.stage, view.update))
        view.finish()
        logger.info("%-24s done in %s", work.stage.path.name, duration(time.monotonic() - started))
    if on_poll is not None:
        on_poll()
    return result


def orchestrator() -> dict[str, Any]:
    """Which flow run waits: the outermost one, so that a cancel of the pipeline stops the stage of a sub-flow too.

    `pages` is where the server shows its runs; None for one that lives as long as a command.
    """
    return {
        "flow_run_id": flow_run.root_flow_run_id,
        "api_url": PREFECT_API_URL.value(),
        "pages": PREFECT_UI_URL.value() or None,
        "run": flow_run.name,
    }


class StageView:
    """What a person sees of a stage while it runs: lines in the log, a progress artifact, its live curve."""

    def __init__(self, stage: StageLayout, root_run: UUID, on_poll: Callable[[], None] | None) -> None:
        self.stage, self.root_run, self.on_poll = stage, root_run, on_poll
        self.key = artifact_key(f"{stage.path.parent.name}-{stage.path.name}")
        self._shown: Progress | None = None
        self._artifact: UUID | None = None
        self._next: dict[str, float] = {}
        self._last = Progress(stage=stage.path.name)

    def update(self, progress: Progress) -> None:
        self._last = progress
        if self.news(progress) or (progress != self._shown and self.said(progress) and self.due("line", LINE_SECONDS)):
            logger.info("%s", progress.line)
            self._shown = progress
        if self.due("artifact", ARTIFACT_SECONDS):
            self.attempt(self.show_progress)
        if self.due("curve", CURVE_SECONDS):
            self.attempt(self.show_curve)
        if self.due("cancellation", CANCELLATION_SECONDS):
            self.attempt(self.pass_on_cancellation)
        if self.on_poll is not None:
            self.on_poll()

    def news(self, progress: Progress) -> bool:
        """Whether there is what deserves a line at once: a held-out measurement, a phase, a verdict."""
        old = self._shown or Progress(stage=progress.stage)
        return (progress.heldout_loss, progress.phase) != (old.heldout_loss, old.phase)

    def said(self, progress: Progress) -> bool:
        """Whether the stage has said anything yet."""
        return progress.step is not None or bool(progress.message)

    def due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + seconds
        return True

    def attempt(self, action: Callable[[], object]) -> None:
        """Do what needs the Prefect server; where the server is away, say so and go on."""
        try:
            action()
        except SERVER_ERRORS as error:
            if self.due("complaint", 60.0):
                logger.warning("the Prefect server does not answer (%s); the stage goes on without it", type(error).__name__)

    def show_progress(self) -> None:
        percent, text = 100.0 * min(1.0, max(0.0, self._last.fraction)), self._last.line
        if self._artifact is None:
            self._artifact = self.create(ArtifactCreate(type="progress", key=self.key, data=percent, description=text))
        else:
            update_progress_artifact(self._artifact, percent, description=text)

    def show_curve(self) -> None:
        chart = loss_chart(self.stage)
        if chart is not None:
            text = f"`{self._last.line}`\n\n{chart}"
            what = "Loss curve while it is trained"
            self.create(ArtifactCreate(type="markdown", key=f"{self.key}-curve", data=text, description=what))

    def create(self, artifact: ArtifactCreate) -> UUID:
        """On the page of the run that a person started, not on that of a sub-flow, where nobody looks."""
        with get_client(sync_client=True) as client:
            return client.create_artifact(artifact.model_copy(update={"flow_run_id": self.root_run})).id

    def pass_on_cancellation(self) -> None:
        """Ask the stage to stop if this flow run, or the one that contains it, was cancelled."""
        with get_client(sync_client=True) as client:
            for run_id in {UUID(flow_run.id), self.root_run}:
                state = client.read_flow_run(run_id).state
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    logger.info("%-24s cancelled: stops at the next step boundary", self.stage.path.name)
                    request_stop(self.stage)

    def finish(self) -> None:
        """Show the end, which may have come after the last look."""
        self._last = ProgressReader(self.stage).read()
        self.attempt(self.show_progress)
        self.attempt(self.show_curve)


def show_data_card(stage: StageLayout, name: str) -> None:
    """The card of a finished data set, as an artifact of the run that a person started."""
    view = StageView(stage, UUID(orchestrator()["flow_run_id"]), None)
    card = ArtifactCreate(
        type="markdown",
        key=artifact_key(f"data-card-{name}"),
        data=data_card(stage),
        description=f"Data card of {stage.path.name}",
    )
    view.attempt(lambda: view.create(card))


def data_card(stage: StageLayout) -> str:
    """The card with its picture inside of it, so that it can be shown anywhere."""
    card, picture = (stage.path / CARD_FILE).read_text(encoding="utf-8"), stage.path / CARD_PLOT
    return embedded(card, data_uri(picture)) if picture.exists() else card


def data_uri(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def loss_chart(stage: StageLayout) -> str | None:
    """The stage's own picture of its loss once it is done; until then a chart of the journal's measurements, from two on."""
    picture = stage.path / "curve.png"
    if picture.exists():
        return f"![held-out loss]({data_uri(picture)})"
    points = [e for e in latest_by_step(read_journal(stage.journal)[0], "evaluation") if e["heldout_loss"] is not None]
    if len(points) < 2:
        return None
    losses = [e["heldout_loss"] for e in points]
    low, high = min(losses), max(losses)
    margin = max(0.05 * (high - low), 0.01)
    return (
        f'```mermaid\n{CHART_STYLE}\nxychart-beta\n    title "held-out loss, nats"\n'
        f'    x-axis "step" {points[0]["step"]} --> {points[-1]["step"]}\n'
        f'    y-axis "loss" {low - margin:.3f} --> {high + margin:.3f}\n'
        f"    line [{', '.join(f'{loss:.4f}' for loss in losses)}]\n```"
    )


def artifact_key(text: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower()).strip("-")
