"""Horizons and sources that cannot be had are refused before anything is trained."""

from typing import Any

import pytest

from tasks.config.training import PretrainConfig
from tasks.data.order.training import mixture_of
from tasks.record.errors import ConfigError

CONFIG = PretrainConfig(
    sequence_length=12, micro_batch_size=2, global_batch_tokens=96, train_tokens=96 * 40, warmup_steps=2, decay_steps=4,
    evaluate_every_steps=2, checkpoint_every_steps=4,
)  # fmt: skip


def share(name: str, weight: float | None = None, max_epochs: float | None = None) -> dict[str, Any]:
    return {"name": name, "weight": weight, "max_epochs": max_epochs}


def test_a_horizon_beyond_the_limits_is_refused_with_the_longest_that_is_possible() -> None:
    shares = [share("books", 1.0, 1.0), share("web", 1.0, 0.5)]
    assert mixture_of(CONFIG, shares, [300, 40]).num_samples == 320 == CONFIG.max_steps * CONFIG.global_batch_size
    with pytest.raises(ConfigError) as error:
        mixture_of(CONFIG, shares, [299, 40])
    assert str(error.value) == (
        "pretrain.train_tokens=3840 is more than the sources ['books', 'web'] have within max_epochs=[1.0, 0.5], 3828 tokens; "
        "set it to at most 3744 or raise max_epochs"
    )
    assert mixture_of(CONFIG.model_copy(update={"train_tokens": 3744}), shares, [299, 40]).num_samples == 319


@pytest.mark.parametrize(
    ("shares", "sizes", "message"),
    [
        (
            [share("books", 1.0), share("web", 1.0)],
            [30, 0],
            "source 'web' has no training sequence of pretrain.sequence_length=12 tokens; give it more text",
        ),
        ([share("books", None, 2.0), share("web", None, 1.0)], [30], "source 'web' has no training sequence of"),
        (
            [share("books", 1.0), share("web", 1.0)],
            [30, 30, 30],
            r"data.mixture has the sources \['books', 'web'\], and the data set 3; prepare it with these sources",
        ),
        (
            [share("books", 1.0), share("web", 1e-8)],
            [30, 30],
            r"the sources \['books', 'web'\] cannot be mixed: the smallest of the shares .* is below one in a million; change",
        ),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused(shares: list[dict[str, Any]], sizes: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixture_of(CONFIG, shares, sizes)
