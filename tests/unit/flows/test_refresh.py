"""What comes of a refresh that has no base yet, and of two of them at once."""

import threading
from pathlib import Path

import pytest
import torch

from flows.refresh import refresh
from tasks.config.presets import changed
from tasks.record.layout import FinetuneLayout
from tasks.record.lock import exclusive
from tasks.record.outcomes import read_outcomes
from tests.kit.refreshes import home_with_base, in_this_process, quick_file, refreshed_and_noted
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
