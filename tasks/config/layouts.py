"""Which meshes a model can be cut over. Pure arithmetic, asked before anything is started and by the planner."""

from collections.abc import Iterator

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.record.errors import ConfigError

PIPELINE_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
"""Whose hidden states go from layer to layer unchanged, so that a stage can begin with those of the stage before."""
WITHOUT_TENSOR_PLAN = ("gpt2",)
"""Architectures of the closed forms (tasks/planning/shapes.py) for which transformers has no tensor-parallel plan."""


def check_layout(model: ModelConfig, vocab_rows: int, layout: Layout) -> None:
    """Raises ConfigError where a part of the model does not divide over the mesh.

    `vocab_rows` is the number of rows of the embedding: model.vocab_size or the tokenizer's.
    """
    if (reason := misfit(model, vocab_rows, layout)) is not None:
        raise ConfigError(reason)


def misfit(model: ModelConfig, vocab_rows: int, layout: Layout) -> str | None:
    """Why the model does not divide over the mesh, in one sentence; None where it does."""
    layers, tensor = model.num_hidden_layers, layout.tensor_parallel
    if layout.pipeline_parallel > 1 and model.architecture not in PIPELINE_ARCHITECTURES:
        return no_pipeline(model.architecture, layout)
    if layout.num_stages > layers:
        return (
            f"parallel.pipeline_parallel={layout.pipeline_parallel} x virtual_stages={layout.virtual_stages} = "
            f"{layout.num_stages} stages, and model.num_hidden_layers={layers}; choose at most {layers} stages"
        )
    if tensor > 1 and model.architecture in WITHOUT_TENSOR_PLAN:
        return (
            f"parallel.tensor_parallel={tensor} cannot be had with model.architecture={model.architecture!r}, for which "
            "transformers has no tensor-parallel plan; set it to 1 and use shard, or choose llama, mistral, qwen2 or qwen3"
        )
    for field, value in tensor_dimensions(model, vocab_rows):
        if value % tensor:
            possible = ", ".join(str(size) for size in tensor_sizes(model, vocab_rows))
            return (
                f"{field}={value} is not a multiple of parallel.tensor_parallel={tensor}; "
                f"this model can be cut over tensor_parallel {possible}"
            )
    return None


def no_pipeline(architecture: str, layout: Layout) -> str:
    """Why this architecture has no pipeline."""
    return (
        f"parallel.pipeline_parallel={layout.pipeline_parallel} cannot be had with model.architecture={architecture!r}: stages "
        f"are tested for {', '.join(PIPELINE_ARCHITECTURES)}; set it to 1 and use shard"
    )


def tensor_dimensions(model: ModelConfig, vocab_rows: int) -> Iterator[tuple[str, int]]:
    """What tensor parallelism cuts: field and size. The feed-forward width where the settings say it."""
    yield "model.num_attention_heads", model.num_attention_heads
    yield "model.num_key_value_heads", model.num_key_value_heads or model.num_attention_heads
    yield "model.vocab_size (rows of the embedding)", vocab_rows
    width = model.intermediate_size or (3 * model.hidden_size if model.architecture == "llama" else None)
    if width is not None:
        yield "model.intermediate_size", width


def tensor_sizes(model: ModelConfig, vocab_rows: int) -> list[int]:
    """The sizes of the tensor dimension that divide all that it cuts, from 1 on."""
    if model.architecture in WITHOUT_TENSOR_PLAN:
        return [1]
    sizes = [size for _, size in tensor_dimensions(model, vocab_rows)]
    return [n for n in range(1, min(sizes) + 1) if all(size % n == 0 for size in sizes)]
