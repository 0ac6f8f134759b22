"""Flow: text to token shards, and labelled examples to frozen sets."""

import logging
from dataclasses import replace

from prefect import flow

from flows.lifecycle import examples_stage, text_stage
from flows.parameters import RunName, open_run, stop_stages
from flows.walk import do
from tasks.config.config import Config
from tasks.data.inputs.text import passed_over_sentences
from tasks.orchestration.parts import prepare_parts, task_runner
from tasks.record.layout import home
from tasks.stages.work import Result, Work, in_one_part

logger = logging.getLogger("pretune")


@flow(name="prepare", flow_run_name="{name}", on_cancellation=[stop_stages])
def prepare(config: Config, name: RunName) -> Result:
    """Clean and tokenise the pre-training text, and split the examples. Runs that ask for the same share the result.

    The examples come first in time too: a wrong label shows before weeks of pre-training, not after them.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
    """
    settled = open_run(config, name)
    for one in config.finetunes(name):
        do([examples_stage(home(), one)], {})
    return prepare_text(settled)


def prepare_text(config: Config) -> Result:
    """The data set: in parts on the configured task runner where it is big, and the rest in one process."""
    stage = text_stage(home(), config)
    work = stage.work({})
    for sentence in passed_over_sentences(config.data):
        logger.warning("%s", sentence)
    if work.result() is None and not in_one_part(work.request, config.preparation):
        text_in_parts.with_options(task_runner=task_runner(config.preparation))(work)
    return do([replace(stage, ask=lambda made: work)], {})["dataset"]


@flow(name="prepare text in parts", on_cancellation=[stop_stages])
def text_in_parts(work: Work) -> None:
    """Extract, clean, de-duplicate and tokenise, every part a task of its own."""
    prepare_parts(work)
