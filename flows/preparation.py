"""Flow: text to token shards."""

from prefect import flow

from flows.parameters import RunName, open_run, stop_stages
from tasks.config import Config
from tasks.prepare import prepare_text
from tasks.stages import Result


@flow(name="prepare", flow_run_name="{name}", on_cancellation=[stop_stages])
def prepare(config: Config, name: RunName) -> Result:
    """Clean and tokenise the pre-training text. Runs that ask for the same text share the result.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
    """
    open_run(config, name)
    return prepare_text(config)
