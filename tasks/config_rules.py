"""The rules that hold between settings. Each raises ValueError in one sentence: field, value, rule, remedy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.config import Config


def check_source(section: str, source: str, path: str | None) -> None:
    """Raises ValueError unless `path` is given exactly where the source needs one."""
    if source == "sample" and path is not None:
        raise ValueError(f"{section}.path={path!r} has no effect with {section}.source='sample'; remove the path")
    if source != "sample" and path is None:
        raise ValueError(f"{section}.path is not set, and {section}.source={source!r} needs it; set {section}.path")


def nearest(value: int, unit: int) -> str:
    """The multiples of `unit` around `value`, for a message."""
    return ", ".join(str(n) for n in (value // unit * unit, (value // unit + 1) * unit) if n)


def check_lengths(config: "Config") -> None:
    """Raises ValueError for a sequence that is longer than the model's positions."""
    limit = config.model.max_position_embeddings
    fields = [("pretrain.sequence_length", config.pretrain.sequence_length)]
    fields += [(f"finetune[{f.name}].max_length", f.max_length) for f in config.finetune]
    for field, value in fields:
        if value > limit:
            raise ValueError(
                f"{field}={value} is longer than model.max_position_embeddings={limit}; "
                f"set it to at most {limit} or give the model more positions"
            )


def check_batches(config: "Config") -> None:
    """Raises ValueError for a global batch that does not divide into whole micro-batches on every rank."""
    ranks, pretrain = config.launch.num_processes, config.pretrain
    unit = pretrain.micro_batch_size * pretrain.sequence_length * ranks
    factors = f"{pretrain.micro_batch_size} x {pretrain.sequence_length} x {ranks}"
    fields = [("pretrain.global_batch_tokens", pretrain.global_batch_tokens, unit, factors, "sequence_length x ")]
    for f in config.finetune:
        factors = f"{f.micro_batch_size} x {ranks}"
        fields.append((f"finetune[{f.name}].batch_size", f.batch_size, f.micro_batch_size * ranks, factors, ""))
    for field, value, unit, factors, middle in fields:
        if value % unit:
            raise ValueError(
                f"{field}={value} is not a multiple of micro_batch_size x {middle}data-parallel ranks = "
                f"{factors} = {unit}; nearest: {nearest(value, unit)}"
            )


def check_vocabulary(config: "Config") -> None:
    """Raises ValueError for a model with fewer embedding rows than the tokenizer that will be trained has entries."""
    rows, entries = config.model.vocab_size, config.tokenizer.trained_vocab_size
    if rows is not None and config.tokenizer.path is None and rows < entries:
        raise ValueError(
            f"model.vocab_size={rows} is smaller than tokenizer.vocab_size={entries}; "
            f"leave model.vocab_size empty or set it to at least {entries}"
        )


def check_test_pages(config: "Config") -> None:
    """Raises ValueError where pages of the sample would be both pre-training text and frozen test examples."""
    for f in config.finetune:
        if config.data.source == f.examples.source == "sample" and f.examples.test_fraction > config.data.heldout_fraction:
            raise ValueError(
                f"finetune[{f.name}].examples.test_fraction={f.examples.test_fraction} is larger than data.heldout_fraction="
                f"{config.data.heldout_fraction}, so that pre-training would see test pages; set it to at most "
                f"{config.data.heldout_fraction} or hold out more"
            )
