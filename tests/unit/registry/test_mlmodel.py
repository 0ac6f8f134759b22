"""MLflow's own tools load and serve what is registered here, without a copy of the weights."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tasks.registry import versions as registry
from tasks.registry.mlmodel import has_mlmodel
from tasks.registry.store import database_uri
from tasks.registry.tracking import connect
from tasks.registry.versions import verify_version
from tests.kit.registered_stages import begun_stage, finished_training, new_version
from tests.kit.served_models import LABELS, registered_base, registered_chat, registered_classifier
from tests.kit.servers import free_ports


@pytest.fixture
def store(home):
    connect(home)
    return home


def test_a_classifier_is_loaded_by_its_alias_and_gives_labels_with_probabilities(store):
    import mlflow

    version = registered_classifier(store)
    model = mlflow.pyfunc.load_model("models:/demo-topic@champion")
    rows = model.predict(["the cat sat", "dogs ran"])
    assert [sorted(row) for row in rows["probabilities"]] == [sorted(LABELS)] * 2
    assert all(sum(row.values()) == pytest.approx(1) and row[label] == max(row.values())
               for label, row in zip(rows["label"], rows["probabilities"], strict=True))  # fmt: skip
    assert model.metadata.flavors["python_function"]["config"] == {"task": "text-classification", "max_length": 8}
    outputs = mlflow.models.get_model_info("models:/demo-topic@champion").signature.outputs
    assert outputs.input_names() == ["label", "score", "probabilities"]
    said = mlflow.transformers.load_model("models:/demo-topic@champion")("the cat sat")[0]
    assert said == {"label": rows["label"][0], "score": pytest.approx(rows["score"][0], abs=1e-5)}
    assert verify_version(version).digest == version.digest


def test_an_instruction_model_answers_and_a_base_goes_on(store):
    import mlflow

    for made, chat in ((registered_chat(store), True), (registered_base(store), False)):
        model = mlflow.pyfunc.load_model(f"models:/{made.name}@champion")
        assert model.metadata.flavors["python_function"]["config"] == {"task": "text-generation", "chat": chat}
        answers = model.predict(["the cat", "a dog"], params={"max_new_tokens": 3})["answer"]
        assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)
        pipeline = mlflow.transformers.load_model(f"models:/{made.name}@champion")
        assert pipeline("the cat", max_new_tokens=3)[0]["generated_text"].startswith("the cat")


def test_nothing_is_copied_or_pickled_and_the_environment_is_pinned(store):
    version = registered_classifier(store)
    folder = Path(version.path)
    assert (folder / "model.safetensors").stat().st_nlink == 2
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / "components" / "tokenizer" / name).samefile(folder / name)
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".bin", ".pt")]
    written = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    assert sum(path.stat().st_size for path in written) < 40_000
    pins = (folder / "requirements.txt").read_text().splitlines()
    assert {pin.partition("==")[0] for pin in pins} >= {"mlflow", "torch", "transformers", "safetensors"}
    assert not any("+" in pin or pin.endswith("==") for pin in pins)
    environment = yaml.safe_load((folder / "python_env.yaml").read_text())
    assert environment["dependencies"] == ["-r requirements.txt"] and environment["python"].count(".") == 2
    assert yaml.safe_load((folder / "conda.yaml").read_text())["dependencies"][-1] == {"pip": pins}


def test_a_version_that_lost_its_mlmodel_gets_the_same_one_when_it_is_registered_again(store):
    stage = begun_stage(store)
    new = new_version(stage, finished_training(stage))
    folder = Path(registry.register(store, new).path)
    before = (folder / "MLmodel").read_bytes()
    (folder / "MLmodel").unlink()
    assert not has_mlmodel(folder)
    assert registry.register(store, new).version == 1
    assert (folder / "MLmodel").read_bytes() == before


def served(home: Path, model: str, question: dict[str, object], folder: Path) -> dict[str, object]:
    """What `mlflow models serve` answers over HTTP."""
    port = free_ports(1)[0]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": database_uri(home),
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{model}@champion", "--env-manager", "local"]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-p", str(port), "-h", "127.0.0.1"], env=environment, cwd=folder, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                return httpx.post(f"http://127.0.0.1:{port}/invocations", json=question, timeout=60).json()
            except httpx.ConnectError:
                time.sleep(0.5)
        raise AssertionError((folder / "serve.log").read_text())
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.process
def test_mlflow_serves_a_chat_over_http(store, tmp_path):
    registered_chat(store)
    said = served(store, "demo-chat", {"inputs": ["the cat"], "params": {"max_new_tokens": 4}}, tmp_path)
    assert list(said) == ["predictions"] and [list(row) for row in said["predictions"]] == [["answer"]]


@pytest.mark.soak
def test_mlflow_serves_a_classifier_over_http(store, tmp_path):
    registered_classifier(store)
    frame = {"dataframe_split": {"columns": ["text"], "data": [["the cat"], ["a dog"]]}}
    said = served(store, "demo-topic", frame, tmp_path)
    assert [sorted(row["probabilities"]) for row in said["predictions"]] == [sorted(LABELS)] * 2


@pytest.mark.soak
def test_mlflow_predicts_from_a_file(store, tmp_path):
    registered_classifier(store)
    (tmp_path / "in.json").write_text(json.dumps({"inputs": ["the cat"]}))
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "predict",
        "-m",
        "models:/demo-topic@champion",
        "--env-manager",
        "local",
    ]
    environment = os.environ | {"MLFLOW_TRACKING_URI": database_uri(store), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "-i", "in.json", "-o", "out.json"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["predictions"][0]["label"] in LABELS
