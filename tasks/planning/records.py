"""What a plan says: plain records that go into JSON, an artifact and a report."""

import shlex
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from tasks.config.parallel import Layout
from tasks.training.measure.simulation import Checkpointing


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Candidate(Record):
    """One layout with its micro-batch and checkpointing, and what is predicted for it."""

    kind: str
    """Which kinds of parallelism it uses."""
    layout: Layout
    micro_batch_size: int
    micro_batches: int
    """Per step and data-parallel rank."""
    activation_checkpointing: Checkpointing
    memory_bytes: int
    """Of the fullest rank, with what is reserved and the allocator's slack."""
    least_memory_bytes: int | None = None
    """The same with what compiled layers save, which is less; None where training does not compile them."""
    tensor_bytes: int
    """Of that, tensors at the peak, by the closed form."""
    memory_parts: dict[str, int]
    peak_moment: str
    peak_place: int
    """Pipeline rank with the most memory."""
    fits: bool
    step_seconds: float
    time_parts: dict[str, float]
    tokens_per_second: float
    mfu: float

    def needs_more_than(self, limit_bytes: float) -> bool:
        """Surely: also with compiled layers."""
        return (self.least_memory_bytes or self.memory_bytes) > limit_bytes

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above `property`
    @property
    def settings(self) -> list[str]:
        """Assignments that apply it, for `--set`."""
        layout = self.layout
        values = {
            "launch.num_processes": layout.world_size,
            "parallel.pipeline_parallel": layout.pipeline_parallel,
            "parallel.virtual_stages": layout.virtual_stages,
            "parallel.replicate": layout.replicate,
            "parallel.shard": layout.shard,
            "parallel.tensor_parallel": layout.tensor_parallel,
            "parallel.activation_checkpointing": f'"{self.activation_checkpointing}"',  # a bare `none` means no value
            "pretrain.micro_batch_size": self.micro_batch_size,
        }
        left_out = {"parallel.virtual_stages": 1, "parallel.pipeline_parallel": 1, "parallel.tensor_parallel": 1}
        return [f"{name}={value}" for name, value in values.items() if left_out.get(name) != value]


class Configured(Record):
    """The layout that the settings have now."""

    candidate: Candidate | None
    """None where it cannot be had at all."""
    reason: str
    """Why it cannot be had or does not fit; empty where it fits."""


class Horizon(Record):
    """The whole training, at the chosen layout's predicted speed, if the verdict does not end it earlier."""

    train_tokens: int
    steps: int
    days: float
    device_hours: float
    energy_kwh: float
    price: float | None = None


class Disk(Record):
    """Bytes on disk at the end."""

    checkpoint_bytes: int
    """One checkpoint: fp32 weights and two moments, 12 bytes per parameter."""
    checkpoints_kept: int
    """keep_checkpoints, the best, and the one being written."""
    milestone_bytes: int
    """One milestone: fp32 weights, 4 bytes per parameter."""
    milestones: int
    """At most, with the export at the end."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above `property`
    @property
    def total_bytes(self) -> int:
        return self.checkpoint_bytes * self.checkpoints_kept + self.milestone_bytes * self.milestones


class Check(Record):
    """The closed form beside one simulated rank."""

    formula_bytes: int
    simulated_bytes: int | None
    difference: float | None
    """Formula over simulation, minus 1."""
    depths: tuple[int, int] | None
    seconds: float
    note: str
    """What was simulated, or why nothing was."""


class Plan(Record):
    """Which layout to train on, why, and what it will take."""

    architecture: str
    num_parameters: int
    flops_per_token: float
    sequence_length: int
    global_batch_tokens: int
    precision: Literal["bf16", "fp32"]
    fp8: bool = False
    """The products of layers are planned in fp8, which training here cannot: to compare with runs that did."""
    watts: float | None = None
    """Power limit of a device; None: the data sheet's."""
    accelerator: str
    memory_limit_bytes: int
    """Per rank."""
    peak_flops: float
    world_size: int
    nodes: int
    chosen: Candidate
    runners_up: list[Candidate]
    """The next fastest that fit, then the fastest that fits of every other kind."""
    too_large: list[Candidate]
    """Faster ones that do not fit."""
    configured: Configured
    num_considered: int
    """Products of layout, micro-batch, checkpointing and virtual stages."""
    num_examined: int
    """Those, from the fastest on, whose memory had to be computed."""
    impossible: dict[str, int]
    """Why layouts were left out, and how many."""
    horizon: Horizon
    disk: Disk
    assumptions: list[str]
    check: Check | None = None

    settings_problem: str = ""
    """What else has to be changed before the choice can be applied."""

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above `property`
    @property
    def settings_line(self) -> str:
        """What to add to the command to train so."""
        return " ".join(f"--set {shlex.quote(assignment)}" for assignment in self.chosen.settings)
