"""Which Prefect flow run a stage was done for, as tags that lead to its page; without importing Prefect."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.record.files import read_json
from tasks.record.layout import StageLayout
from tasks.services.environment import page

FLOW_TAGS = ("prefect_flow_run_id", "prefect_url")


def flow_run_of(stage: StageLayout) -> dict[str, Any] | None:
    """The stage's `orchestrator.json`; None where no flow ever waited for it."""
    return read_json(stage.orchestrator) if stage.orchestrator.exists() else None


def flow_tags(home: Path, flow_run: Mapping[str, Any] | None) -> dict[str, str]:
    """The id of the flow run, and the address of its page where there is one.

    A server of one command has no pages; what it did is in the database of this home and on the pages of `pretune up`.
    """
    if flow_run is None or not flow_run.get("flow_run_id"):
        return {}
    tags = {FLOW_TAGS[0]: str(flow_run["flow_run_id"])}
    own = page(home, "prefect")
    pages = flow_run.get("pages") or (own and f"{own}/v2")
    return tags | ({FLOW_TAGS[1]: f"{pages}/runs/flow-run/{flow_run['flow_run_id']}"} if pages else {})
