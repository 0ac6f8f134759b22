"""A candidate against the champion of now, also where that moves; and any version at any time."""

from pathlib import Path
from typing import Any

import pytest

import flows.judging
from flows.finetuning import finetune
from flows.judging import evaluate, judged, promote, recalled
from tasks.config.presets import changed
from tasks.record.errors import ComparisonNeededError, GateError
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout, attempt_of
from tasks.registry.aliases import move_alias
from tests.kit.refreshes import quick_file, refreshed_and_noted
from tests.kit.registered_stages import forget
from tests.unit.flows.test_refresh import champion


def test_a_champion_that_moved_meanwhile_leads_to_a_fresh_comparison(with_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quick_file(with_base)
    finetune.fn(settings)
    made = finetune.fn(changed(settings, ["seed=1"]))
    evaluate_now, seen = flows.judging.evaluate_candidate, []

    def evaluated_while_it_moves(*given: Any) -> Any:
        decision = evaluate_now(*given)
        seen.append(decision.manifest.details["champion"])
        if len(seen) == 1:
            move_alias(with_base, "topics", "champion", 1, None, "meanwhile", "somebody")
        return decision

    monkeypatch.setattr(flows.judging, "evaluate_candidate", evaluated_while_it_moves)
    outcome = judged(settings, made)
    assert seen == [None, 1]
    assert (outcome.came, outcome.version, champion(with_base)) == ("Promoted", 2, 2)
    assert outcome.message.startswith("v2: ") and " points [" in outcome.message
    assert len(attempt_of(made["candidate"].stage).evaluations) == 2


def test_a_champion_that_never_stands_still_ends_in_one_sentence(with_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quick_file(with_base)
    made = finetune.fn(settings)

    def moved(*given: Any, **named: Any) -> None:
        raise ComparisonNeededError("it moved")

    monkeypatch.setattr(flows.judging, "promote_candidate", moved)
    with pytest.raises(GateError, match="the champion of topics moved 5 times while v1 was compared; refresh it again"):
        judged(settings, made)


def test_a_version_is_evaluated_and_promoted_at_any_time(with_base: Path) -> None:
    settings = quick_file(with_base)
    write_json(FinetuneLayout(with_base, "topics").settings, settings)
    finetune.fn(settings)
    passed = evaluate.fn("topics", 1)
    assert passed.name == "Passed" and passed.message.endswith("the first champion")
    assert champion(with_base) is None, "an evaluation promotes nothing"
    assert (promote.fn("topics", 1).name, champion(with_base)) == ("Promoted", 1)
    refreshed_and_noted(with_base, changed(settings, ["seed=1"]))
    against = evaluate.fn("topics", 2, against=1)
    assert against.name == "Passed" and " points [" in against.message


def test_a_version_that_cannot_be_judged_is_refused(with_base: Path) -> None:
    settings = quick_file(with_base)
    write_json(FinetuneLayout(with_base, "topics").settings, settings)
    with pytest.raises(GateError, match="topics has no fine-tuned version 1; there are: none"):
        recalled("topics", 1)
    made = finetune.fn(settings)
    with pytest.raises(GateError, match="topics has no fine-tuned version 7; there are: 1"):
        recalled("topics", 7)
    assert recalled("topics", 1)[0].recipe == settings.recipe
    forget(made["examples"].stage.path)
    with pytest.raises(GateError, match="is gone, which the version was made with; restore it, or refresh the fine-tune"):
        recalled("topics", 1)
