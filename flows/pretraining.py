"""Flow: token shards to a pre-trained, registered model."""

from prefect import flow

from flows.lifecycle import pretraining
from flows.parameters import RunName, open_run, stop_stages
from flows.preparation import prepare_text
from flows.walk import do
from tasks.config.config import Config
from tasks.plan import show_plan
from tasks.pretrain import register_pretrained
from tasks.record.layout import RunLayout, home
from tasks.stages.work import Result


@flow(name="pretrain", flow_run_name="{name}", on_cancellation=[stop_stages])
def pretrain(config: Config, name: RunName) -> Result:
    """Train a model from scratch until it has converged; every milestone becomes a version in the registry.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
    """
    dataset = prepare_text(open_run(config, name))
    show_plan(config, name, dataset)
    base = do(pretraining(RunLayout(home(), name), config), {"dataset": dataset})["base"]
    register_pretrained(config.model_name(name), base)
    return base
