"""What the simulation of one rank (tasks/training/simulate.py) is asked, and what it answers."""

from typing import Literal

from pydantic import BaseModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout

Attention = Literal["eager", "fused"]
Checkpointing = Literal["none", "selective", "full"]


class SimulationRequest(BaseModel):
    """One rank of a layout, with a step of so many micro-batches."""

    model: ModelConfig
    vocab_rows: int
    layout: Layout
    rank: int
    micro_batch_size: int
    sequence_length: int
    micro_batches: int
    precision: Literal["bf16", "fp32"]
    state_precision: Literal["bf16", "fp32"] = "fp32"
    optimizer: Literal["adamw", "muon"] = "adamw"
    activation_checkpointing: Checkpointing = "none"
    attention: Attention = "fused"
    layers_of_rank: int
    """Layers that the rank holds; the two simulated depths are smaller."""
    depths: tuple[int, int]

    @property
    def simulated_micro_batches(self) -> int:
        """As many as show the peak: the second accumulates, and a pipeline has as many in flight as it has stages, or twice."""
        pipeline, virtual = self.layout.pipeline_parallel, self.layout.virtual_stages
        enough = 2 if pipeline == 1 else pipeline + 1 if virtual == 1 else 2 * pipeline
        return min(self.micro_batches, enough)


class SimulatedPeak(BaseModel):
    """Bytes that tensors take at most on the rank."""

    peak_memory_bytes: int
    phases: dict[str, int]
    depths: tuple[int, int]
    seconds: float
