"""The chunked loss is cross-entropy, in value and gradients; and models whose logits are more than a product get their own."""

import pytest
import torch
from torch.nn import functional

from tasks.training import objective
from tasks.training.objective import (
    IGNORED_LABEL,
    ChunkedCrossEntropy,
    causal_loss,
    causal_loss_from_logits,
    choose_causal_loss,
    classification_loss,
    cross_entropy_with_gradient,
)
from tests.unit.training.tiny_models import gradients, text_batch, tiny_model

ROWS, WIDTH, VOCABULARY = 13, 8, 37


def inputs(dtype: torch.dtype = torch.float32, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    hidden = (torch.randn(ROWS, WIDTH, generator=chance) * scale).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=chance).requires_grad_()
    labels = torch.randint(0, VOCABULARY, (ROWS,), generator=chance)
    return hidden, weight, labels


def reference(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Loss and gradients in double precision."""
    h, w = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    loss = functional.cross_entropy(h @ w.T, labels, ignore_index=IGNORED_LABEL, reduction="sum")
    return loss.detach(), *torch.autograd.grad(loss, (h, w))


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 5, 13, 100])
@pytest.mark.parametrize("ignored", [[], [0], [3, 4, 12], list(range(13))])
def test_value_and_gradients_are_those_of_cross_entropy(
    rows_per_chunk: int, ignored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "CHUNK_LOGITS", rows_per_chunk * VOCABULARY)
    hidden, weight, labels = inputs()
    labels[ignored] = IGNORED_LABEL
    loss = ChunkedCrossEntropy.apply(hidden, weight, labels)
    (loss / 7).backward()
    expected, by_hidden, by_weight = reference(hidden, weight, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(hidden.grad.double(), by_hidden / 7, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight.grad.double(), by_weight / 7, rtol=1e-5, atol=1e-6)
    assert not hidden.grad[ignored].any()


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, labels = inputs(scale=1000.0)
    loss = ChunkedCrossEntropy.apply(hidden, weight, labels)
    loss.backward()
    expected, by_hidden, _ = reference(hidden, weight, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(hidden.grad.double(), by_hidden, rtol=1e-4, atol=1e-4)


def test_bf16_is_close_and_its_gradients_have_the_types_of_their_tensors() -> None:
    hidden, weight, labels = inputs(torch.bfloat16)
    loss = ChunkedCrossEntropy.apply(hidden, weight, labels)
    loss.backward()
    expected, by_hidden, by_weight = reference(hidden, weight, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    assert (hidden.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)
    assert torch.linalg.vector_norm(hidden.grad.double() - by_hidden) < 0.02 * torch.linalg.vector_norm(by_hidden)
    assert torch.linalg.vector_norm(weight.grad.double() - by_weight) < 0.02 * torch.linalg.vector_norm(by_weight)


def test_without_gradients_it_only_measures() -> None:
    hidden, weight, labels = inputs()
    with torch.no_grad():
        loss = ChunkedCrossEntropy.apply(hidden, weight, labels)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(reference(hidden, weight, labels)[0].item(), rel=1e-6)


def test_the_gradient_by_the_logits_is_softmax_minus_target() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss, gradient = cross_entropy_with_gradient(logits, torch.tensor([1, IGNORED_LABEL]))
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    assert gradient.tolist() == [[0.5, -0.5], [0.0, 0.0]]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_models_loss_and_gradients_are_those_of_its_logits(architecture: str, tied: bool) -> None:
    model = tiny_model(architecture, tie_word_embeddings=tied).eval()
    assert choose_causal_loss(model) is causal_loss
    batch = text_batch()
    batch["labels"][0, 3] = IGNORED_LABEL
    found = []
    for loss in (causal_loss, causal_loss_from_logits):
        model.zero_grad()
        value = loss(model, batch)
        value.backward()
        found.append((value.item(), gradients(model)))
    (chunked, by_chunked), (exact, by_exact) = found
    assert chunked == pytest.approx(exact, rel=1e-6)
    assert by_chunked.keys() == by_exact.keys() == dict(model.named_parameters()).keys()
    for name, gradient in by_exact.items():
        torch.testing.assert_close(by_chunked[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_the_loss_agrees_with_the_models_own() -> None:
    model, batch = tiny_model().eval(), text_batch()
    ids = torch.cat([batch["input_ids"], batch["labels"][:, -1:]], 1)
    plain = batch | {"position_ids": torch.arange(12).expand(2, 12)}
    own = model(input_ids=ids, labels=ids).loss
    assert causal_loss(model, plain).item() / 24 == pytest.approx(own.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "extra"),
    [
        ("gemma2", {"head_dim": 16, "final_logit_softcapping": 5.0}),
        ("gemma2", {"head_dim": 16}),
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {}),
        ("phi", {}),
        ("gptj", {"rotary_dim": 8}),
    ],
)
def test_logits_that_are_capped_scaled_or_biased_are_found_out_before_training(architecture: str, extra: dict) -> None:
    """At first, capping and a bias that is still zero change nothing; later they would, silently."""
    model = tiny_model(architecture, extra=extra)
    before = {name: p.clone() for name, p in model.named_parameters()}
    loss, batch = choose_causal_loss(model), text_batch()
    assert loss is causal_loss_from_logits
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters()), "the probe leaves no trace"
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        expected = functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
        assert loss(model.eval(), batch).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_choice_leaves_the_model_as_it_was(training: bool) -> None:
    model = tiny_model("gpt2").train(training)
    before = {name: p.clone() for name, p in model.named_parameters()}
    choose_causal_loss(model)
    assert model.training is training
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_under_autocast_the_hidden_states_are_bf16_and_the_loss_is_close() -> None:
    model, batch = tiny_model().eval(), text_batch()
    exact = causal_loss(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        close = causal_loss(model, batch)
    close.backward()
    assert close.dtype == torch.float32
    assert close.item() != exact.item()
    assert close.item() == pytest.approx(exact.item(), rel=5e-3)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_the_classification_loss_is_summed() -> None:
    class Classifier(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> object:
            return type("Output", (), {"logits": torch.tensor([[2.0, 0.0], [0.0, 0.0]])})

    batch = {"input_ids": torch.zeros(2, 3), "attention_mask": torch.ones(2, 3), "labels": torch.tensor([0, 1])}
    assert classification_loss(Classifier(), batch).item() == pytest.approx(0.126928 + 0.693147, abs=1e-5)
