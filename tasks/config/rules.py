"""The rules that hold between sections. Each raises ValueError in one sentence: field, value, rule, remedy."""

from collections.abc import Sequence

from tasks.config.data import DataConfig
from tasks.config.finetuning import FinetuneConfig
from tasks.config.layouts import misfit
from tasks.config.model import ModelConfig, TokenizerConfig
from tasks.config.parallel import Layout
from tasks.config.section import check_multiple
from tasks.config.training import LaunchConfig, PretrainConfig

Finetunes = Sequence[FinetuneConfig]


def check_lengths(model: ModelConfig, pretrain: PretrainConfig, finetunes: Finetunes) -> None:
    """Raises ValueError for a sequence that is longer than the model's positions."""
    limit = model.max_position_embeddings
    fields = [("pretrain.sequence_length", pretrain.sequence_length)]
    fields += [(f"finetune[{f.name}].max_length", f.max_length) for f in finetunes if f.base is None]
    for field, value in fields:
        if value > limit:
            raise ValueError(
                f"{field}={value} is longer than model.max_position_embeddings={limit}; "
                f"set it to at most {limit} or give the model more positions"
            )


def check_mesh(model: ModelConfig, tokenizer: TokenizerConfig, layout: Layout) -> None:
    """Raises ValueError for a mesh over which the model does not divide."""
    # The rows of a tokenizer that is taken as it is are known when the text is prepared.
    unknown = tokenizer.path is not None and model.vocab_size is None
    rows = layout.tensor_parallel if unknown else model.vocab_size or tokenizer.trained_vocab_size
    if reason := misfit(model, rows, layout):
        raise ValueError(reason)


def check_batches(pretrain: PretrainConfig, finetunes: Finetunes, layout: Layout) -> None:
    """Raises ValueError for a global batch that does not divide into whole micro-batches on every rank, or into too few."""
    ranks = layout.data_parallel
    unit = pretrain.micro_batch_size * pretrain.sequence_length * ranks
    factors = f"{pretrain.micro_batch_size} x {pretrain.sequence_length} x {ranks}"
    check_multiple("pretrain.global_batch_tokens", pretrain.global_batch_tokens, unit, factors, "sequence_length x ")
    for f in finetunes:
        f.check_batch(f"finetune[{f.name}].", layout)
    check_micro_batches(layout, pretrain.global_batch_size // (pretrain.micro_batch_size * ranks))


def check_profile(launch: LaunchConfig, pretrain: PretrainConfig) -> None:
    """Raises ValueError for a step to profile that is after the last."""
    step, last = launch.profile_step, pretrain.max_steps
    if step is not None and step > last:
        raise ValueError(
            f"launch.profile_step={step} is after step {last}, with which pre-training ends at the latest; "
            "choose an earlier step"
        )


def check_micro_batches(layout: Layout, micro_batches: int) -> None:
    """Raises ValueError where a pipeline gets fewer micro-batches than it has ranks, or an interleaved one uneven rounds."""
    pipeline = layout.pipeline_parallel
    if pipeline > 1 and (micro_batches < pipeline or (layout.virtual_stages > 1 and micro_batches % pipeline)):
        rule = "a multiple of" if layout.virtual_stages > 1 else "at least"
        raise ValueError(
            f"parallel.pipeline_parallel={pipeline} needs {rule} {pipeline} micro-batches per step and data-parallel rank, "
            f"and there are {micro_batches}; raise pretrain.global_batch_tokens or lower pretrain.micro_batch_size"
        )


def check_vocabulary(model: ModelConfig, tokenizer: TokenizerConfig) -> None:
    """Raises ValueError for a model with fewer embedding rows than the tokenizer that will be trained has entries."""
    rows, entries = model.vocab_size, tokenizer.trained_vocab_size
    if rows is not None and tokenizer.path is None and rows < entries:
        raise ValueError(
            f"model.vocab_size={rows} is smaller than tokenizer.vocab_size={entries}; "
            f"leave model.vocab_size empty or set it to at least {entries}"
        )


def check_test_pages(data: DataConfig, finetunes: Finetunes) -> None:
    """Raises ValueError where pages of the sample would be both pre-training text and frozen test examples."""
    for f in finetunes:
        sample = any(source.source == "sample" for source in data.sources)
        share = f.examples.test_share
        if sample and f.examples.source == "sample" and share is not None and share > data.heldout_fraction:
            raise ValueError(
                f"finetune[{f.name}].examples.test_fraction={share} is larger than data.heldout_fraction="
                f"{data.heldout_fraction}, so that pre-training would see test pages; set it to at most "
                f"{data.heldout_fraction} or hold out more"
            )
