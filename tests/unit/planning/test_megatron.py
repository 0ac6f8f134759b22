"""Our closed form under Megatron-LM's assumptions gives Megatron-LM's published numbers."""

import pytest

from tasks.config.parallel import Layout
from tasks.planning.activations import checkpointed_activations, dropout_mask
from tasks.planning.shapes import Shape
from tasks.planning.work import Convention, Work, in_flight, stages_of
from tests.kit.megatron import (
    PUBLISHED,
    MegatronModel,
    first_stage_activation_bytes,
    layer_activation_bytes,
    weight_and_optimizer_bytes,
)

CONVENTION = Convention(
    parameter_bytes=2, gradient_bytes=4, moment_bytes=12, plain_feed_forward_tensors=2, dropout_bytes=1, residual_bytes=2
)
"""fp16 weights, fp32 gradients, master weights and moments: 18 bytes per parameter."""


def as_work(model: MegatronModel, recomputation: str) -> Work:
    shape = Shape(
        "gpt2", model.num_layers, model.hidden_size, 4 * model.hidden_size, model.num_heads, model.num_heads,
        model.hidden_size // model.num_heads, model.vocab_rows, 0, tied=True, gated=False, query_key_value_bias=True,
        output_bias=True, feed_forward_bias=True, norm_bias=True, dropout=0.1,
    )  # fmt: skip
    scores = 0.0 if recomputation == "selective" else 5.0
    convention = Convention(**{**vars(CONVENTION), "score_bytes": scores})
    return Work(
        shape, Layout(model.pipeline_parallel, tensor_parallel=model.tensor_parallel, virtual_stages=model.virtual_stages),
        model.micro_batch_size, model.sequence_length, 8 * model.pipeline_parallel, "bf16",
        "full" if recomputation == "full" else "none", convention=convention,
    )  # fmt: skip


@pytest.mark.parametrize("recomputation", ["none", "selective", "full"])
@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_the_first_stage_needs_what_megatron_says(model, recomputation):
    work = as_work(model, recomputation)
    stage = stages_of(work.shape, work.layout)[0]
    kept = work.convention
    state = (kept.parameter_bytes + kept.gradient_bytes + kept.moment_bytes) * stage.elements
    flying = in_flight(work.layout, 0, work.micro_batches)
    activations = work.tokens * flying * (stage.layers * checkpointed_activations(work) + dropout_mask(work, 2))
    published_state = weight_and_optimizer_bytes(model)
    published_activations = first_stage_activation_bytes(model, False, recomputation)
    if model.pipeline_parallel == 1:  # the paper adds a head without chunked cross-entropy
        published_activations -= 4 * work.tokens * model.hidden_size / 8 * (1 + model.vocab_rows / model.hidden_size)
    assert state == pytest.approx(published_state, rel=0.03)
    assert activations == pytest.approx(published_activations, rel=0.03)
    assert state + activations == pytest.approx(published_state + published_activations, rel=0.03)


def test_the_published_formulas_give_the_published_numbers():
    gpt3 = PUBLISHED[1]
    # Section 3: 175 billion parameters; table 2 with s=2048, b=1, h=12288, a=96, t=8: 34 + 80 bytes, per rank and token.
    assert weight_and_optimizer_bytes(gpt3) / 18 * 8 * 8 == pytest.approx(175e9, rel=0.03)
    assert layer_activation_bytes(gpt3, True, "none") == 2048 * 12288 * (34 / 8 + 5 * 96 * 2048 / (12288 * 8))
    assert layer_activation_bytes(gpt3, True, "selective") == 2048 * 12288 * 34 / 8
    assert layer_activation_bytes(gpt3, False, "none") == 2048 * 12288 * (10 + 24 / 8 + 80 / 8)
    # Section 5: selective recomputation saves 70 % of GPT-3's activations and 65 % of MT-NLG's.
    saved = {
        m.name: 1 - layer_activation_bytes(m, True, "selective") / layer_activation_bytes(m, True, "none") for m in PUBLISHED
    }
    assert saved["175B (GPT-3)"] == pytest.approx(0.70, abs=0.005)
    assert saved["530B (MT-NLG)"] == pytest.approx(0.65, abs=0.005)
