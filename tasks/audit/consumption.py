"""Whether a history consumed exactly what its order says, samples and tokens, with the losses that it says: the chain again."""

import hashlib
import logging
import math
import time
from dataclasses import dataclass

import numpy as np

from tasks.audit.history import History, StepLine
from tasks.audit.order import Order
from tasks.data.tokens.digest import digest_text
from tasks.record.journal import CHAIN_START, chain

logger = logging.getLogger("pretune.verify")

LOG_SECONDS = 10.0
NOT_FINITE = (math.nan, math.inf, -math.inf)
"""What a loss may have been that the journal has as null."""
RANGES_SHOWN = 10


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
    """Recompute every step's samples, link and tokens, of which all are read; `history` begins with step 1."""
    times_seen = np.zeros(sum(order.sizes), dtype=np.int32)
    chains: list[str] = []
    previous: str | None = CHAIN_START
    tokens, broken, miscounted, unrecorded = 0, [], [], []
    others: dict[int, tuple[str, str]] = {}
    logged = time.monotonic()
    for step, line in enumerate(history.steps, 1):
        if time.monotonic() - logged > LOG_SECONDS:
            logged = time.monotonic()
            logger.info("reading what step %d of %d read", step, len(history.steps))
        ids = order.sample_ids(step - 1)
        np.add.at(times_seen, ids, 1)
        tokens += order.num_tokens(ids)
        if line is None:
            previous = None
            continue
        if line.tokens_seen != tokens:
            miscounted.append(step)
        digest = hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()
        if line.token_digest is None:
            unrecorded.append(step)
        elif previous is not None and line.chain not in links(previous, step, digest, line):
            broken.append(step)
        else:
            if len(chains) == step - 1:
                chains.append(line.chain or "")
            # The line is what training wrote, so what it says was read.
            if (expected := digest_text(order.token_digest(ids))) != line.token_digest:
                others[step] = (line.token_digest, expected)
        # Each link by itself, from the chain that the journal has: so one changed line does not spoil all that follow.
        previous = line.chain
    failures = [*missing_sentences(history), *broken_sentences(broken, len(history.steps)), *other_token_sentences(others)]
    if unrecorded:
        failures.append(
            f"what step {unrecorded[0]}{more(len(unrecorded))} read is unknown: its line of the journal has no token_digest"
        )
    if miscounted:
        failures.append(f"tokens_seen of step {miscounted[0]} in the journal is not the sum of the samples' tokens")
    return Consumption(tuple(chains), tokens, times_seen, tuple(failures))


def links(previous: str, step: int, digest: str, line: StepLine) -> set[str]:
    losses = (line.loss,) if isinstance(line.loss, int | float) else NOT_FINITE
    return {chain(previous, step, digest, str(line.token_digest), loss) for loss in losses}


def more(number: int) -> str:
    """How many there are beside the one that is named."""
    return f" (and {number - 1} more)" if number > 1 else ""


def missing_sentences(history: History) -> list[str]:
    missing = history.missing
    if not missing:
        return []
    return [f"step {missing[0]}{more(len(missing))} is missing in the journal"]


def other_token_sentences(others: dict[int, tuple[str, str]]) -> list[str]:
    """`others` has the digests in the journal and of the files, by step."""
    if not others:
        return []
    step, (found, expected) = next(iter(others.items()))
    named = f"step {step}" if len(others) == 1 else f"steps {ranges_text(list(others))}"
    return [
        f"{named} read other tokens than the data set has now: the digest of step {step} is {found[:12]}... in the journal and "
        f"{expected[:12]}... by the files; train again from before step {step}, or restore the files if these have changed"
    ]


def ranges_text(numbers: list[int]) -> str:
    """`3 to 5, 9` of ascending numbers; what is behind the tenth range is counted."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    text = ", ".join(" to ".join(map(str, one)) for one in ranges[:RANGES_SHOWN])
    left = sum(one[-1] - one[0] + 1 for one in ranges[RANGES_SHOWN:])
    return f"{text} and {left} more" if left else text


def broken_sentences(broken: list[int], num_steps: int) -> list[str]:
    """A changed line breaks one or two links; other samples than those of the order break all."""
    if not broken:
        return []
    if len(broken) == num_steps:
        return ["no step consumed the samples that (seed, step) name: not one link of the hash chain holds, from step 1 on"]
    others = f" (and at {len(broken) - 1} more)" if len(broken) > 1 else ""
    return [
        f"the hash chain breaks at step {broken[0]}{others}: the samples, or the loss, the token_digest or the chain in its "
        "line of the journal, are not what training computed"
    ]
