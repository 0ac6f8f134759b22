"""Text to prepare, and what the tests of preparation do with a stage."""

import numpy as np

from tasks.data.__main__ import main
from tasks.data.steps import Preparation, do_part
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request
from tasks.record.parts import STEPS
from tasks.stages.work import Result, Work

ANIMALS = ("cat", "dog", "owl", "fox", "hen", "ant", "bee", "cow")


def sentences(count: int) -> list[str]:
    """Different short documents with enough repetition for pairs to merge."""
    names = [(ANIMALS[n % 8], ANIMALS[n // 8 % 8]) for n in range(count)]
    return [f"The {one} number {n} sees the {two} and says: naïve café {n * 7}!" for n, (one, two) in enumerate(names)]


def stories(count: int, length: int = 8) -> list[str]:
    """Different documents of so many sentences each, none of which is in two of them."""
    lines = sentences(count * length)
    return [" ".join(lines[n : n + length]) for n in range(0, count * length, length)]


def no_report(fraction: float, message: str) -> None:
    assert 0 <= fraction <= 1
    assert message


def do_steps(preparation: Preparation, last: str) -> None:
    """Every part up to and with the step `last`."""
    for step in STEPS[: STEPS.index(last) + 1]:
        for part in preparation.work.pending(step):
            do_part(preparation, part, no_report)


def run_preparation(stage: StageLayout, request: Request) -> tuple[int, StageLayout]:
    """Exit code and stage of the process, in this one."""
    write_json(stage.request, request)
    return main([str(stage.path)]), stage


def prepared_result(work: Work) -> Result:
    """Prepared data or examples, as their process makes them."""
    return Result(*manifest_of(run_preparation(work.stage, work.request)))


def manifest_of(result: tuple[int, StageLayout]) -> tuple[StageLayout, Manifest]:
    code, stage = result
    assert code == 0, read_json(stage.error)
    return stage, Manifest.read(stage.manifest)


def message_of(result: tuple[int, StageLayout]) -> str:
    """The user error of a run that must have failed cleanly: nothing but its record is left."""
    code, stage = result
    assert code == 2
    assert {path.name for path in stage.path.iterdir()} <= {"request.json", "journal.jsonl", "error.json"}
    error = read_json(stage.error)
    assert error["error"] == "DataError"
    assert "\n" not in error["message"]
    return error["message"]


def documents_of(result: tuple[StageLayout, Manifest], split: str) -> list[str]:
    """The text of every document, read back from the shards."""
    stage, manifest = result
    tokenizer = load_tokenizer(stage.path / "tokenizer").tokenizer
    found = []
    for name in manifest.details["shards"][split]:
        tokens = np.fromfile(stage.path / name, dtype=manifest.details["dtype"])
        starts = np.load(stage.path / name.replace(".bin", ".documents.npy")).astype(np.int64)
        assert (tokens[starts] == manifest.details["end_of_text_id"]).all()
        found += [tokenizer.decode(part[1:].tolist()) for part in np.split(tokens, starts[1:])]
    return found


def kept_texts(result: tuple[StageLayout, Manifest]) -> set[str]:
    return {text for split in ("train", "heldout") for text in documents_of(result, split)}


def card_of(stage: StageLayout) -> str:
    return (stage.path / "data_card.md").read_text()
