"""The flow over a whole file, at a real Prefect server."""

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.testing.utilities import prefect_test_harness

from flows.deployments import deployment_of
from flows.prediction import predict
from tasks.record.errors import ConfigError, DataError
from tests.kit.asked_models import LABELS, different_texts, registered_model
from tests.kit.registered_stages import new_home


@pytest.mark.process
def test_a_file_is_answered_and_counted(home: Path, tmp_path: Path) -> None:
    registered_model(new_home(home.parent))
    texts = different_texts(300)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"words": text}) + "\n" for text in texts))
    with prefect_test_harness(server_startup_timeout=240):
        made = predict("demo-topic", str(tmp_path / "in.jsonl"), column="words")
        with pytest.raises(DataError, match=r"^--column='other' is not in .* line 1, which has 'words'"):
            predict("demo-topic", str(tmp_path / "in.jsonl"), column="other", output="other.jsonl")
        with get_client(sync_client=True) as client:
            (artifact,) = client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["predict-demo-topic"]))
            )
    rows = [json.loads(line) for line in Path(made["output"]).read_text().splitlines()]
    assert [row["text"] for row in rows] == texts
    assert (made["model"], made["rows"]) == ("demo-topic/1", 300)
    assert made["labels"] == {label: sum(row["label"] == label for row in rows) for label in made["labels"]}
    assert set(made["labels"]) == set(LABELS)
    assert Path(made["output"]).parent == home / "predictions"
    assert Path(made["output"]).name.startswith("in-demo-topic-v1-")
    assert artifact.data.startswith("demo-topic/1 answered 300 rows of `")
    for label, number in made["labels"].items():
        assert f"| {label} | {number} ({number / 300:.1%}) |" in artifact.data
    assert f"| {texts[0]} | {rows[0]['label']} ({rows[0]['probability']:.3f}) |" in artifact.data
    assert not (home / "predictions" / "other.jsonl").exists()


def test_a_file_that_a_flow_cannot_have_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="path='-' is standard input, which a flow does not have"):
        predict.fn("demo-topic", "-")
    with pytest.raises(DataError, match=r"path='/nowhere.txt' does not exist"):
        predict.fn("demo-topic", "/nowhere.txt")


def test_it_is_deployed_by_its_module_and_its_form_asks_for_model_and_file() -> None:
    made = deployment_of(predict, "any version", {})
    assert made.entrypoint == "flows.prediction.predict"
    schema = made._parameter_openapi_schema
    assert schema.required == ["model", "path"]
    assert all(schema.properties[name]["description"] for name in ("model", "path", "column", "output"))
