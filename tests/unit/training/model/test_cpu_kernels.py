"""oneDNN's products are those of torch, and only take the place of what they can."""

import pytest
import torch
from torch import nn

from tasks.training.model import cpu_kernels
from tasks.training.model.cpu_kernels import OneDnnLinear, linear_by_onednn, prefers_onednn, product, takes


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


def test_what_it_does_not_take_is_computed_by_the_modules_own_forward(preferred: None) -> None:
    plain, biased, x = nn.Linear(8, 8, bias=False), nn.Linear(8, 8), torch.randn(2, 8)
    asked: list[torch.Tensor] = []
    for module, inputs in ((biased, x), (plain, x[0]), (plain, x[:0])):
        linear_by_onednn(module, lambda given: asked.append(given) or given, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        linear_by_onednn(plain, lambda given: asked.append(given) or given, x)
    assert [one.shape for one in asked] == [(2, 8), (8,), (0, 8), (2, 8)]
    torch.testing.assert_close(linear_by_onednn(plain, lambda given: asked.append(given) or given, x), plain(x))
    assert len(asked) == 4
    assert not takes(x.bfloat16(), x)
    assert not takes(x[:0], x)


def test_the_choice_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    prefers_onednn.cache_clear()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not prefers_onednn()
    prefers_onednn.cache_clear()
