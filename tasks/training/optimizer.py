"""AdamW with the usual parameter groups, over gradients that lie in one buffer."""

import torch
from torch import Tensor, nn


class FlatGradients:
    """All gradients as views of one fp32 buffer: one all-reduce, one norm, and the same summation order on every start.

    (DistributedDataParallel sorts its buckets anew after the first step, so that a resumed run would sum in another order.)
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.buffer = torch.zeros(sum(p.numel() for p in self.parameters), device=self.parameters[0].device)
        start = 0
        for parameter in self.parameters:
            parameter.grad = self.buffer[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def zero(self) -> None:
        self.buffer.zero_()

    def clip(self, max_norm: float | None) -> Tensor:
        """Scale to at most `max_norm` (None: leave); returns the norm before it, a scalar tensor."""
        norm = torch.linalg.vector_norm(self.buffer)
        if max_norm is not None:
            self.buffer *= (max_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm


def build_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """Fused AdamW: weight decay on matrices but embeddings, none on vectors (norms, biases)."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2 and id(p) not in embeddings]
    taken = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=betas, eps=1e-8, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Moments and step counts by parameter name, as they are saved."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}:{key}"] = value
    return tensors


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter, _, key = name.rpartition(":")
        device = "cpu" if key == "step" and parameters[parameter].device.type == "cpu" else parameters[parameter].device
        optimizer.state[parameters[parameter]][key] = value.to(device)
