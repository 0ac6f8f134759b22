"""What a deployment is given: the parameters of its form, and its schedules."""

from flows.deployments import deployments_of, finetune_deployment
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import load_config

SETTINGS = FinetuneFile.model_validate(
    {
        "name": "banking", "base": "run:r",
        "schedule": [
            {"cron": "0 3 * * 1", "timezone": "Europe/Berlin"},
            {"every_minutes": 90, "settings": ["epochs=1", "gate.level=0.01"]},
        ],
    }
)  # fmt: skip


def test_a_deployment_has_every_schedule_with_its_zone_and_its_own_settings() -> None:
    made = finetune_deployment(SETTINGS)
    assert (made.flow_name, made.name, made.entrypoint) == ("refresh", "banking", "flows.refresh.refresh")
    assert FinetuneFile.model_validate(made.parameters["settings"]) == SETTINGS
    weekly, often = made.schedules or []
    assert (weekly.schedule.cron, weekly.schedule.timezone) == ("0 3 * * 1", "Europe/Berlin")
    assert weekly.parameters == {}
    assert often.schedule.interval.total_seconds() == 90 * 60
    other = FinetuneFile.model_validate(often.parameters["settings"])
    assert (other.epochs, other.gate.level, other.name) == (1, 0.01, "banking")


def test_a_preset_has_its_flows_and_a_refresh_for_each_of_its_fine_tunes() -> None:
    made = {f"{one.flow_name}/{one.name}": one for one in deployments_of("demo")}
    assert list(made) == ["pipeline/demo", "prepare/demo", "pretrain/demo"]
    assert made["pipeline/demo"].parameters["name"] == "demo"
    topic, chat = (finetune_deployment(one) for one in load_config(["demo"]).finetunes("demo"))
    assert (topic.name, chat.name) == ("demo-topic", "demo-chat")
    assert [one.schedule.cron for one in topic.schedules or []] == ["0 3 * * 1"]
    assert not chat.schedules


def test_a_form_refuses_what_it_does_not_know() -> None:
    assert finetune_deployment(SETTINGS)._parameter_openapi_schema.additionalProperties is False
