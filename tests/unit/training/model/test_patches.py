"""What a model is given changes neither its names nor its numbers, wherever there is nothing that it must leave alone."""

from functools import partial

import pytest
import torch
from torch import nn

from tasks.config.parallel import Layout
from tasks.training.model import cpu_kernels, patches
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import causal_loss, causal_loss_from_logits, token_losses_from_logits
from tasks.training.model.partition import Partition, layers_of
from tasks.training.model.patches import patch, replace_forward, stage_forward, use_onednn
from tests.kit.models import ALONE, gradients, text_batch, tiny_model


@pytest.fixture
def preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN, also where another library is faster."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    for module in (cpu_kernels, patches):
        monkeypatch.setattr(module, "prefers_onednn", lambda: True)


def alone(model: nn.Module) -> Partition:
    return Partition(Mesh(Layout(), ALONE), [model])


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_models_loss_and_gradients_stay_to_rounding_with_onednn(preferred: None, architecture: str) -> None:
    found = []
    for kernels in ("torch", "onednn"):
        model = tiny_model(architecture).eval()
        patch(alone(model), causal_loss_from_logits, kernels=kernels)
        loss = model.summed_loss(text_batch())
        loss.backward()
        found.append((loss.item(), gradients(model)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_linear_layers_with_a_bias_or_a_forward_of_their_own_are_left_alone(preferred: None) -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleList([nn.Linear(8, 8), *(kind(8, 8, bias=False) for kind in (Special, nn.Linear, nn.Linear))])
    parallel = model[2].forward
    replace_forward(model[2], parallel)
    use_onednn(model)
    assert ["forward" in vars(module) for module in model] == [False, False, True, True]
    assert vars(model[2])["forward"] is parallel
    x = torch.randn(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert model[3](x).dtype == torch.bfloat16
    assert torch.equal(model[3](x[0]), nn.functional.linear(x[0], model[3].weight))


@pytest.mark.parametrize("kind", ["full", "selective"])
def test_names_and_numbers_stay_and_a_layer_is_computed_twice(preferred: None, kind: str) -> None:
    found, counts = [], []
    for saving in ("none", kind):
        model = tiny_model()
        names, count = [*model.state_dict()], [0]
        norm = layers_of(model)[0].input_layernorm
        norm.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        patch(alone(model), causal_loss, saving, "onednn")
        assert [*model.state_dict()] == names
        model.train()
        loss = model.summed_loss(text_batch())
        loss.backward()
        found.append((loss.item(), gradients(model)))
        counts.append(count[0])
    assert counts == [1, 2]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(gradient, found[1][1][name]) for name, gradient in found[0][1].items())


def test_losses_of_tokens_are_those_whose_sum_is_the_loss() -> None:
    batch = text_batch()
    for loss in (causal_loss, causal_loss_from_logits):
        model = tiny_model().eval()
        patch(alone(model), loss)
        assert model.token_losses(batch).sum().item() == pytest.approx(model.summed_loss(batch).item(), rel=1e-6)
    assert model.token_losses.__func__ is token_losses_from_logits


def test_hooks_stay_around_a_replaced_forward_which_can_call_the_old_one() -> None:
    said: list[str] = []

    def doubled(forward: patches.Forward, inputs: torch.Tensor) -> torch.Tensor:
        said.append("forward")
        return 2 * forward(inputs)

    module, x = nn.Linear(3, 3), torch.randn(2, 3)
    module.register_forward_pre_hook(lambda *_: said.append("before"))
    replace_forward(module, partial(doubled, module.forward))
    module.register_forward_hook(lambda *_: said.append("after"))
    assert torch.equal(module(x), 2 * nn.functional.linear(x, module.weight, module.bias))
    assert said == ["before", "forward", "after"]


def test_only_a_stage_of_a_pipeline_has_a_forward_of_its_own() -> None:
    model = tiny_model()
    patch(alone(model), causal_loss)
    with pytest.raises(AssertionError, match="was not patched"):
        stage_forward(model)
