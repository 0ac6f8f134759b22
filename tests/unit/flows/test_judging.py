"""A candidate against a champion that moves."""

from pathlib import Path
from typing import Any

import pytest
import torch

import flows.judging
from flows.finetuning import finetune
from flows.judging import judged
from tasks.record.errors import ComparisonNeededError, GateError
from tests.kit.refreshes import home_with_base, in_this_process, quick_file
from tests.kit.stages import pretrained_base


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("trained")
    pretrained_base(home, train_tokens=512 * 8)
    return home


@pytest.fixture
def with_base(home: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_this_process(monkeypatch)
    return home_with_base(home.parent, trained)


def test_a_champion_that_never_stands_still_ends_in_one_sentence(with_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = quick_file(with_base)
    made = finetune.fn(settings)

    def moved(*given: Any, **named: Any) -> None:
        raise ComparisonNeededError("it moved")

    monkeypatch.setattr(flows.judging, "promote_candidate", moved)
    with pytest.raises(GateError, match="the champion of topics moved 5 times while v1 was compared; refresh it again"):
        judged(settings, made)
