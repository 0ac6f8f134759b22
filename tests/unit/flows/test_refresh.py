"""What comes of a refresh: promoted, rejected or skipped, with its reason; and two of them at once."""

import json
import threading
from pathlib import Path

import pytest

from flows.refresh import refresh
from tasks.config.presets import changed
from tasks.record.errors import DataError
from tasks.record.layout import FinetuneLayout, RunLayout
from tasks.record.lock import exclusive
from tasks.record.outcomes import read_outcomes
from tasks.registry.versions import version_by_alias
from tests.kit.refreshes import quick_file, refreshed_and_noted


def champion(home: Path) -> int | None:
    held = version_by_alias(home, "topics", "champion")
    return held.version if held else None


def test_what_is_new_is_judged_and_what_is_not_is_skipped(with_base: Path) -> None:
    settings = quick_file(with_base)
    base = {path: path.stat().st_mtime_ns for path in RunLayout(with_base, "run").path.rglob("*")}
    first, again = (refreshed_and_noted(with_base, settings) for _ in range(2))
    assert (first.came, first.version, champion(with_base)) == ("Promoted", 1, 1)
    assert first.message.startswith("v1: accuracy ") and first.message.endswith(", the first champion")
    assert (again.came, again.attempt) == ("Skipped", first.attempt)
    assert again.message == f"base, data and recipe unchanged since v1 ({first.time[:10]})"

    other = refreshed_and_noted(with_base, changed(settings, ["learning_rate=5e-3"]))
    assert (other.came, other.version, champion(with_base)) == ("Promoted", 2, 2)
    assert other.attempt != first.attempt
    assert {path: path.stat().st_mtime_ns for path in base} == base, "the pre-training was left alone"
    assert {one.path.name for one in FinetuneLayout(with_base, "topics").attempts} == {first.attempt, other.attempt}


def test_few_new_examples_wait_and_a_file_that_lost_many_is_taken_for_broken(with_base: Path) -> None:
    settings = quick_file(with_base, min_new_examples=3)
    first = refreshed_and_noted(with_base, settings)
    path = Path(settings.examples.path or "")
    whole = path.read_text()
    path.write_text(whole + "".join(json.dumps({"text": f"new {i} owl", "label": "animals"}) + "\n" for i in range(2)))
    waits = refreshed_and_noted(with_base, settings)
    assert (waits.came, waits.message) == (
        "Skipped", "2 new examples since the last refresh, and min_new_examples=3 asks for more",
    )  # fmt: skip
    other_recipe = refreshed_and_noted(with_base, changed(settings, ["seed=1"]))
    assert other_recipe.came == "Promoted" and other_recipe.attempt != first.attempt, "which counts whatever is new"

    path.write_text("".join(whole.splitlines(keepends=True)[:60]))
    with pytest.raises(DataError, match=r"examples of topics are 60 and were 122 at the last refresh, fewer by more than max"):
        refreshed_and_noted(with_base, settings)
    assert refreshed_and_noted(with_base, changed(settings, ["max_shrinkage=0.6", "min_new_examples=0"])).came == "Promoted"


def test_a_candidate_that_breaks_a_rule_is_rejected_with_it_and_nobody_is_champion(with_base: Path) -> None:
    settings = quick_file(with_base, learning_rate=1e-9)
    outcome = refreshed_and_noted(with_base, changed(settings, ["gate.min_score=0.99"]))
    assert (outcome.came, outcome.version, champion(with_base)) == ("Rejected", 1, None)
    assert outcome.message.startswith("v1: accuracy ") and "0.99" in outcome.message and "✗" not in outcome.message
    assert refreshed_and_noted(with_base, changed(settings, ["gate.min_score=0.99"])).came == "Skipped"


def test_a_base_that_is_not_there_yet_is_no_failure(with_base: Path) -> None:
    outcome = refreshed_and_noted(with_base, quick_file(with_base, base="run:later"))
    assert outcome.came == "Skipped" and "'run:later'" in outcome.message
    assert outcome.attempt == ""


def test_while_another_refresh_runs_one_is_skipped_or_waits(with_base: Path) -> None:
    layout = FinetuneLayout(with_base, "topics")
    layout.path.mkdir(parents=True)
    settings = quick_file(with_base, base="run:later", overlap="skip")
    said = []
    with exclusive(layout.lock):
        state = refresh.fn(settings)
        waiting = threading.Thread(target=lambda: said.append(refresh.fn(changed(settings, ["overlap=wait"]))))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(60)
    assert (state.name, state.message) == ("Skipped", "another refresh of this fine-tune is running")
    assert "'run:later'" in said[0].message
    (outcome,) = read_outcomes(layout)
    assert outcome.message == said[0].message, "the one that was turned away is no outcome of the fine-tune"
