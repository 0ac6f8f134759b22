"""Parameter groups, the flat buffer of gradients, and moments that survive being saved."""

import pytest
import torch

from tasks.training.optimizer import (
    FlatGradients,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from tests.unit.training.tiny_models import text_batch, tiny_model


def names_by_decay(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[float, set[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in optimizer.param_groups}


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_decay_and_norms_biases_and_embeddings_do_not(tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    groups = names_by_decay(model, build_optimizer(model, 1e-3, 0.1, (0.9, 0.95)))
    assert groups[0.1] | groups[0.0] == dict(model.named_parameters()).keys()
    assert groups[0.1] & groups[0.0] == set()
    assert "model.embed_tokens.weight" in groups[0.0]
    assert {name for name in groups[0.0] if "norm" in name} == {n for n, _ in model.named_parameters() if "norm" in n}
    assert ("lm_head.weight" in groups[0.1]) is not tied, "an output matrix of its own is a matrix"
    assert all("proj" in name or name == "lm_head.weight" for name in groups[0.1])


def test_the_biases_and_both_embeddings_of_gpt2_do_not_decay() -> None:
    model = tiny_model("gpt2")
    groups = names_by_decay(model, build_optimizer(model, 1e-3, 0.1, (0.9, 0.95)))
    assert {"transformer.wte.weight", "transformer.wpe.weight", "transformer.h.0.attn.c_attn.bias"} <= groups[0.0]
    assert "transformer.h.0.attn.c_attn.weight" in groups[0.1]


def test_tied_weights_are_optimised_once() -> None:
    model = tiny_model()
    parameters = [p for group in build_optimizer(model, 1e-3, 0.1, (0.9, 0.95)).param_groups for p in group["params"]]
    assert len({id(p) for p in parameters}) == len(parameters) == len(list(model.parameters()))
    assert sum(p.numel() for p in parameters) == FlatGradients(model).buffer.numel()


def test_frozen_parameters_are_left_out() -> None:
    model = tiny_model()
    model.model.embed_tokens.weight.requires_grad_(False)
    optimizer = build_optimizer(model, 1e-3, 0.1, (0.9, 0.95))
    assert "model.embed_tokens.weight" not in names_by_decay(model, optimizer)[0.0]
    buffer = FlatGradients(model).buffer
    assert buffer.numel() == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_weight_decay_shrinks_a_matrix_and_leaves_a_norm() -> None:
    model = tiny_model()
    gradients = FlatGradients(model)
    matrix, norm = model.model.layers[0].mlp.up_proj.weight, model.model.norm.weight
    before = matrix.clone(), norm.clone()
    gradients.zero()
    build_optimizer(model, 0.5, 0.1, (0.9, 0.95)).step()
    torch.testing.assert_close(matrix.detach(), before[0] * 0.95)
    assert torch.equal(norm, before[1])


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e9])
def test_clipping_is_that_of_torch(max_norm: float) -> None:
    ours, theirs = tiny_model(seed=3), tiny_model(seed=3)
    flat = FlatGradients(ours)
    for model in (ours, theirs):
        model(input_ids=text_batch()["input_ids"], labels=text_batch()["input_ids"]).loss.backward()
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
    assert flat.clip(max_norm).item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-9, msg=name)


def test_clipping_can_be_off() -> None:
    flat = FlatGradients(tiny_model())
    flat.buffer.fill_(2.0)
    assert flat.clip(None).item() == pytest.approx(2 * flat.buffer.numel() ** 0.5, rel=1e-5)
    assert (flat.buffer == 2.0).all()


def test_gradients_accumulate_in_the_buffer_and_are_zeroed_there() -> None:
    model = tiny_model()
    flat = FlatGradients(model)
    batch = text_batch()["input_ids"]
    model(input_ids=batch, labels=batch).loss.backward()
    once = flat.buffer.clone()
    assert once.abs().sum() > 0
    model(input_ids=batch, labels=batch).loss.backward()
    torch.testing.assert_close(flat.buffer, 2 * once, rtol=1e-5, atol=1e-7)
    assert all(p.grad.untyped_storage().data_ptr() == flat.buffer.untyped_storage().data_ptr() for p in model.parameters())
    flat.zero()
    assert not any(p.grad.any() for p in model.parameters())


def train(model: torch.nn.Module, optimizer: torch.optim.AdamW, gradients: FlatGradients, steps: range) -> None:
    for step in steps:
        gradients.zero()
        batch = text_batch(seed=step)["input_ids"]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()


def test_moments_that_were_saved_and_loaded_continue_bit_for_bit() -> None:
    straight = tiny_model()
    optimizer = build_optimizer(straight, 1e-2, 0.1, (0.9, 0.95))
    gradients = FlatGradients(straight)
    train(straight, optimizer, gradients, range(3))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(straight, optimizer).items()}
    weights = {name: tensor.clone() for name, tensor in straight.state_dict().items()}
    train(straight, optimizer, gradients, range(3, 6))

    resumed = tiny_model(seed=9)
    resumed.load_state_dict(weights)
    again = build_optimizer(resumed, 1e-2, 0.1, (0.9, 0.95))
    load_optimizer_tensors(resumed, again, saved)
    train(resumed, again, FlatGradients(resumed), range(3, 6))
    for (name, a), b in zip(straight.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_saved_moments_are_named_by_parameter() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, 1e-2, 0.1, (0.9, 0.95))
    assert optimizer_tensors(model, optimizer) == {}
    train(model, optimizer, FlatGradients(model), range(2))
    tensors = optimizer_tensors(model, optimizer)
    expected = {f"{name}:{key}" for name, _ in model.named_parameters() for key in ("step", "exp_avg", "exp_avg_sq")}
    assert tensors.keys() == expected
    assert tensors["model.norm.weight:step"].item() == 2


def test_the_learning_rate_is_set_for_every_group() -> None:
    optimizer = build_optimizer(tiny_model(), 1e-2, 0.1, (0.9, 0.95))
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
