"""What the Prefect server does by itself: say what went wrong or waits for a person, and end a wait that took too long."""

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.blocks.notifications import NotificationBlock, SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import SecretStr

from flows.approval import WAITING
from tasks.services.alerts import Channel, read_channel
from tasks.services.mail_block import Mail

BLOCK = "pretune-alerts"
PREFIX = "pretune alert: "
LATE_MINUTES = 15.0
SILENT_MINUTES = 10.0
"""A flow run says every three minutes that it lives."""
MIN_PATIENCE = timedelta(seconds=10)
"""Prefect waits no shorter."""
EVENT = "prefect.flow-run."


def reactive(*states: str) -> EventTrigger:
    """A flow run of a deployment came into one of these states; those of a command have somebody who looks on."""
    return EventTrigger(
        expect={f"{EVENT}{state}" for state in states},
        match={"prefect.resource.id": f"{EVENT}*"},
        match_related={"prefect.resource.role": "deployment"},
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def proactive(after: str, expect: Iterable[str], within: timedelta, deployment: str = "prefect.deployment.*") -> EventTrigger:
    """After this state, none of those came in time."""
    return EventTrigger(
        after={f"{EVENT}{after}"},
        expect={f"{EVENT}{state}" for state in expect},
        match={"prefect.resource.id": f"{EVENT}*"},
        match_related={"prefect.resource.role": "deployment", "prefect.resource.id": deployment},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=max(within, MIN_PATIENCE),
    )


def alerts() -> dict[str, tuple[str, EventTrigger]]:
    """By name: what is said, and when."""
    silent, late = timedelta(minutes=SILENT_MINUTES), timedelta(minutes=LATE_MINUTES)
    return {
        "failed": ("failed", reactive("Failed", "Crashed", "TimedOut")),
        "hung": (f"gave no sign of life for {SILENT_MINUTES:g} minutes", proactive("heartbeat", {"*"}, silent)),
        "late": (f"is late by more than {LATE_MINUTES:g} minutes", proactive("Late", {"Pending", "Cancelled"}, late)),
        "rejected": ("promoted nothing", reactive("Rejected", "Refused")),
        "waiting": ("waits for approval", reactive(WAITING)),
        "expired": ("waited for approval in vain", reactive("Expired")),
    }


def register_alerts(home: Path) -> list[str]:
    """Create or update the automations that alert, or take them away where alerts are off; returns their names."""
    channel = read_channel(home)
    with get_client(sync_client=True) as client:
        if channel is None:
            for name in alerts():
                remove(client, PREFIX + name)
            forget_blocks()
            return []
        block = block_of(channel)
        identity = cast(UUID, block.save(BLOCK, overwrite=True))
        for name, (what, trigger) in alerts().items():
            wanted = AutomationCore(
                name=PREFIX + name,
                description=f"A flow run {what}.",
                trigger=trigger,
                actions=[message(channel, identity, what)],
            )
            put(client, wanted)
    forget_blocks(but=type(block))
    return [PREFIX + name for name in alerts()]


def block_of(channel: Channel) -> Webhook | SlackWebhook | Mail:
    address = SecretStr(channel.url)
    if channel.kind == "webhook":
        return Webhook(url=address, headers={"Content-Type": "application/json"})
    return SlackWebhook(url=address) if channel.kind == "slack" else Mail(url=address)


def forget_blocks(but: type[Webhook | SlackWebhook | Mail] | None = None) -> None:
    """Addresses that are used no longer do not stay in Prefect's database."""
    for kind in (Webhook, SlackWebhook, Mail):
        if kind is not but:
            try:
                kind.delete(BLOCK)
            except ValueError:
                continue  # there is none


def message(channel: Channel, block: UUID, what: str) -> ActionTypes:
    """A webhook gets JSON, with `text` as a person would read it; the others get that text."""
    subject = f"{{{{ flow_run.name }}}} {what}"
    body = "State: {{ flow_run.state.name }}\n{{ flow_run.state.message or '' }}\n{{ flow_run|ui_url }}"
    if channel.kind != "webhook":
        return SendNotification(block_document_id=block, subject=f"pretune: {subject}", body=body)
    fields = {
        "text": f"(flow_run.name ~ ' {what}: ' ~ (flow_run.state.message or flow_run.state.name) ~ ' ' ~ (flow_run|ui_url))",
        "what": json.dumps(what),
        "flow_run": "flow_run.name",
        "state": "flow_run.state.name",
        "message": "(flow_run.state.message or '')",
        "url": "(flow_run|ui_url)",
    }
    pairs = ", ".join(f'"{key}": {{{{ {value}|tojson }}}}' for key, value in fields.items())
    return CallWebhook(block_document_id=block, payload=f"{{{pairs}}}")


def send_test(channel: Channel) -> None:
    """Send a message from this process; raises what goes wrong with it."""
    block, text = block_of(channel), "pretune can reach you: this is a test of its alerts"
    if isinstance(block, Webhook):
        asyncio.run(block.call({"text": text, "what": "test"})).raise_for_status()
        return
    assert isinstance(block, NotificationBlock)
    with block.raise_on_failure():
        block.notify(text, "pretune: a test")


def register_expiry(deployment: str, deployment_id: UUID, days: float) -> None:
    """Wake a flow run of this deployment that waits for approval longer than that: it sees that its time has run out."""
    wake = ChangeFlowRunState(state=StateType.SCHEDULED, name="Resuming", message="nobody answered in time")
    trigger = proactive(WAITING, {"Resuming", "Cancelled"}, timedelta(days=days), f"prefect.deployment.{deployment_id}")
    name = expiry_name(deployment)
    with get_client(sync_client=True) as client:
        put(client, AutomationCore(name=name, description="Ends a wait for approval.", trigger=trigger, actions=[wake]))


def remove_expiry(deployment: str) -> None:
    with get_client(sync_client=True) as client:
        remove(client, expiry_name(deployment))


def expiry_name(deployment: str) -> str:
    return f"pretune: {deployment} waits for approval no longer"


def put(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Create it, or change the one of its name; one that is as wanted stays, as a change would forget who waits already."""
    known = client.read_automations_by_name(wanted.name)
    if not known:
        client.create_automation(wanted)
    elif AutomationCore.model_validate(known[0].model_dump()) != wanted:
        client.update_automation(known[0].id, wanted)


def remove(client: SyncPrefectClient, name: str) -> None:
    for known in client.read_automations_by_name(name):
        client.delete_automation(known.id)
