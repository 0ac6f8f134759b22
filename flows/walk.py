"""Does stages in their order, each by its verb."""

from collections.abc import Callable

from tasks.finetune import finetune_model, finetune_random_init
from tasks.prepare import finish_text, prepare_examples
from tasks.pretrain import pretrain_model
from tasks.stages.work import Result, Results, Stage

VERBS: dict[str, Callable[[Stage, Results], Result]] = {
    "dataset": finish_text,
    "base": pretrain_model,
    "examples": prepare_examples,
    "candidate": finetune_model,
    "random_init": finetune_random_init,
}
"""By role of the stage."""


def do(stages: list[Stage], made: Results) -> Results:
    """What was made before, and the results of the stages that are not among it."""
    for stage in stages:
        if stage.role not in made:
            made = made | {stage.role: VERBS[stage.role](stage, made)}
    return made
