"""The chunked loss is cross-entropy, in value and gradients; and models whose logits are more than a product get their own."""

from functools import partial

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.nn import functional

from tasks.training.model import objective
from tasks.training.model.objective import (
    IGNORED_LABEL,
    causal_loss,
    causal_loss_from_logits,
    choose_causal_loss,
    choose_token_losses,
    chunked_cross_entropy,
    classification_loss,
    cross_entropy_with_gradient,
    fusible_cross_entropy,
    token_losses,
    token_losses_from_logits,
)
from tasks.training.model.ranks import Ranks
from tests.kit.models import VOCABULARY as MODEL_VOCABULARY
from tests.kit.models import gradients, text_batch, tiny_model
from tests.kit.ranks import run_ranks

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
    monkeypatch.setitem(objective.CHUNK_LOGITS, "cpu", rows_per_chunk * VOCABULARY)
    hidden, weight, labels = inputs()
    labels[ignored] = IGNORED_LABEL
    loss = chunked_cross_entropy(hidden, weight, labels)
    (loss / 7).backward()
    expected, by_hidden, by_weight = reference(hidden, weight, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(hidden.grad.double(), by_hidden / 7, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight.grad.double(), by_weight / 7, rtol=1e-5, atol=1e-6)
    assert not hidden.grad[ignored].any()


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, labels = inputs(scale=1000.0)
    loss = chunked_cross_entropy(hidden, weight, labels)
    loss.backward()
    expected, by_hidden, _ = reference(hidden, weight, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(hidden.grad.double(), by_hidden, rtol=1e-4, atol=1e-4)


def test_bf16_is_close_and_its_gradients_have_the_types_of_their_tensors() -> None:
    hidden, weight, labels = inputs(torch.bfloat16)
    loss = chunked_cross_entropy(hidden, weight, labels)
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
        loss = chunked_cross_entropy(hidden, weight, labels)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(reference(hidden, weight, labels)[0].item(), rel=1e-6)


def test_the_gradient_by_the_logits_is_softmax_minus_target() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    losses, gradient = cross_entropy_with_gradient(logits, torch.tensor([1, IGNORED_LABEL]))
    assert losses.tolist() == pytest.approx([0.693147, 0.0], abs=1e-6)
    assert gradient.tolist() == [[0.5, -0.5], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_form_that_is_compiled_for_gpus_is_the_same_function(dtype: torch.dtype) -> None:
    """One graph, checked here without generating code for it."""
    chance = torch.Generator().manual_seed(0)
    logits = (torch.randn(ROWS, VOCABULARY, generator=chance) * 5).to(dtype)
    labels = torch.randint(0, VOCABULARY, (ROWS,), generator=chance)
    labels[[0, 7]] = IGNORED_LABEL
    losses, gradient = cross_entropy_with_gradient(logits.float().clone(), labels)
    compiled = torch.compile(fusible_cross_entropy, dynamic=False, fullgraph=True, backend="aot_eager")
    for found in (fusible_cross_entropy(logits, labels), compiled(logits, labels)):
        torch.testing.assert_close(found[0], losses, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[1], gradient.to(dtype), rtol=1e-5 if dtype == torch.float32 else 0.02, atol=1e-6)


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


def divided_loss(ranks: Ranks, dtype: torch.dtype, ignored: list[int]) -> tuple[torch.Tensor, ...]:
    """Loss and gradients on a rank that holds some of the rows of the matrix (19 of 37, or 18)."""
    objective.CHUNK_LOGITS["cpu"] = 4 * 19
    hidden, weight, labels = inputs(dtype)
    labels[ignored] = IGNORED_LABEL
    mine = weight.detach().chunk(ranks.world_size)[ranks.rank].requires_grad_()
    loss = chunked_cross_entropy(hidden, mine, labels, ranks.rank * 19, torch.distributed.group.WORLD)
    (loss / 7).backward()
    return loss.detach(), hidden.grad, mine.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ignored", [[], [0, 5]])
def test_rows_of_the_matrix_on_two_ranks_give_the_loss_and_gradients_of_one(dtype: torch.dtype, ignored: list[int]) -> None:
    hidden, weight, labels = inputs(dtype)
    labels[ignored] = IGNORED_LABEL
    loss = chunked_cross_entropy(hidden, weight, labels)
    (loss / 7).backward()
    found = run_ranks(2, partial(divided_loss, dtype=dtype, ignored=ignored))
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.002}
    for loss_there, by_hidden, _ in found:
        assert loss_there.item() == pytest.approx(loss.item(), rel=1e-6)
        torch.testing.assert_close(by_hidden, hidden.grad, **close)
    torch.testing.assert_close(torch.cat([by_rows for *_, by_rows in found]), weight.grad, **close)


def model_with_divided_head(
    ranks: Ranks, shards_rows: bool
) -> tuple[float, torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    model = tiny_model(tie_word_embeddings=False).eval()
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("shard", "tensor"))["tensor"]
    head = model.get_output_embeddings()
    placement = Shard(0) if shards_rows else Replicate()
    head.weight = torch.nn.Parameter(distribute_tensor(head.weight.detach(), mesh, [placement]))
    batch = text_batch()
    batch["labels"][0, 3] = IGNORED_LABEL
    loss = causal_loss(model, batch)
    loss.backward()
    assert head.weight.grad.placements == (placement,)
    found = gradients(model)
    return loss.item(), token_losses(model, batch), found, found.pop("lm_head.weight").to_local()


@pytest.mark.parametrize("shards_rows", [True, False])
def test_a_model_whose_head_is_divided_has_the_same_loss_and_gradients(shards_rows: bool) -> None:
    model, batch = tiny_model(tie_word_embeddings=False).eval(), text_batch()
    batch["labels"][0, 3] = IGNORED_LABEL
    loss = causal_loss(model, batch)
    loss.backward()
    expected = gradients(model)
    by_head = expected.pop("lm_head.weight")
    answers = run_ranks(2, partial(model_with_divided_head, shards_rows=shards_rows))
    for rank, (there, losses, found, rows) in enumerate(answers):
        assert there == pytest.approx(loss.item(), rel=1e-6)
        assert losses.sum().item() == pytest.approx(loss.item(), rel=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
        part = by_head.chunk(2)[rank] if shards_rows else by_head
        torch.testing.assert_close(rows, part, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows_per_chunk", [1, 5, 24, 100])
def test_the_loss_of_every_token_is_that_of_the_logits(rows_per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(objective.CHUNK_LOGITS, "cpu", rows_per_chunk * MODEL_VOCABULARY)
    model, batch = tiny_model().eval(), text_batch()
    batch["labels"][1, 0] = IGNORED_LABEL
    losses = token_losses(model, batch)
    assert not losses.requires_grad
    assert losses.shape == batch["labels"].shape
    assert losses[1, 0] == 0
    torch.testing.assert_close(losses, token_losses_from_logits(model, batch), rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        close = token_losses(model, batch)
    assert close.dtype == torch.float32
    torch.testing.assert_close(close, losses, rtol=0.02, atol=0.02)


def test_models_with_more_than_a_matrix_behind_the_last_layer_measure_tokens_by_their_own_logits() -> None:
    assert choose_token_losses(tiny_model()) is token_losses
    model = tiny_model("gemma2", extra={"head_dim": 16, "final_logit_softcapping": 5.0})
    assert choose_token_losses(model) is token_losses_from_logits


def test_hidden_states_of_another_stage_take_the_place_of_token_ids() -> None:
    model, batch = tiny_model().eval(), text_batch()
    expected = causal_loss(model, batch).item()
    batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids"))
    assert causal_loss(model, batch).item() == expected
