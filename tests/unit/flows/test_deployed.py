"""Fine-tunes that were deployed are kept in the home until they are taken away."""

from pathlib import Path

from flows.deployed import deployed, forget_deployed, keep_deployed
from tasks.config.finetuning import FinetuneFile


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
