"""What a person can set about a fine-tune."""

from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import available_timezones

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from tasks.config.cron import check_cron
from tasks.config.examples import ExamplesConfig
from tasks.config.gate import GateConfig, check_gate
from tasks.config.parallel import Layout, ParallelConfig
from tasks.config.places import Place
from tasks.config.section import NAME_PATTERN, Section, check_multiple, nearest_name
from tasks.config.training import LaunchConfig


class ScheduleConfig(Section):
    model_config = ConfigDict(title="Schedule")

    cron: str | None = None
    """Cron expression of five fields, such as `0 3 * * 1`, which is Mondays at 3:00."""
    every_minutes: int | None = Field(None, ge=1)
    """Minutes from one start to the next, in place of `cron`."""
    timezone: str = "UTC"
    """Time zone that `cron` is meant in, such as Europe/Berlin; its daylight saving is followed."""
    settings: tuple[str, ...] = ()
    """Settings that differ in this schedule's runs, as for --set: a list such as ["epochs=1", "gate.level=0.01"]."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.cron is None) == (self.every_minutes is None):
            both = "both cron and every_minutes" if self.cron is not None else "neither cron nor every_minutes"
            raise ValueError(f"schedule has {both}; set one of them")
        if self.cron is not None:
            check_cron("schedule.cron", self.cron)
        if self.timezone not in available_timezones():
            raise ValueError(
                f"schedule.timezone={self.timezone!r} is no time zone; {nearest_name(self.timezone, available_timezones())}"
                "write one as Europe/Berlin, or UTC"
            )
        return self


class FinetuneConfig(Section):
    model_config = ConfigDict(title="Fine-tuning")

    name: str = Field("topic", pattern=NAME_PATTERN)
    """Names the folder and the registered model; in a run's configuration both are called RUN-NAME."""
    base: Annotated[str | None, Place(or_name=True)] = None
    """What is fine-tuned: `run:NAME`, `models:/NAME@alias`, `models:/NAME/VERSION`, a Hugging Face folder, a GGUF file, or
    `ORGANISATION/NAME@REVISION` on the hub; empty means the model of the run that this is a part of."""
    kind: Literal["classification", "instruction"] = "classification"
    """What is learned: one label for a text, or an answer to a prompt."""
    examples: ExamplesConfig = ExamplesConfig()
    """The labelled data."""
    gate: GateConfig = GateConfig()
    """What a candidate must show before it can be promoted."""
    epochs: int = Field(2, ge=1)
    """Passes over the training examples."""
    batch_size: int = Field(32, ge=1)
    """Examples per optimizer step over all ranks; a multiple of micro_batch_size x ranks."""
    micro_batch_size: int = Field(16, ge=1)
    """Examples per rank and forward pass."""
    max_length: int = Field(128, ge=8)
    """Longer examples are cut to so many tokens; at most the positions of the base."""
    learning_rate: float = Field(5e-4, gt=0.0, le=1.0)
    """Peak learning rate; decays linearly to zero; at most 1."""
    warmup_fraction: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the steps spent in linear warm-up."""
    weight_decay: float = Field(0.01, ge=0.0, le=1.0)
    """AdamW weight decay of matrices; 0 to 1."""
    max_grad_norm: float | None = Field(1.0, gt=0.0)
    """Gradients are clipped to this global norm; empty means off."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Example order, head initialisation and dropout are functions of this number."""
    evaluate_every_steps: int = Field(50, ge=1)
    """Steps between measurements on the test examples."""
    checkpoint_every_steps: int = Field(100, ge=1)
    """Steps between checkpoints with optimizer state."""
    min_new_examples: int = Field(0, ge=0)
    """A refresh with another base or recipe runs always; one with other examples only where so many are new."""
    max_shrinkage: float = Field(0.1, ge=0.0, le=1.0)
    """Share of the last refresh's number of examples that may be gone; a file that lost more is taken for a broken one."""
    overlap: Literal["wait", "skip"] = "wait"
    """What a refresh does while another one of the same fine-tune runs: wait for its end, or end itself as skipped."""
    schedule: tuple[ScheduleConfig, ...] = ()
    """When it is refreshed by itself, once it is deployed."""

    # What the training loop reads of pre-training's settings too, and a fine-tune has under another name or as a constant.
    optimizer: ClassVar[Literal["adamw"]] = "adamw"
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    keep_checkpoints: ClassVar[int] = 1

    @property
    def place(self) -> str:
        """What a message puts before the name of a setting."""
        return f"finetune[{self.name}]."

    @property
    def global_batch_size(self) -> int:
        return self.batch_size

    @property
    def sequence_length(self) -> int:
        return self.max_length

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_gate(f"{self.place}gate", self.kind, self.gate)
        return self

    def check_batch(self, field: str, layout: Layout) -> None:
        """Raises ValueError for a batch that does not divide over the ranks, of which none is for a pipeline."""
        ranks = layout.without_pipeline.data_parallel
        unit, factors = self.micro_batch_size * ranks, f"{self.micro_batch_size} x {ranks}"
        check_multiple(f"{field}batch_size", self.batch_size, unit, factors)


NO_RECIPE = {
    "name",
    "base",
    "examples",
    "gate",
    "min_new_examples",
    "max_shrinkage",
    "overlap",
    "schedule",
    "launch",
    "parallel",
}
"""Settings that do not decide what the weights become: names, inputs that have digests, and what is done with the model."""


class FinetuneFile(FinetuneConfig):
    """A fine-tune that stands on its own feet: what its file holds, and what its flow is given."""

    model_config = ConfigDict(title="Fine-tune")

    launch: LaunchConfig = LaunchConfig()
    """How training processes are started."""
    parallel: ParallelConfig = ParallelConfig()
    """How the model and its batches are divided over them."""

    @model_validator(mode="after")
    def _check_file(self) -> Self:
        if not (self.base or "").strip():
            raise ValueError('base is not set, and there is no run whose model it is; set it, such as base = "run:demo"')
        self.check_batch("", self.parallel.layout(self.launch.num_processes))
        return self

    _within: str = PrivateAttr("")
    """Where its settings stand, if that is the configuration of a run."""

    @classmethod
    def of_run(cls, name: str, one: FinetuneConfig, base: str, launch: LaunchConfig, parallel: ParallelConfig) -> Self:
        """A fine-tune of a run's configuration as if it stood in a file of its own."""
        made = cls(**dict(one) | {"name": name, "base": base, "launch": launch, "parallel": parallel})
        made._within = one.place
        return made

    @property
    def place(self) -> str:
        return self._within

    @property
    def as_set(self) -> dict[str, Any]:
        """What was set, without the defaults: kept so, it is understood as long as these settings have their names."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the weights become by, beside base and examples."""
        return self.model_dump(mode="json", exclude=NO_RECIPE)
