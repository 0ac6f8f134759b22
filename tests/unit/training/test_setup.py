"""Models with their values: the same for the same seed, an export's body under a new head, refusals."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.record.errors import ConfigError
from tasks.record.manifest import Request
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model, classifier_from, export_model, like_exported, load_causal
from tasks.training.model.objective import causal_loss, causal_loss_from_logits
from tasks.training.model.ranks import Ranks
from tasks.training.setup import Setup, exported_partition, probed_loss, random_partition
from tests.kit.models import ALONE, tiny_model
from tests.kit.ranks import RankFailed, run_ranks

EMBEDDING = "model.embed_tokens.weight"


def setup(layout: Layout = Layout(), ranks: Ranks = ALONE, **parallel: object) -> Setup:  # noqa: B008 (frozen)
    return Setup(Mesh(layout, ranks), ParallelConfig(**parallel))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer").mkdir()
    export_model(tiny_model("qwen3", seed=1), tmp_path / "tokenizer", tmp_path / "export")
    return tmp_path / "export"


def classifier(folder: Path, seed: int, labels: list[str] | None = None) -> PreTrainedModel:
    labels = labels or ["a", "b", "c"]
    return exported_partition(
        setup(), lambda: like_exported(folder, labels), "fp32", seed, folder, lambda: classifier_from(folder, labels)
    ).model


def test_random_weights_have_the_architecture_of_the_export_and_a_seed(exported: Path) -> None:
    a, b, c = (random_partition(setup(), lambda: like_exported(exported, None), "fp32", seed).model for seed in (7, 7, 8))
    trained = load_causal(exported)
    assert {n: p.shape for n, p in a.named_parameters()} == {n: p.shape for n, p in trained.named_parameters()}
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    for other in (c, trained):
        assert not torch.equal(a.get_parameter(EMBEDDING), other.get_parameter(EMBEDDING))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3"])
def test_a_classifier_has_the_exported_body_and_a_new_head(tmp_path: Path, architecture: str) -> None:
    base = tiny_model(architecture, seed=1)
    (tmp_path / "tokenizer").mkdir()
    export_model(base, tmp_path / "tokenizer", tmp_path / "export")
    first, again, other = (classifier(tmp_path / "export", seed) for seed in (5, 5, 6))
    for name, parameter in base.base_model.named_parameters():
        assert torch.equal(first.base_model.get_parameter(name), parameter)
    assert torch.equal(first.score.weight, again.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert first.score.weight.shape == (3, 32) and first.score.weight.abs().sum() > 0
    assert first.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_class_does_not_depend_on_the_padding_behind_a_text(exported: Path) -> None:
    model = classifier(exported, 0, ["a", "b"]).eval()
    ids, mask = torch.tensor([[0, 7, 8, 9]]), torch.ones(1, 4, dtype=torch.long)
    padded = torch.cat([ids, torch.full((1, 5), 1)], 1), torch.cat([mask, torch.zeros(1, 5, dtype=torch.long)], 1)
    with torch.no_grad():
        alone = model(input_ids=ids, attention_mask=mask).logits
        together = model(input_ids=padded[0], attention_mask=padded[1]).logits
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)


def renamed(folder: Path) -> Path:
    """The export with a tensor under another name, as transformers does for mixtures of experts."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.input.weight"] = tensors.pop(EMBEDDING)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def partition_of_renamed(ranks: Ranks, folder: Path, layout: Layout) -> PreTrainedModel:
    build = partial(like_exported, folder, None)
    return exported_partition(setup(layout, ranks), build, "fp32", 0, folder, partial(tiny_model, "qwen3", 9)).model


def test_an_export_of_other_names_is_loaded_whole_and_refused_where_it_would_be_divided(exported: Path) -> None:
    folder = renamed(exported)
    whole = partition_of_renamed(ALONE, folder, Layout())
    assert torch.equal(whole.get_parameter(EMBEDDING), tiny_model("qwen3", 9).get_parameter(EMBEDDING))
    with pytest.raises(RankFailed, match=r"has no tensor 'model.embed_tokens.weight', which model.architecture='qwen3' needs"):
        run_ranks(2, partial(partition_of_renamed, folder=folder, layout=Layout(shard=2)))


@pytest.mark.parametrize(
    ("architecture", "loss", "leaks"),
    [("llama", causal_loss, False), ("gemma2", causal_loss_from_logits, False), ("bloom", causal_loss, True)],
)
def test_the_loss_is_chosen_and_leaks_are_found_by_a_small_model(architecture: str, loss: object, leaks: bool) -> None:
    config = ModelConfig(architecture=architecture, num_attention_heads=4, num_hidden_layers=9)
    chosen, leak = probed_loss(build_model(config, 70_000, 0, 1).config, setup())
    assert chosen is loss
    assert (leak is not None) == leaks


def loss_of_gemma(ranks: Ranks) -> None:
    config = build_model(ModelConfig(architecture="gemma2"), 512, 0, 1).config
    probed_loss(config, setup(Layout(tensor_parallel=2), ranks))


def refused_mesh(ranks: Ranks, architecture: str, layout: Layout) -> None:
    random_partition(setup(layout, ranks), lambda: build_model(ModelConfig(architecture=architecture), 512, 0, 1), "fp32", 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (loss_of_gemma, "model.architecture='gemma2' has more behind its last layer than a matrix"),
        (
            partial(refused_mesh, architecture="gpt2", layout=Layout(tensor_parallel=2)),
            "parallel.tensor_parallel=2 cannot be had with model.architecture='gpt2': transformers has no tensor-parallel plan",
        ),
        (
            partial(refused_mesh, architecture="gpt2", layout=Layout(pipeline_parallel=2)),
            "parallel.pipeline_parallel=2 cannot be had with model.architecture='gpt2': stages are tested for llama, mistral",
        ),
        (
            partial(refused_mesh, architecture="phi3", layout=Layout(tensor_parallel=2)),
            "transformers has the untested style 'rowwise_split_input' in its plan",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_with_its_reason(function: object, message: str) -> None:
    with pytest.raises(RankFailed, match=message):
        run_ranks(2, function)


def test_a_mesh_of_another_world_size_is_refused() -> None:
    request = Request(kind="pretrain", identity={}, execution={"parallel": {"shard": 2}})
    with pytest.raises(ConfigError, match=r"launch.num_processes=1 is not parallel.pipeline_parallel x .* = 1 x 1 x 2 x 1 = 2"):
        Setup.of(request, ALONE, pipeline=True)


def test_stages_without_a_pipeline_shard_over_its_ranks() -> None:
    layout = Layout(pipeline_parallel=2, replicate=2, shard=2, tensor_parallel=2)
    assert layout.without_pipeline == Layout(1, 2, 4, 2)
