"""Fine-tunes that were deployed are kept in the home until they are taken away."""

from pathlib import Path

from flows.deployed import deployed, forget_deployed, keep_deployed
from tasks.config.finetuning import FinetuneFile
from tasks.record.files import write_json
from tasks.record.layout import deployed_folder


def test_what_is_deployed_is_there_until_it_is_forgotten(tmp_path: Path) -> None:
    settings = [FinetuneFile(name=name, base="run:demo", schedule=({"every_minutes": 5},)) for name in ("b", "a")]
    assert deployed(tmp_path) == {}
    for one in settings:
        keep_deployed(tmp_path, one)
    assert list(deployed(tmp_path).items()) == [("a", settings[1]), ("b", settings[0])]
    keep_deployed(tmp_path, settings[0].model_copy(update={"epochs": 9}))
    assert deployed(tmp_path)["b"].epochs == 9
    forget_deployed(tmp_path, "b")
    assert list(deployed(tmp_path)) == ["a"]


def test_a_deployment_whose_schedule_cannot_be_followed_is_passed_over_with_a_word(home, caplog):
    deployed_folder(home).mkdir(parents=True)
    schedule = {"cron": "0 3 * * 1", "settings": ["epoch=1"]}
    write_json(deployed_folder(home) / "bad.json", {"name": "bad", "base": "run:demo", "schedule": [schedule]})

    assert deployed(home) == {}
    assert "the deployment bad is passed over: schedule.settings=['epoch=1']: epoch is not a known setting" in caplog.text
