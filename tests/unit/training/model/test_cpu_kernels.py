"""oneDNN's products are those of torch, and only take the place of what they can."""

import pytest
import torch
from torch import nn

from tasks.training.model import cpu_kernels
from tasks.training.model.cpu_kernels import OneDnnLinear, prefers_onednn, product, takes, use_onednn
from tests.kit.models import gradients, text_batch, tiny_model


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN, also where another library is faster."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(cpu_kernels, "prefers_onednn", lambda: True)


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (1, 8)])
def test_products_and_gradients_are_those_of_linear(preferred: None, shape: tuple[int, ...]) -> None:
    chance = torch.Generator().manual_seed(0)
    found = []
    inputs, weight = torch.randn(shape, generator=chance), torch.randn(6, 8, generator=chance)
    for linear in (nn.functional.linear, OneDnnLinear.apply):
        x, w = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
        out = linear(x, w)
        out.square().sum().backward()
        found.append((out.detach(), x.grad, w.grad))
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(product(inputs, weight), inputs @ weight.T)


def test_frozen_weights_and_inputs_get_no_gradient(preferred: None) -> None:
    x, w = torch.randn(3, 8, requires_grad=True), torch.randn(6, 8)
    OneDnnLinear.apply(x, w).sum().backward()
    assert x.grad is not None and w.grad is None
    x, w = torch.randn(3, 8), torch.randn(6, 8, requires_grad=True)
    OneDnnLinear.apply(x, w).sum().backward()
    assert x.grad is None and w.grad is not None


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_models_loss_and_gradients_stay_to_rounding(preferred: None, architecture: str) -> None:
    found = []
    for fast in (False, True):
        model = tiny_model(architecture).eval()
        if fast:
            use_onednn(model)
        batch = text_batch()
        loss = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], labels=batch["labels"]).loss
        loss.backward()
        found.append((loss.item(), gradients(model)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_bf16_biases_and_other_layers_are_left_to_torch(preferred: None) -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleList([nn.Linear(8, 8), Special(8, 8, bias=False), nn.Linear(8, 8, bias=False)])
    use_onednn(model)
    assert ["forward" in vars(module) for module in model] == [False, False, True]
    x = torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert model[2](x).dtype == torch.bfloat16
    assert torch.equal(model[2](x[0]), nn.functional.linear(x[0], model[2].weight))
    assert not takes(x.bfloat16(), x)
    assert not takes(x[:0], x)


def test_the_choice_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    prefers_onednn.cache_clear()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not prefers_onednn()
    prefers_onednn.cache_clear()
