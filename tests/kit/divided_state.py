"""Weights and AdamW's state of a tiny Llama as a rank of any layout holds them; every value follows from its name and place."""

import math
import zlib

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import box_of, local_values
from tests.kit.checkpoints import tiny

EMBEDDING = "model.embed_tokens.weight"


class DividedState:
    """Matrices are cut along rows and columns by turns over the tensor ranks, layers over the pipeline, all by FSDP2.

    With a pipeline, the last stage has a tied copy of the embedding, as production has it.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        model = tiny(hidden_size=30, intermediate_size=50, num_attention_heads=3, vocab_size=101)
        if mesh.layout.tensor_parallel > 1:
            for number, linear in enumerate(m for m in model.model.modules() if isinstance(m, nn.Linear)):
                placed = distribute_tensor(linear.weight.detach(), mesh.device_mesh["tensor"], [Shard(number % 2)])
                linear.weight = nn.Parameter(placed)
        if mesh.layout.shard > 1:
            over = ("replicate", "shard") if mesh.layout.replicate > 1 else ("shard",)
            fully_shard(model, mesh=mesh.device_mesh[over])
        self.weights = {name: p for name, p in model.named_parameters() if self.is_here(name)}
        self.optimizer: dict[str, Tensor] = {}
        for name, parameter in self.weights.items():
            self.optimizer |= {f"{name}:{key}": torch.empty_like(parameter).detach() for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer[f"{name}:step"] = torch.zeros(())

    def is_here(self, name: str) -> bool:
        stages, stage = self.mesh.layout.pipeline_parallel, self.mesh.coordinate["pipeline"]
        if name == EMBEDDING:
            return stage in (0, stages - 1)
        layer = int(name.split(".")[2]) if ".layers." in name else 1
        return stage == layer * stages // 2

    @property
    def written_elsewhere(self) -> set[str]:
        """The second of the two tied matrices."""
        if self.mesh.coordinate["pipeline"] == 0:
            return set()
        return {name for name in self.weights | self.optimizer if name.startswith(EMBEDDING)}

    @property
    def tensors(self) -> dict[str, Tensor]:
        return self.weights | self.optimizer

    def fill(self, seed: int) -> None:
        for name, tensor in self.tensors.items():
            local_values(tensor).copy_(self.expected(name, tensor, seed))

    def is_filled(self, seed: int) -> bool:
        return all(torch.equal(local_values(t), self.expected(name, t, seed)) for name, t in self.tensors.items())

    def expected(self, name: str, tensor: Tensor, seed: int) -> Tensor:
        offset, shape = box_of(tensor)
        numbers = torch.arange(math.prod(tensor.shape), dtype=torch.float32).reshape(tensor.shape)
        whole = torch.sin(numbers + zlib.crc32(name.encode()) % 1000 + seed)
        return whole[tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))]
