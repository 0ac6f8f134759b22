"""A classifier over HTTP; that a model which answers is served is shown by `pretune serve` itself."""

import pytest
from starlette.testclient import TestClient

from tasks.training.asked import load_model, load_tokenizer
from tasks.training.predict import Classifier
from tasks.training.serve import classifier_app
from tests.kit.asked_models import MAX_LENGTH, different_texts, export_asked


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    export = export_asked(tmp_path_factory.mktemp("topics") / "export")
    return Classifier(load_model(export), load_tokenizer(export), MAX_LENGTH)


def test_it_answers_as_the_command_does(classifier: Classifier) -> None:
    client = TestClient(classifier_app(classifier), base_url="http://127.0.0.1")
    texts = different_texts(40)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.post("/predict", json={"texts": texts}).json() == {"predictions": classifier(texts)}


@pytest.mark.parametrize("body", [{}, {"texts": []}, {"texts": "a"}, {"texts": ["a"], "top": 1}, {"texts": ["a"] * 1025}])
def test_what_is_no_question_is_refused(classifier: Classifier, body: dict) -> None:
    client = TestClient(classifier_app(classifier), base_url="http://127.0.0.1")
    assert client.post("/predict", json=body).status_code == 422


def test_a_request_that_was_sent_to_another_name_is_refused(classifier: Classifier) -> None:
    client = TestClient(classifier_app(classifier), base_url="http://evil.example")
    assert client.post("/predict", json={"texts": ["a"]}).status_code == 400
