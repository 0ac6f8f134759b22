"""`pretune verify`: what was proved about a run's trainings, in sentences."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.record.layout import home

if TYPE_CHECKING:
    from tasks.audit.stage import SourceUse, StageProof
    from tasks.audit.verify import RunProof

LIMITS = (
    "Not proved: that the losses are those of these weights (nothing was computed again); held-out losses, what they were\n"
    "measured on, and gradient norms, which are not in the chain; and that nobody who may write this folder has made a whole\n"
    "new chain (it has no key)."
)


def verify(asked: argparse.Namespace) -> int:
    """Exit code 0 where everything holds, 1 where something does not. (numpy and numba are imported only here.)"""
    from tasks.audit.verify import verify_run

    proof = verify_run(home(), asked.name)
    print(proof.model_dump_json(indent=1) if asked.json else text_proof(proof))
    return 0 if proof.proved else 1


def text_proof(proof: "RunProof") -> str:
    lines = [f"Run {proof.run}: {'everything holds' if proof.proved else 'NOT everything holds'}"]
    for stage in proof.stages:
        lines += ["", f"{stage.stage}{'' if stage.done else ', which is not done, so far'}"]
        lines += [f"  holds: {sentence}" for sentence in what_holds(stage)]
        lines += [f"  FAILS: {sentence}" for sentence in stage.failures]
    return "\n".join([*lines, "", LIMITS])


def what_holds(stage: "StageProof") -> Iterator[str]:
    """Only what was proved: a sentence that did not come out is left to the failures."""
    if not stage.consumption_failures:
        what = (
            f"{steps_text(stage.steps)} consumed exactly the {stage.unit} that (seed, step) name, with the tokens of the files"
        )
        yield f"{what}: {stage.tokens_seen:,} tokens, {', '.join(use_text(use, stage.unit) for use in stage.uses)}"
        yield f"{attempts_text(stage)}, and each step counts once"
    saved = counted(stage.checkpoints, "checkpoint")
    if not stage.consumption_failures and not stage.record_failures:
        where = f"{saved} and the manifest" if stage.done else saved
        yield f"the hash chain over (step, samples, tokens, loss) is the same in the journal, {where}: {stage.chain[:16]}..."
    if not stage.file_failures:
        what = f"{saved}, {counted(stage.milestones, 'milestone')}" + (" and the finished model" if stage.done else "")
        size = f"{stage.size_bytes / 2**20:,.1f} MiB"
        yield f"{counted(stage.files, 'file')} ({size}) of inputs, {what} have the SHA-256 that they were made with"


def counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def steps_text(steps: int) -> str:
    return f"steps 1 to {steps:,}" if steps else "no step yet"


def use_text(use: "SourceUse", unit: str) -> str:
    times = counted(use.most, "time")
    times = times if use.fewest == use.most else f"{use.fewest:,} to {times}"
    return f"each of the {use.samples:,} {unit}{f' of {use.source}' if use.source else ''} {times}"


def attempts_text(stage: "StageProof") -> str:
    attempts = counted(stage.attempts, "attempt")
    if not stage.undone_steps:
        return attempts
    return f"{attempts}, {counted(stage.undone_steps, 'step')} undone by an interruption or a rollback"
