"""The chain recomputed: what holds, and what a change of one line or of all samples looks like."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest

from tasks.audit.consumption import check_consumption, ranges_text
from tasks.audit.history import History, StepLine
from tasks.audit.order import Order
from tasks.data.order.permutation import samples_of_step
from tasks.data.tokens.digest import digest_text
from tasks.record.journal import CHAIN_START, chain


def order(seed: int = 0) -> Order:
    return Order(
        lambda step: samples_of_step(step, 4, 10, seed), lambda ids: 8 * len(ids), lambda ids: 7 * int(ids.sum()), (10,), (),
        "sequences",
    )  # fmt: skip


def trained(losses: list[float], seed: int = 0, read_others: tuple[int, ...] = ()) -> History:
    history, link = History(), CHAIN_START
    for step, loss in enumerate(losses, 1):
        ids = order(seed).sample_ids(step - 1)
        tokens = digest_text(7 * int(ids.sum()) + (step in read_others))
        link = chain(link, step, hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(), tokens, loss)
        history.steps.append(StepLine(loss if math.isfinite(loss) else None, link, tokens, 32 * step))
    return history


LOSSES = [6.0 - step / 7 for step in range(5)]


def changed(history: History, step: int, **values: object) -> History:
    history.steps[step - 1] = replace(history.steps[step - 1], **values)
    return history


def test_what_training_wrote_holds() -> None:
    found = check_consumption(trained(LOSSES), order())
    assert found.failures == ()
    assert found.chains == tuple(line.chain for line in trained(LOSSES).steps)
    assert (found.tokens_seen, found.times_seen.tolist()) == (160, [2] * 10), "20 samples of 10"


def test_a_loss_that_was_no_number_is_part_of_the_chain_too() -> None:
    for loss in (math.nan, math.inf, -math.inf):
        assert check_consumption(trained([*LOSSES, loss]), order()).failures == ()


@pytest.mark.parametrize(
    ("values", "steps"),
    [({"loss": 5.0}, "at step 3:"), ({"loss": LOSSES[2] + 1e-15}, "at step 3:"), ({"loss": "5"}, "at step 3:"),
     ({"chain": "0" * 64}, "at step 3 (and at 1 more):"), ({"chain": None}, "at step 3:"),
     ({"token_digest": "0" * 32}, "at step 3:"), ({"token_digest": 7}, "at step 3:")],
)  # fmt: skip
def test_a_changed_line_breaks_the_chain_there(values: dict, steps: str) -> None:
    found = check_consumption(changed(trained(LOSSES), 3, **values), order())
    (sentence,) = found.failures
    assert sentence.startswith(f"the hash chain breaks {steps}")
    assert len(found.chains) == 2, "what comes before it is proved"


def test_other_samples_break_every_link() -> None:
    (sentence,) = check_consumption(trained(LOSSES, seed=1), order()).failures
    assert sentence == (
        "no step consumed the samples that (seed, step) name: not one link of the hash chain holds, from step 1 on"
    )


def test_steps_that_read_other_tokens_are_named_and_nothing_else_fails() -> None:
    found = check_consumption(trained(LOSSES, read_others=(3,)), order())
    (sentence,) = found.failures
    digest = digest_text(7 * int(order().sample_ids(2).sum()))
    assert sentence.startswith("step 3 read other tokens than the data set has now: the digest of step 3 is ")
    assert " by the files; train again from before step 3, or restore the files" in sentence and digest[:12] in sentence
    assert len(found.chains) == 5, "the chain is that of training"
    (sentence,) = check_consumption(trained(LOSSES, read_others=(2, 3, 5)), order()).failures
    assert sentence.startswith("steps 2 to 3, 5 read other tokens than the data set has now: the digest of step 2 is ")


def test_of_many_steps_ten_ranges_are_named() -> None:
    assert ranges_text([1]) == "1"
    assert ranges_text([*range(1, 40, 2), 40]) == "1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 11 more"


def test_a_line_without_a_digest_of_its_tokens_proves_nothing_about_them() -> None:
    (sentence,) = check_consumption(changed(trained(LOSSES), 3, token_digest=None), order()).failures
    assert sentence == "what step 3 read is unknown: its line of the journal has no token_digest"
    history = trained(LOSSES)
    for step in (2, 3, 4):
        changed(history, step, token_digest=None)
    (sentence,) = check_consumption(history, order()).failures
    assert sentence == "what step 2 (and 2 more) read is unknown: its line of the journal has no token_digest"


def test_a_missing_step_is_named() -> None:
    history = trained(LOSSES)
    history.steps[1] = None
    assert check_consumption(history, order()).failures == ("step 2 is missing in the journal",)
    history.steps[3] = None
    assert check_consumption(history, order()).failures == ("step 2 (and 1 more) is missing in the journal",)


def test_tokens_are_counted_again() -> None:
    found = check_consumption(changed(trained(LOSSES), 4, tokens_seen=1), order())
    assert found.failures == ("tokens_seen of step 4 in the journal is not the sum of the samples' tokens",)


def test_no_step_is_no_failure() -> None:
    found = check_consumption(History(), order())
    assert (found.failures, found.tokens_seen) == ((), 0)
    assert np.array_equal(found.times_seen, np.zeros(10))
