"""The card says what a person needs, and its description fits into MLflow."""

import base64

import pytest

from tasks.record.manifest import Manifest, Request
from tasks.registry.card import (
    MAX_DESCRIPTION,
    card_body,
    card_description,
    card_links,
    data_text,
    sparkline,
    with_picture,
)

PNG = bytes(range(256)) * 100


def made(**details: object) -> Manifest:
    return Manifest(
        kind="pretrain", request_digest="r", step=400, tokens_seen=1_638_400,
        metrics={"heldout_loss": 3.14159, "bits_per_byte": 1.25, "num_parameters": 5_500_000.0, "sharpness": None},
        details=details,
        environment={"commit": "abc123", "python": "3.11.7", "versions": {"torch": "2.13.0"}, "hardware": {"cpu_count": 2}},
        created_at="2030-01-01T00:00:00+00:00",
    )  # fmt: skip


SAMPLE = {"name": "wiki", "source": "sample", "mixture": []}


def prepared(source: dict, request: Request, **manifest: object) -> str:
    return data_text(Manifest(kind=request.kind, request_digest="d", details={"source": source}, **manifest), request)


def asked(**data: object) -> Request:
    return Request(kind="prepare", identity={"data": SAMPLE | data})


def card(**changes: object) -> str:
    """The sections, one after the other."""
    verdict = {"verdict": "converged", "reason": "the next round promises 0.004 nats/token"}
    data = prepared({"sample": "wiki-wheel", "version": "0.0.7", "sha256": "ab"}, asked(),
                    metrics={"documents": 10033, "train_tokens": 1234567, "overlap": None})  # fmt: skip
    arguments = {
        "manifest": made(verdict=verdict), "data": data, "lineage": ["demo-base version 3"],
        "settings": {"learning_rate": 0.001}, "curve": [5.0, 4.0, 3.5, 3.2],
    }  # fmt: skip
    return "\n".join(card_body(**arguments | changes))


@pytest.mark.parametrize(
    "line",
    [
        "**converged**: the next round promises 0.004 nats/token",
        "| tokens seen | 1,638,400 |",
        "| held-out loss (nats/token) | 3.1416 |",
        "| parameters | 5,500,000 |",
        "| documents | 10,033 |",
        "| learning_rate | 0.001 |",
        "- demo-base version 3",
        "| commit | abc123 |",
        "| torch | 2.13.0 |",
        "| hardware | cpu_count 2 |",
        "from 5 to 3.2, lowest 3.2",
    ],
)
def test_card_says(line):
    assert line in card().splitlines()


def test_card_names_licence_kind_and_files_of_the_data():
    assert "by Wikipedia contributors, licensed" in card()
    assert "Changed here: cleaned and tokenised. Read from the JSON in the wheel `wiki-wheel==0.0.7`, SHA-256 `ab`." in card()
    assert "overlap" not in card()
    files = {"files": 12, "bytes": 3456, "sha256": "cd"}
    text = prepared(files, asked(source="mediawiki"))
    assert "Files of kind `mediawiki`: 12, 3,456 bytes, SHA-256 over their digests `cd`. The licence is not known here" in text
    assert "Dumps of Wikimedia projects come under CC BY-SA 4.0" in text
    assert "Wikimedia" not in prepared(files, asked(source="jsonl"))


def test_examples_are_not_said_to_be_tokenised():
    source = {"sample": "wiki-wheel", "version": "0.0.7", "sha256": "ab"}
    for kind, changes in (("classification", "cleaned."), ("instruction", "cleaned, and shortened to their first sentences.")):
        request = Request(kind="examples", identity={"kind": kind, "examples": {"source": "sample"}})
        assert f"Changed here: {changes} Read from" in prepared(source, request)


def test_card_names_every_source_of_the_data():
    sources = [
        {"files": 12, "bytes": 3456, "sha256": "cd"},
        {"name": "a/b", "config": None, "split": "train", "revision": "c0ffee"},
    ]
    request = asked(name="dump", source="mediawiki", mixture=[{"name": "hub", "source": "huggingface"}])
    text = prepared({"sources": sources, "evaluations": []}, request)
    assert "- `dump`: Files of kind `mediawiki`: 12, 3,456 bytes, SHA-256 over their digests `cd`. The licence is not" in text
    assert "- `hub`: Hugging Face data set `a/b`, configuration `default`, split `train`, revision `c0ffee`." in text


def test_a_rollback_is_told_with_the_verdict():
    text = card(rollback={"event": "rollback", "from_step": 200, "step": 150})
    assert "Training went back from step 200 to the checkpoint of step 150." in text.splitlines()
    assert "went back" not in card()


def test_the_loss_of_a_classification_is_per_example():
    assert "| held-out loss (nats/example) | 3.1416 |" in card(manifest=made(labels=["a", "b"])).splitlines()


def test_links_are_those_that_the_tags_name():
    assert card_links({"step": "1"}) == ""
    tags = {"prefect_flow_run_id": "f-1", "data_card": "runs:/r/data_card.md"}
    assert card_links(tags) == "- Prefect flow run: f-1\n- Data card in MLflow: runs:/r/data_card.md"
    assert card_links(tags | {"prefect_url": "http://p/v2/x"}).startswith("- [Prefect flow run](http://p/v2/x)\n")


def test_python_in_the_card_is_valid_and_fits_the_kind_of_model():
    for manifest, expected in (
        (made(), "AutoModelForCausalLM"),
        (made(labels=["a", "b"]), "AutoModelForSequenceClassification"),
    ):
        code = card(manifest=manifest).split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
        assert f"{expected}.from_pretrained(folder)" in code


def test_what_is_not_there_has_no_section():
    text = card(manifest=made(), data="", curve=[], settings=None)
    assert all(f"## {title}" not in text for title in ("Data", "Verdict", "Loss", "Training"))


def test_picture_is_in_the_card_and_not_in_the_description():
    text = with_picture(card(), PNG)
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
