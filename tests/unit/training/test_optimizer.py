"""Parameter groups, dtypes, and moments that survive being saved."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from tasks.config.parallel import Layout
from tasks.training.model.mesh import Mesh
from tasks.training.model.partition import Partition
from tasks.training.model.ranks import Ranks
from tasks.training.optimizer import build_optimizer, optimizer_tensors, set_learning_rate
from tests.kit.models import ALONE, text_batch, tiny_model
from tests.kit.ranks import run_ranks

BETAS = (0.9, 0.95)
KINDS = ["adamw", "muon"]


def alone(model: torch.nn.Module) -> Partition:
    return Partition(Mesh(Layout(), ALONE), [model])


def names_by_decay(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[float, set[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[float, set[str]] = {}
    for group in optimizer.param_groups:
        found.setdefault(group["weight_decay"], set()).update(names[id(p)] for p in group["params"])
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_matrices_decay_and_norms_biases_and_embeddings_do_not(tied: bool, kind: str) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    groups = names_by_decay(model, build_optimizer(alone(model), 1e-3, 0.1, BETAS, kind))
    assert groups[0.1] | groups[0.0] == dict(model.named_parameters()).keys()
    assert groups[0.1] & groups[0.0] == set()
    assert "model.embed_tokens.weight" in groups[0.0]
    assert {name for name in groups[0.0] if "norm" in name} == {n for n, _ in model.named_parameters() if "norm" in n}
    assert ("lm_head.weight" in groups[0.1]) is not tied, "an output matrix of its own is a matrix"
    assert all("proj" in name or name == "lm_head.weight" for name in groups[0.1])


def test_the_biases_and_both_embeddings_of_gpt2_do_not_decay() -> None:
    model = tiny_model("gpt2")
    groups = names_by_decay(model, build_optimizer(alone(model), 1e-3, 0.1, BETAS))
    assert {"transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.attn.c_attn.bias"} <= groups[0.0]
    assert "transformer.h.0.attn.c_attn.weight" in groups[0.1]


def test_muon_is_for_the_matrices_of_the_layers() -> None:
    model = tiny_model(tie_word_embeddings=False)
    optimizer = build_optimizer(alone(model), 1e-3, 0.1, BETAS, "muon")
    names = {id(p): name for name, p in model.named_parameters()}
    orthogonal = {names[id(p)] for group in optimizer.param_groups if group["orthogonal"] for p in group["params"]}
    assert orthogonal == {name for name, _ in model.named_parameters() if "proj" in name}


@pytest.mark.parametrize("kind", KINDS)
def test_tied_weights_are_optimised_once_and_frozen_ones_not_at_all(kind: str) -> None:
    model = tiny_model()
    optimizer = build_optimizer(alone(model), 1e-3, 0.1, BETAS, kind)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in parameters}) == len(parameters) == len(list(model.parameters()))
    model.model.embed_tokens.weight.requires_grad_(False)
    assert "model.embed_tokens.weight" not in names_by_decay(model, build_optimizer(alone(model), 1e-3, 0.1, BETAS, kind))[0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_weight_decay_shrinks_a_matrix_and_leaves_a_norm(kind: str) -> None:
    model = tiny_model()
    matrix, norm = model.model.layers[0].mlp.up_proj.weight, model.model.norm.weight
    before = matrix.clone(), norm.clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(alone(model), 0.5, 0.1, BETAS, kind).step()
    torch.testing.assert_close(matrix.detach(), before[0] * 0.95)
    assert torch.equal(norm, before[1])


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        batch = text_batch(seed=step)["input_ids"]
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_that_were_saved_and_loaded_continue_bit_for_bit(kind: str, dtype: torch.dtype) -> None:
    straight = tiny_model().to(dtype)
    optimizer = build_optimizer(alone(straight), 1e-2, 0.1, BETAS, kind)
    train(straight, optimizer, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(dict(straight.named_parameters()), optimizer).items()}
    weights = {name: tensor.clone() for name, tensor in straight.state_dict().items()}
    assert {tensor.dtype for name, tensor in saved.items() if not name.endswith(":step")} == {dtype}
    train(straight, optimizer, range(3, 6))

    resumed = tiny_model(seed=9).to(dtype)
    resumed.load_state_dict(weights)
    again = build_optimizer(alone(resumed), 1e-2, 0.1, BETAS, kind)
    for name, tensor in optimizer_tensors(dict(resumed.named_parameters()), again).items():
        tensor.copy_(saved[name])
    train(resumed, again, range(3, 6))
    for (name, a), b in zip(straight.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_saved_moments_are_named_by_parameter_and_there_before_the_first_step() -> None:
    model = tiny_model()
    parameters = dict(model.named_parameters())
    before = {name: p.clone() for name, p in parameters.items()}
    optimizer = build_optimizer(alone(model), 1e-2, 0.1, BETAS)
    tensors = optimizer_tensors(parameters, optimizer)
    assert tensors.keys() == {f"{name}:{key}" for name in parameters for key in ("step", "exp_avg", "exp_avg_sq")}
    assert not any(tensor.any() for tensor in tensors.values())
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in parameters.items())
    train(model, optimizer, range(2))
    assert optimizer_tensors(parameters, optimizer)["model.norm.weight:step"].item() == 2


def test_muon_has_one_moment_for_a_matrix() -> None:
    model = tiny_model()
    parameters = dict(model.named_parameters())
    tensors = optimizer_tensors(parameters, build_optimizer(alone(model), 1e-2, 0.1, BETAS, "muon"))
    ours = {name.partition(":")[2] for name in tensors if "proj" in name}
    others = {name.partition(":")[2] for name in tensors if "proj" not in name}
    assert (ours, others) == ({"momentum"}, {"step", "exp_avg", "exp_avg_sq"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_learning_rate_is_set_for_every_group(kind: str) -> None:
    optimizer = build_optimizer(alone(tiny_model()), 1e-2, 0.1, BETAS, kind)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}


def groups_of_mixed_meshes(ranks: Ranks) -> tuple[int, list[int]]:
    model = tiny_model()
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("shard", "tensor"))
    for layer in model.model.layers:
        for projection, over in ((layer.mlp.up_proj, mesh["tensor"]), (layer.mlp.down_proj, mesh["shard"])):
            projection.weight = torch.nn.Parameter(distribute_tensor(projection.weight.detach(), over, [Shard(0)]))
    optimizer = build_optimizer(Partition(Mesh(Layout(tensor_parallel=2), ranks), [model]), 1e-2, 0.1, BETAS)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    meshes = [{getattr(p, "device_mesh", None) for p in group["params"]} for group in optimizer.param_groups]
    return len(meshes), [len(found) for found in meshes]


def test_parameters_of_different_meshes_are_in_different_groups() -> None:
    """Fused AdamW refuses a group whose parameters lie on several meshes."""
    assert run_ranks(2, groups_of_mixed_meshes) == [(4, [1, 1, 1, 1])] * 2
