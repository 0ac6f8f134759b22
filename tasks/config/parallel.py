"""How the model and its batches are divided over the ranks. Execution, not identity: it may change between attempts."""

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.section import Section


@dataclass(frozen=True)
class Layout:
    """Sizes of the mesh, in the order in which ranks are numbered: pipeline, replicate, shard, tensor (the fastest)."""

    pipeline_parallel: int = 1
    replicate: int = 1
    shard: int = 1
    tensor_parallel: int = 1
    virtual_stages: int = 1

    @property
    def world_size(self) -> int:
        return self.pipeline_parallel * self.stage_size

    @property
    def stage_size(self) -> int:
        """Ranks that share one pipeline stage."""
        return self.data_parallel * self.tensor_parallel

    @property
    def data_parallel(self) -> int:
        """Ranks that read different samples."""
        return self.replicate * self.shard

    @property
    def num_stages(self) -> int:
        """Pieces that the layers are cut into."""
        return self.pipeline_parallel * self.virtual_stages

    @property
    def is_partitioned(self) -> bool:
        """Whether a rank holds less than the whole model."""
        return self.pipeline_parallel * self.shard * self.tensor_parallel > 1

    @property
    def without_pipeline(self) -> "Layout":
        """The same ranks, the pipeline's sharding instead: for stages that have no pipeline."""
        return Layout(1, self.replicate, self.shard * self.pipeline_parallel, self.tensor_parallel)

    def __str__(self) -> str:
        virtual = f" x {self.virtual_stages} virtual" if self.virtual_stages > 1 else ""
        return (
            f"pipeline {self.pipeline_parallel}{virtual}, replicate {self.replicate}, shard {self.shard}, "
            f"tensor {self.tensor_parallel}"
        )


class ParallelConfig(Section):
    model_config = ConfigDict(title="Partitioning")

    pipeline_parallel: int = Field(1, ge=1)
    """Pipeline stages: consecutive blocks of layers on different ranks."""
    replicate: int | None = Field(None, ge=1)
    """Copies of the (sharded) model that read different samples; empty means what is left of launch.num_processes."""
    shard: int = Field(1, ge=1)
    """Ranks over which parameters, gradients and optimizer state are sharded (FSDP2); they read different samples."""
    tensor_parallel: int = Field(1, ge=1)
    """Ranks that share every matrix product; divides the attention heads, key-value heads and vocabulary."""
    context_parallel: int = Field(1, ge=1)
    """Ranks that share one sequence; only 1 can be had: torch's ring attention would let packed documents see each other."""
    expert_parallel: int = Field(1, ge=1)
    """Ranks that share the experts of a layer; only 1 can be had: the loss has no term for the balance of experts."""
    virtual_stages: int = Field(1, ge=1)
    """Blocks of layers per pipeline rank; from 2 on the schedule is interleaved 1F1B: smaller bubble, more traffic."""
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What is computed again in the backward pass: nothing, all but matrix products and attention, or whole layers."""
    compile: Literal["auto", "on", "off"] = "auto"
    """`torch.compile` of each layer; `auto` means on GPUs and not on CPUs, where it was slower."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, reason, remedy in (
            ("context_parallel", "torch's ring attention takes one causal mask for the whole sequence, so that packed "
             "documents would attend to each other", "use shard and activation_checkpointing for long sequences"),
            ("expert_parallel", "pre-training has no loss term that balances the experts of a mixture",
             "use shard and tensor_parallel"),
        ):  # fmt: skip
            if (value := getattr(self, field)) > 1:
                raise ValueError(f"parallel.{field}={value} cannot be had: {reason}; set it to 1 and {remedy}")
        if self.virtual_stages > 1 and self.pipeline_parallel == 1:
            raise ValueError(
                f"parallel.virtual_stages={self.virtual_stages} has no effect with parallel.pipeline_parallel=1; "
                "remove it or set pipeline_parallel to at least 2"
            )
        return self

    @property
    def model_ranks(self) -> int:
        """Ranks that hold one copy of the model."""
        return self.pipeline_parallel * self.shard * self.tensor_parallel

    def layout(self, world_size: int) -> Layout:
        """The mesh over `world_size` ranks; raises ValueError where the sizes do not multiply to it."""
        replicate = self.replicate or max(1, world_size // self.model_ranks)
        layout = Layout(self.pipeline_parallel, replicate, self.shard, self.tensor_parallel, self.virtual_stages)
        if layout.world_size != world_size:
            product = " x ".join(str(size) for size in (self.pipeline_parallel, replicate, self.shard, self.tensor_parallel))
            raise ValueError(
                f"launch.num_processes={world_size} is not parallel.pipeline_parallel x replicate x shard x tensor_parallel = "
                f"{product} = {layout.world_size}; set launch.num_processes={layout.world_size} or change the mesh"
            )
        return layout
