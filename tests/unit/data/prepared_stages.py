"""Text to prepare, and what the tests of preparation do with a stage."""

from tasks.data.__main__ import main
from tasks.manifest import Manifest, Request, read_json, write_json
from tasks.run_layout import StageLayout

ANIMALS = ("cat", "dog", "owl", "fox", "hen", "ant", "bee", "cow")


def sentences(count: int) -> list[str]:
    """Different short documents with enough repetition for pairs to merge."""
    names = [(ANIMALS[n % 8], ANIMALS[n // 8 % 8]) for n in range(count)]
    return [f"The {one} number {n} sees the {two} and says: naïve café {n * 7}!" for n, (one, two) in enumerate(names)]


def start(stage: StageLayout, request: Request) -> tuple[int, StageLayout]:
    write_json(stage.request, request)
    return main([str(stage.path)]), stage


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
