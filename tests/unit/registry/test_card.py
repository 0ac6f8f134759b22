"""The card says what a person needs, and its description fits into MLflow."""

import base64

import pytest

from tasks.record.manifest import Manifest
from tasks.registry.card import MAX_DESCRIPTION, card_description, model_card, sparkline

PNG = bytes(range(256)) * 100


def made(**details: object) -> Manifest:
    return Manifest(
        kind="pretrain", request_digest="r", step=400, tokens_seen=1_638_400,
        metrics={"heldout_loss": 3.14159, "bits_per_byte": 1.25, "num_parameters": 5_500_000, "sharpness": None},
        details=details,
        environment={"commit": "abc123", "python": "3.11.7", "versions": {"torch": "2.13.0"}, "hardware": {"cpu_count": 2}},
        created_at="2030-01-01T00:00:00+00:00",
    )  # fmt: skip


def card(**changes: object) -> str:
    dataset = Manifest(
        kind="prepare", request_digest="d", metrics={"documents": 10033, "train_tokens": 1234567},
        details={"source": {"sample": "wiki-wheel", "version": "0.0.7", "sha256": "ab"}},
    )  # fmt: skip
    arguments = {
        "name": "demo-base", "label": "pretrained", "manifest": made(), "dataset_manifest": dataset,
        "verdict": {"verdict": "converged", "reason": "the next round promises 0.004 nats/token"}, "curve_png": None,
        "lineage": ["demo-base version 3"], "links": {"Prefect run": "http://127.0.0.1:4200/v2/x", "flow_run_id": "f-1"},
        "settings": {"learning_rate": 0.001}, "curve": [5.0, 4.0, 3.5, 3.2],
    }  # fmt: skip
    return model_card(**arguments | changes)


@pytest.mark.parametrize(
    "line",
    [
        "# demo-base: pretrained",
        "**converged**: the next round promises 0.004 nats/token",
        "| tokens seen | 1,638,400 |",
        "| held-out loss (nats/token) | 3.1416 |",
        "| parameters | 5,500,000 |",
        "| documents | 10,033 |",
        "| learning_rate | 0.001 |",
        "- demo-base version 3",
        "- [Prefect run](http://127.0.0.1:4200/v2/x)",
        "- flow_run_id: f-1",
        "| commit | abc123 |",
        "| torch | 2.13.0 |",
        "| hardware | cpu_count 2 |",
        "from 5 to 3.2, lowest 3.2",
    ],
)
def test_card_says(line):
    assert line in card().splitlines()


def test_card_names_licence_or_files_of_the_data():
    assert "by Wikipedia contributors, licensed" in card()
    assert "Read from the JSON in the wheel `wiki-wheel==0.0.7`, SHA-256 `ab`." in card()
    files = Manifest(kind="prepare", request_digest="d", details={"source": {"files": 12, "bytes": 3456, "sha256": "cd"}})
    text = card(dataset_manifest=files)
    assert "Files of kind `local`: 12, 3,456 bytes, SHA-256 over their digests" in text
    assert "## Source" not in text
    assert "| digest |" in card(dataset_manifest=files.model_copy(update={"details": {}}))


def test_card_names_every_source_of_the_data():
    sources = [
        {"files": 12, "bytes": 3456, "sha256": "cd"},
        {"name": "a/b", "config": None, "split": "train", "revision": "c0ffee"},
    ]
    details = {"source": {"sources": sources, "evaluations": []}, "sources": [{"name": "dump"}, {"name": "hub"}]}
    text = card(dataset_manifest=Manifest(kind="prepare", request_digest="d", details=details, metrics={"overlap": None}))
    assert "- `dump`: Files of kind `local`: 12, 3,456 bytes, SHA-256 over their digests `cd`. The licence is not known" in text
    assert "- `hub`: Hugging Face data set `a/b`, configuration `default`, split `train`, revision `c0ffee`." in text
    assert "overlap" not in text


def test_python_in_the_card_is_valid_and_fits_the_kind_of_model():
    for manifest, expected in (
        (made(), "AutoModelForCausalLM"),
        (made(labels=["a", "b"]), "AutoModelForSequenceClassification"),
    ):
        code = card(manifest=manifest).split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
        assert f"{expected}.from_pretrained(folder)" in code


def test_without_data_verdict_or_parent_the_sections_are_left_out():
    text = card(dataset_manifest=None, verdict=None, lineage=[], curve=[], settings=None)
    assert "## Data" not in text
    assert "## Verdict" not in text
    assert "## Loss" not in text
    assert "## Training" not in text
    assert "Trained from scratch; it has no parent." in text


def test_picture_is_in_the_card_and_not_in_the_description():
    text = card(curve_png=PNG)
    assert base64.b64encode(PNG).decode() in text
    description = card_description(text)
    assert "base64" not in description
    assert "Loss curve" in description.splitlines()[-1]
    assert sparkline([5.0, 4.0, 3.5, 3.2]) in description
    assert len(description) <= MAX_DESCRIPTION


def test_description_of_a_short_card_is_the_card():
    assert card_description(card()) == card().strip()


def test_description_of_a_long_card_leaves_out_whole_sections_and_names_them():
    text = card(settings={f"setting_{n}": "x" * 20 for n in range(110)})
    assert len(text) > MAX_DESCRIPTION
    description = card_description(text)
    assert len(description) <= MAX_DESCRIPTION
    assert "setting_1 " not in description
    assert description.endswith("*In README.md beside the model's files: Training.*")
    assert "## How to load it" in description


def test_text_with_bars_and_line_breaks_stays_in_its_cell():
    assert "| note | a \\| b c |" in card(settings={"note": "a | b\nc"}).splitlines()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([8.0, 1.0], "█▁"),
        ([2.0, 2.0, 2.0], "▁▁▁"),
        ([1.0, None, 2.0], "▁ █"),
        ([None, None], "  "),
        ([], ""),
    ],
)
def test_sparkline(values, expected):
    assert sparkline(values) == expected


def test_long_sparkline_is_averaged_to_its_width():
    assert sparkline([float(n) for n in range(1000)], width=10) == "▁▂▃▃▄▅▆▆▇█"
    assert len(sparkline([1.0] * 61, width=60)) <= 60
