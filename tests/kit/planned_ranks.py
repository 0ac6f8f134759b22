"""One training step of planned ranks, simulated or real, for tests that send a function to other processes."""

import torch
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.planning.plan import formula_of
from tasks.planning.shapes import shape_of
from tasks.training.measure.simulation import SimulatedPeak, SimulationRequest
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model, with_parameters_in
from tasks.training.model.objective import Batch
from tasks.training.model.partition import Partition, partitioned
from tasks.training.model.ranks import Ranks
from tasks.training.passes import passes_of
from tasks.training.simulate import measured_step, simulated_peak

ROWS = 2048


def request(layout: Layout, rank: int = 0, **changes) -> SimulationRequest:
    """A four-layer Llama of 3 M parameters with four sequences of 256 tokens."""
    model = {
        "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512,
    } | changes.pop("model", {})  # fmt: skip
    values = {
        "micro_batch_size": 4, "sequence_length": 256, "micro_batches": 1, "precision": "bf16",
        "layers_of_rank": model["num_hidden_layers"] // layout.pipeline_parallel,
        "depths": (layout.virtual_stages, 2 * layout.virtual_stages),
    } | changes  # fmt: skip
    return SimulationRequest(model=ModelConfig(**model), vocab_rows=ROWS, layout=layout, rank=rank, **values)


def formula(asked: SimulationRequest) -> int:
    """Tensor bytes of that rank by the closed form."""
    return formula_of(asked, shape_of(asked.model, asked.vocab_rows))


def simulated(_ranks: Ranks, asked: SimulationRequest) -> SimulatedPeak:
    """In a process of its own, because torch remembers the groups of earlier meshes."""
    return simulated_peak(asked)


def real_passes(partition: Partition, asked: SimulationRequest):
    """The passes that training makes."""
    passes = passes_of(partition, asked.precision, asked.micro_batches)

    def train(batches: list[Batch]) -> None:
        passes.train(batches, lambda number: number, 1024)

    return train


def measured(ranks: Ranks, asked: SimulationRequest) -> int:
    """Peak bytes of the tensors of a real step of this rank among real ranks."""

    def build() -> PreTrainedModel:
        model = build_model(asked.model, asked.vocab_rows, 0, 0)
        model.set_attn_implementation("eager" if asked.attention == "eager" else "sdpa")
        return with_parameters_in(model, asked.state_precision)

    partition = partitioned(build, Mesh(asked.layout, ranks), asked.precision)
    torch.manual_seed(0)
    return max(measured_step(partition, asked, real_passes).values())
