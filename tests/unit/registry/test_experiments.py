"""Experiments keep their artifacts in the home, and open as what they are."""

import pytest

from tasks.record.errors import TrackingError
from tasks.registry.experiments import find_experiment
from tasks.registry.store import artifact_folder
from tasks.registry.tracking import connect

KIND = "mlflow.experimentKind"


def test_an_experiment_is_made_once_with_its_artifacts_here_and_opens_the_pages_for_training(home):
    client = connect(home)
    made = find_experiment(client, home, "demo")
    assert find_experiment(client, home, "demo") == made
    found = client.get_experiment(made)
    assert found.artifact_location == artifact_folder(home).as_uri()
    assert found.tags[KIND] == "custom_model_development"


def test_one_that_was_there_gets_the_kind_and_one_that_a_person_chose_stays(home):
    client = connect(home)
    plain, chosen = client.create_experiment("plain"), client.create_experiment("chosen", tags={KIND: "finetuning"})
    assert (find_experiment(client, home, "plain"), find_experiment(client, home, "chosen")) == (plain, chosen)
    assert client.get_experiment(plain).tags[KIND] == "custom_model_development"
    assert client.get_experiment(chosen).tags[KIND] == "finetuning"


def test_one_that_was_deleted_is_said(home):
    client = connect(home)
    client.delete_experiment(find_experiment(client, home, "demo"))
    with pytest.raises(TrackingError, match="experiment='demo' was deleted in MLflow; restore it there, or give another name"):
        find_experiment(client, home, "demo")
