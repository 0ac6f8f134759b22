"""Flow: text to token shards, and labelled examples to frozen sets."""

from prefect import flow

from flows.parameters import RunName, open_run, stop_stages
from tasks.config import Config
from tasks.prepare import prepare_examples, prepare_text
from tasks.stages import Result


@flow(name="prepare", flow_run_name="{name}", on_cancellation=[stop_stages])
def prepare(config: Config, name: RunName) -> Result:
    """Clean and tokenise the pre-training text, and split the examples. Runs that ask for the same share the result.

    The examples come first in time too: a wrong label shows before weeks of pre-training, not after them.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
    """
    open_run(config, name)
    for one in config.finetune:
        prepare_examples(one)
    return prepare_text(config)
