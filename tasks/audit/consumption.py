"""Whether a history consumed exactly the samples of its order, with the losses that it says: the hash chain, recomputed."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from tasks.audit.history import History, StepLine
from tasks.audit.order import Order
from tasks.record.journal import CHAIN_START, chain

NOT_FINITE = (math.nan, math.inf, -math.inf)
"""What a loss may have been that the journal has as null."""


@dataclass(frozen=True)
class Consumption:
    """What the steps of a history saw, and where it is not as it should be."""

    chains: tuple[str, ...]
    """The recomputed chain after each step, up to the first that does not hold."""
    tokens_seen: int
    """After the last step, by the order."""
    times_seen: np.ndarray
    """How often each sample was seen, (samples,)."""
    failures: tuple[str, ...]


def check_consumption(history: History, order: Order) -> Consumption:
    """Recompute every step's samples, link and tokens; `history` begins with step 1."""
    times_seen = np.zeros(sum(order.sizes), dtype=np.int32)
    chains: list[str] = []
    previous: str | None = CHAIN_START
    tokens, broken, miscounted = 0, [], []
    for step, line in enumerate(history.steps, 1):
        ids = order.sample_ids(step - 1)
        np.add.at(times_seen, ids, 1)
        tokens += order.num_tokens(ids)
        if line is None:
            previous = None
            continue
        if line.tokens_seen != tokens:
            miscounted.append(step)
        digest = hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()
        if previous is not None and line.chain not in links(previous, step, digest, line):
            broken.append(step)
        elif len(chains) == step - 1:
            chains.append(line.chain or "")
        # Each link by itself, from the chain that the journal has: so one changed line does not spoil all that follow.
        previous = line.chain
    failures = [*missing_sentences(history), *broken_sentences(broken, len(history.steps))]
    if miscounted:
        failures.append(f"tokens_seen of step {miscounted[0]} in the journal is not the sum of the samples' tokens")
    return Consumption(tuple(chains), tokens, times_seen, tuple(failures))


def links(previous: str, step: int, digest: str, line: StepLine) -> set[str]:
    losses = (line.loss,) if isinstance(line.loss, int | float) else NOT_FINITE
    return {chain(previous, step, digest, loss) for loss in losses}


def missing_sentences(history: History) -> list[str]:
    missing = history.missing
    if not missing:
        return []
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return [f"step {missing[0]}{more} is missing in the journal"]


def broken_sentences(broken: list[int], num_steps: int) -> list[str]:
    """A changed line breaks one or two links; other samples than those of the order break all."""
    if not broken:
        return []
    if len(broken) == num_steps:
        return ["no step consumed the samples that (seed, step) name: not one link of the hash chain holds, from step 1 on"]
    more = f" (and at {len(broken) - 1} more)" if len(broken) > 1 else ""
    return [
        f"the hash chain breaks at step {broken[0]}{more}: the loss, the samples or the chain in its line of the journal "
        "are not what training computed"
    ]
