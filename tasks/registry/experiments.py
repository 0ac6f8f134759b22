"""The MLflow experiments of this home: where their artifacts lie, and as what the UI opens them."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.record.errors import TrackingError
from tasks.registry.store import artifact_folder, make_private

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Opens the pages for training; without it MLflow guesses, and may open those for generative AI."""


def find_experiment(client: "MlflowClient", home: Path, name: str) -> str:
    """The id of the experiment, made if there is none, with its artifacts in this home so that files can be linked there."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        make_private(artifact_folder(home))
        try:
            return client.create_experiment(name, artifact_location=artifact_folder(home).as_uri(), tags=EXPERIMENT_TAGS)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(f"experiment={name!r} was deleted in MLflow; restore it there, or give another name")
    for key in [key for key in EXPERIMENT_TAGS if key not in found.tags]:
        client.set_experiment_tag(found.experiment_id, key, EXPERIMENT_TAGS[key])
    return found.experiment_id
