"""Flow: a pre-trained model to registered candidates."""

from typing import Literal

from prefect import flow

from flows.lifecycle import examples_stage, finetuning
from flows.parameters import FinetuneName, RunName, open_run, stop_stages
from flows.walk import do
from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig
from tasks.finetune import register_candidate
from tasks.record.errors import RequestChangedError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout, home
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, Results, finetune_named, finetune_work

OnChange = Literal["refuse", "new run"]


@flow(name="finetune", flow_run_name="{name}", on_cancellation=[stop_stages])
def finetune(config: Config, name: RunName, finetune_name: FinetuneName = None, on_change: OnChange = "refuse") -> list[str]:
    """Fine-tune the run's pre-trained model and register the candidates; returns the runs that hold them.

    Args:
        config: What is trained, on what, and how.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
        finetune_name: Name of one fine-tune of the configuration; empty means all of them.
        on_change: When examples, base model or recipe differ from those of the run: refuse, or fine-tune as run NAME-DIGEST.
            A schedule wants the second.
    """
    wanted = config.finetune if finetune_name is None else (finetune_named(config, finetune_name),)
    if on_change == "refuse":
        open_run(config, name)
    return [finetune_one(config, name, one, on_change) for one in wanted]


def finetune_one(config: Config, name: str, one: FinetuneConfig, on_change: str) -> str:
    made = do([examples_stage(home(), one)], {"base": pretrained(name)})
    target = name if on_change == "refuse" else name_for(config, name, one, made)
    made = do(finetuning(RunLayout(home(), target), config, one), made)
    register_candidate(config, one, made)
    return target


def pretrained(name: str) -> Result:
    """The finished pre-training of a run; raises IntegrityError where there is none."""
    stage = RunLayout(home(), name).pretrain()
    return Result(stage, Manifest.read(stage.manifest))


def name_for(config: Config, name: str, one: FinetuneConfig, made: Results) -> str:
    """The run itself if it asks for the same as before, or has not asked yet; else NAME-DIGEST, which never repeats work."""
    work = finetune_work(RunLayout(home(), name), config, one, made["base"], made["examples"])
    try:
        work.result()
    except RequestChangedError:
        other = RunLayout(home(), f"{name}-{work.request.digest[:8]}")
        write_json(other.config, config)
        return other.name
    return name
