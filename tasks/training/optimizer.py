"""AdamW with the usual parameter groups, or Muon for matrices."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from tasks.training.model.partition import Partition
from tasks.training.muon import MuonAdamW

OptimizerKind = Literal["adamw", "muon"]


def build_optimizer(
    partition: Partition,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    kind: OptimizerKind = "adamw",
    precision: str = "fp32",
) -> torch.optim.AdamW:
    """Fused AdamW: weight decay on matrices but embeddings, none on vectors (norms, biases). Its state has their dtype.

    With `muon` the matrices of the layers have Muon's update instead, computed in `precision`.
    Each group's parameters lie on one mesh, which the fused kernel needs.
    """
    modules = [m for part in partition.parts for m in part.modules()]
    embeddings = {id(m.weight) for m in modules if isinstance(m, nn.Embedding)} | {id(partition.tied_head)}
    heads = {id(getattr(part.get_output_embeddings(), "weight", None)) for part in partition.parts}
    groups: dict[tuple[bool, bool, DeviceMesh | None], list[nn.Parameter]] = {}
    for parameter in partition.parameters().values():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and id(parameter) not in embeddings
            orthogonal = kind == "muon" and decays and parameter.ndim == 2 and id(parameter) not in heads
            mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
            groups.setdefault((decays, orthogonal, mesh), []).append(parameter)
    settings = [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "orthogonal": orthogonal, "precision": precision}
        for (decays, orthogonal, _), members in sorted(groups.items(), key=lambda group: group[0][:2], reverse=True)
    ]
    optimizer = MuonAdamW if kind == "muon" else torch.optim.AdamW
    return optimizer(settings, lr=learning_rate, betas=betas, eps=1e-8, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts by parameter name, as they are saved; made, with zeros, where no step was taken yet."""
    allocate_state(optimizer)
    return {
        f"{name}:{key}": value for name, p in parameters.items() for key, value in sorted(optimizer.state.get(p, {}).items())
    }


def allocate_state(optimizer: torch.optim.Optimizer) -> None:
    """Make the state that the first step would make, by a step that changes nothing."""
    if optimizer.state:
        return
    gradients, rates = {}, [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], Tensor) else 0.0
        for parameter in group["params"]:
            gradients[parameter] = parameter.grad
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
        for parameter in group["params"]:
            parameter.grad = gradients[parameter]
            for value in optimizer.state[parameter].values():
                value.zero_()
