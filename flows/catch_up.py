"""Slots that passed while no server ran: each fine-tune that missed one is refreshed once when everything is up again."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.states import Scheduled

from flows.deployed import deployed_since
from flows.refresh import refresh
from tasks.config.finetuning import FinetuneFile, ScheduleConfig
from tasks.config.presets import changed
from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import read_outcomes

logger = logging.getLogger("pretune")

MOST_SLOTS = 1000
"""Looked at of one schedule; of more, the last of these is what is caught up with."""


def catch_up(home: Path, finetunes: list[FinetuneFile]) -> list[str]:
    """Start a refresh for each fine-tune that missed a slot; returns their names. Their deployments are there."""
    started = []
    for settings in finetunes:
        missed = [(slot, one) for one in settings.schedule if (slot := missed_slot(home, settings, one)) is not None]
        if missed:
            slot, schedule = max(missed, key=lambda found: found[0])
            start(changed(settings, schedule.settings), slot)
            started.append(settings.name)
    return started


def missed_slot(home: Path, settings: FinetuneFile, schedule: ScheduleConfig) -> datetime | None:
    """The last slot since the last refresh, or since it was deployed, whichever is later; None where there was none."""
    outcomes = read_outcomes(FinetuneLayout(home, settings.name))
    times = [datetime.fromisoformat(outcomes[-1].time)] if outcomes else []
    if (deployed := deployed_since(home, settings.name)) is not None:
        times.append(deployed)
    slots = slots_between(schedule, max(times), datetime.now(UTC)) if times else []
    return slots[-1] if slots else None


def slots_between(schedule: ScheduleConfig, after: datetime, until: datetime) -> list[datetime]:
    """By Prefect's own reckoning, daylight saving included; `after` itself is none."""
    kind: CronSchedule | IntervalSchedule
    if schedule.cron is not None:
        kind = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    else:
        kind = IntervalSchedule(interval=timedelta(minutes=schedule.every_minutes or 0), timezone=schedule.timezone)
    return list(asyncio.run(kind.get_dates(n=MOST_SLOTS, start=after + timedelta(seconds=1), end=until)))


def start(settings: FinetuneFile, slot: datetime) -> None:
    """One run for this slot, however often it is asked for, in place of those that Prefect had planned meanwhile."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{refresh.name}/{settings.name}")
        for late in client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
            ),
        ):
            if late.auto_scheduled:
                client.delete_flow_run(late.id)
        client.create_flow_run_from_deployment(
            deployment.id, parameters={"settings": settings.model_dump(mode="json")}, tags=["pretune", "catch-up"],
            idempotency_key=f"catch-up {settings.name} {slot.isoformat()}",
            state=Scheduled(message=f"catches up with {slot:%Y-%m-%d %H:%M %Z}, when nothing ran here"),
        )  # fmt: skip
    logger.info("%-24s missed its refresh of %s: caught up once", settings.name, f"{slot:%Y-%m-%d %H:%M %Z}")
