"""What MLflow's own tools need beside a model's files: `MLmodel`, its environment, and the code that answers.

MLflow writes these with pickles or copies of the weights. Here the files lie already where MLflow looks for them, so that the
flavour `transformers` is told that the weights are in the folder itself, and `python_function` is our own code
(`tasks/training/export/served.py`), which travels with the model.
"""

import importlib.metadata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.record.files import read_json, write_atomically
from tasks.record.layout import REPOSITORY
from tasks.record.manifest import Manifest, Request
from tasks.registry.card import classifies
from tasks.registry.files import place_file
from tasks.registry.store import make_private

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models.signature import ModelSignature

MLMODEL = "MLmodel"
CODE, MODULE = "code", "pretune_served_model"
SERVED_CODE = REPOSITORY / "tasks" / "training" / "export" / "served.py"
TOKENIZER_FOLDER = "components/tokenizer"
"""Where the flavour `transformers` looks for a tokenizer; the files have one name more there."""
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip
NEEDED = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "pandas")
NEW_TOKENS = 60


def place_mlmodel(folder: Path, model: "LoggedModel", manifest: Manifest, request: Request) -> None:
    """Write what differs of the files that MLflow needs; the same model gives the same bytes."""
    for name in TOKENIZER_FILES:
        if (folder / name).exists():
            place_file(folder / name, make_private(folder / TOKENIZER_FOLDER) / name)
    for name, content in mlmodel_files(model, manifest, settings_of(folder, manifest, request)).items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            make_private(path.parent)
            write_atomically(path, content)


def has_mlmodel(folder: Path) -> bool:
    return (folder / MLMODEL).is_file() and (folder / CODE / f"{MODULE}.py").is_file()


def settings_of(folder: Path, manifest: Manifest, request: Request) -> dict[str, Any]:
    """What the code that answers is told: the task, and how the model was trained to read."""
    if is_classifier(folder, manifest):
        length = (request.identity.get("finetune") or {}).get("max_length")
        return {"task": "text-classification"} | ({"max_length": length} if length else {})
    return {"task": "text-generation", "chat": request.kind == "finetune"}


def is_classifier(folder: Path, manifest: Manifest) -> bool:
    """By the architecture that the model's own configuration names."""
    names = read_json(folder / "config.json").get("architectures") or ()
    return any(name.endswith("ForSequenceClassification") for name in names) if names else classifies(manifest)


def mlmodel_files(model: "LoggedModel", manifest: Manifest, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """Each file by its path in the model's folder."""
    requirements = list(requirement_lines(manifest))
    python = str(manifest.environment.get("python") or "3.11")
    listed = "".join(f"    - {line}\n" for line in requirements)
    environment = f"python: {python}\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n"
    conda = f"name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n- python={python}\n- pip\n- pip:\n{listed}"
    return {
        MLMODEL: mlmodel_text(model, manifest, settings).encode(),
        "requirements.txt": ("\n".join(requirements) + "\n").encode(),
        "python_env.yaml": environment.encode(),
        "conda.yaml": conda.encode(),
        f"{CODE}/{MODULE}.py": SERVED_CODE.read_bytes(),
    }


def requirement_lines(manifest: Manifest) -> Iterator[str]:
    """The versions that the model was made with, or, where the manifest does not say, those of this process."""
    for name in NEEDED:
        yield f"{name}=={made_with(manifest, name).partition('+')[0]}"  # of `2.13.0+cpu` the index knows the first part only


def mlmodel_text(model: "LoggedModel", manifest: Manifest, settings: Mapping[str, Any]) -> str:
    from mlflow.models import Model
    from mlflow.pyfunc import add_to_model

    made = Model(
        artifact_path=model.name,
        run_id=model.source_run_id,
        model_id=model.model_id,
        model_uuid=model.model_id.removeprefix("m-"),
        utc_time_created=datetime.fromtimestamp(model.creation_timestamp / 1000, UTC).replace(tzinfo=None).isoformat(sep=" "),
        signature=signature(settings["task"]),
        metadata={"pretune.digest": manifest.digest},
    )
    add_to_model(made, MODULE, code=CODE, conda_env="conda.yaml", python_env="python_env.yaml", model_config=dict(settings))
    made.flavors["python_function"]["python_version"] = manifest.environment.get("python") or "3.11"
    classifier = settings["task"] == "text-classification"
    made.add_flavor(
        "transformers",
        transformers_version=made_with(manifest, "transformers"),
        code=None,
        task=settings["task"],
        instance_type="TextClassificationPipeline" if classifier else "TextGenerationPipeline",
        pipeline_model_type="AutoModelForSequenceClassification" if classifier else "AutoModelForCausalLM",
        source_model_name=model.name,
        model_binary=".",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
    )
    return made.to_yaml()


def made_with(manifest: Manifest, library: str) -> str:
    return (manifest.environment.get("versions") or {}).get(library) or importlib.metadata.version(library)


def signature(task: str) -> "ModelSignature":
    """A text to a label with its probabilities, or a prompt to an answer, with what may be asked of it.

    The input has no name, since MLflow refuses a list of strings for a column that has one.
    """
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Map

    if task == "text-classification":
        probabilities = ColSpec(Map(DataType.double), "probabilities")
        outputs: list[Any] = [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score"), probabilities]
        return ModelSignature(Schema([ColSpec(DataType.string)]), Schema(outputs))
    params = [ParamSpec("max_new_tokens", DataType.long, NEW_TOKENS), ParamSpec("temperature", DataType.double, 0.0)]
    answer = Schema([ColSpec(DataType.string, "answer")])
    return ModelSignature(Schema([ColSpec(DataType.string)]), answer, ParamSchema(params))
