"""Flow: a base and labelled examples to a registered candidate."""

from prefect import flow

from flows.lifecycle import finetuning
from flows.parameters import settled, stop_stages
from flows.walk import do
from tasks.config.finetuning import FinetuneFile
from tasks.finetune import base_of, register_candidate
from tasks.record.layout import home
from tasks.stages.work import Results


@flow(name="finetune", flow_run_name="{settings.name}", on_cancellation=[stop_stages])
def finetune(settings: FinetuneFile) -> Results:
    """Fine-tune the base and register the candidate, without judging or promoting it; what is done is skipped.

    Args:
        settings: What is fine-tuned, on what, and how.
    """
    settings = settled(settings)
    made = do(finetuning(home(), settings), {"base": base_of(settings)})
    register_candidate(settings, made)
    return made
