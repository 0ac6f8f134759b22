"""Flow: text to a promoted model. What is done is skipped; what runs is joined."""

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.parameters import RunName, open_run, stop_stages
from flows.preparation import prepare
from flows.pretraining import pretrain
from flows.refresh import refresh
from flows.report import markdown_report, read_report, table_report
from tasks.config.config import Config
from tasks.orchestration.stage import artifact_key
from tasks.record.layout import home

logger = logging.getLogger("pretune")


@flow(name="pipeline", flow_run_name="{name}", on_cancellation=[stop_stages])
def pipeline(config: Config, name: RunName) -> None:
    """Prepare the text, pre-train until convergence, fine-tune, evaluate, and promote what passes the gate.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
    """
    open_run(config, name)
    prepare(config, name)
    pretrain(config, name)
    for one in config.finetunes(name):
        refresh(one)
    report = read_report(config, name, home())
    key = artifact_key(f"report-{name}")
    create_markdown_artifact(markdown_report(report), key=key, description=f"Report of run {name}")
    create_table_artifact(table_report(report), key=f"{key}-numbers", description=f"Numbers of run {name}")
