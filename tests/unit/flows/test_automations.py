import json
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities.user_templates import register_user_template_filters, render_user_template
from prefect.types._datetime import now

from flows.automations import alerts, block_of, message, proactive, reactive
from tasks.services.alerts import Channel
from tasks.services.mail_block import Mail

BLOCK = UUID(int=1)
DEPLOYMENT = f"prefect.deployment.{UUID(int=2)}"
WEBHOOK = Channel(kind="webhook", url="http://127.0.0.1:9/secret")


def event(state, deployment=DEPLOYMENT):
    related = [{"prefect.resource.id": deployment, "prefect.resource.role": "deployment"}] if deployment else []
    resource = {"prefect.resource.id": f"prefect.flow-run.{UUID(int=3)}"}
    return ReceivedEvent(
        id=UUID(int=4), occurred=now("UTC"), event=f"prefect.flow-run.{state}", resource=resource, related=related
    )


def on_server(trigger):
    return EventTrigger.model_validate(trigger.model_dump())


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("Failed", "failed"), ("Crashed", "failed"), ("Rejected", "rejected"), ("Refused", "rejected"),
        ("Waiting for approval", "waiting"), ("Expired", "expired"), ("Promoted", None), ("Completed", None), ("Skipped", None),
    ],
)  # fmt: skip
def test_each_state_that_needs_a_person_has_one_alert(state, name):
    sent = event(state)
    found = [
        one
        for one, (_, trigger) in alerts().items()
        if trigger.posture.value == "Reactive" and on_server(trigger).covers(sent) and on_server(trigger).expects(sent.event)
    ]

    assert found == ([name] if name else [])


def test_a_run_of_a_command_alerts_nobody():
    assert not on_server(reactive("Failed")).covers(event("Failed", deployment=None))


def test_a_run_that_says_nothing_for_long_has_an_alert():
    (_, hung), (_, late) = alerts()["hung"], alerts()["late"]

    assert on_server(hung).starts_after("prefect.flow-run.heartbeat") and on_server(hung).expects("prefect.flow-run.Completed")
    assert hung.within == timedelta(minutes=10)
    assert on_server(late).starts_after("prefect.flow-run.Late") and on_server(late).expects("prefect.flow-run.Pending")
    assert not on_server(late).expects("prefect.flow-run.Late")


def test_a_wait_is_for_one_deployment_and_no_shorter_than_the_server_can_wait():
    trigger = proactive("Waiting for approval", {"Resuming"}, timedelta(seconds=1), DEPLOYMENT)

    assert trigger.within == timedelta(seconds=10)
    assert on_server(trigger).covers(event("Waiting for approval"))
    assert not on_server(trigger).covers(event("Waiting for approval", f"prefect.deployment.{UUID(int=9)}"))


async def rendered(template):
    register_user_template_filters({"ui_url": lambda run: f"http://127.0.0.1:1/runs/flow-run/{run.id}"})
    state = SimpleNamespace(name="Rejected", message='v1: it said "no"\nand <that> was it')
    return await render_user_template(template, {"flow_run": SimpleNamespace(id=7, name='an "odd" name', state=state)})


@pytest.mark.anyio
async def test_a_webhook_gets_json_whatever_stands_in_names_and_messages():
    action = message(WEBHOOK, BLOCK, "promoted nothing")

    assert json.loads(await rendered(action.payload)) == {
        "text": 'an "odd" name promoted nothing: v1: it said "no"\nand <that> was it http://127.0.0.1:1/runs/flow-run/7',
        "what": "promoted nothing",
        "flow_run": 'an "odd" name',
        "state": "Rejected",
        "message": 'v1: it said "no"\nand <that> was it',
        "url": "http://127.0.0.1:1/runs/flow-run/7",
    }


@pytest.mark.anyio
async def test_slack_and_mail_get_a_subject_and_a_text():
    action = message(Channel(kind="slack", url="https://hooks.slack.com/services/A/B/C"), BLOCK, "failed")

    assert await rendered(action.subject) == 'pretune: an "odd" name failed'
    assert (await rendered(action.body)).splitlines() == [
        "State: Rejected", 'v1: it said "no"', "and <that> was it", "http://127.0.0.1:1/runs/flow-run/7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "url", "block"),
    [
        ("webhook", "http://127.0.0.1:9/x", Webhook),
        ("slack", "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", SlackWebhook),
        ("email", "mailto://127.0.0.1?from=a@example.org&to=b@example.org", Mail),
    ],
)
def test_each_kind_of_channel_is_a_block_that_hides_its_address(kind, url, block):
    made = block_of(Channel(kind=kind, url=url))

    assert type(made) is block
    assert url not in repr(made) and made.url.get_secret_value() == url
