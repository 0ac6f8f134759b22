"""The rules that hold between settings. Each raises ValueError in one sentence: field, value, rule, remedy."""

from typing import TYPE_CHECKING

from tasks.config.layouts import misfit

if TYPE_CHECKING:
    from tasks.config.config import Config, ExamplesConfig
    from tasks.config.data import DataConfig, TextSource
    from tasks.config.parallel import Layout


def check_source(section: str, given: "TextSource | ExamplesConfig") -> None:
    """Raises ValueError unless `path` is given exactly where the source needs one, and no setting is without effect."""
    if given.source == "sample" and given.path is not None:
        raise ValueError(f"{section}.path={given.path!r} has no effect with {section}.source='sample'; remove the path")
    if given.source != "sample" and given.path is None:
        raise ValueError(f"{section}.path is not set, and {section}.source={given.source!r} needs it; set {section}.path")
    name = getattr(given, "huggingface_config", None)
    if name is not None and given.source != "huggingface":
        raise ValueError(
            f"{section}.huggingface_config={name!r} has no effect with {section}.source={given.source!r}; "
            "remove it or set source='huggingface'"
        )


def check_mixture(data: "DataConfig") -> None:
    """Raises ValueError for sources of one name, weights that only some sources have, and settings of one source alone."""
    names = data.source_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"data.mixture.name={twice!r} is used twice (data.name counts too); choose another name")
    if not data.mixture and data.weight is not None:
        raise ValueError(f"data.weight={data.weight} has no effect without data.mixture; remove it or add sources")
    without = [name for name, source in zip(names, data.sources, strict=True) if source.weight is None]
    if without and len(without) < len(names):
        raise ValueError(f"weight is not set for source {without[0]!r} and is for others; give every source a weight, or none")


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


def check_mesh(config: "Config") -> None:
    """Raises ValueError for a mesh that is not of launch.num_processes ranks, or over which the model does not divide."""
    layout = config.parallel.layout(config.launch.num_processes)
    # The rows of a tokenizer that is taken as it is are known when the text is prepared.
    unknown = config.tokenizer.path is not None and config.model.vocab_size is None
    rows = layout.tensor_parallel if unknown else config.model.vocab_size or config.tokenizer.trained_vocab_size
    if reason := misfit(config.model, rows, layout):
        raise ValueError(reason)


def check_batches(config: "Config") -> None:
    """Raises ValueError for a global batch that does not divide into whole micro-batches on every rank, or into too few."""
    layout, pretrain = config.parallel.layout(config.launch.num_processes), config.pretrain
    ranks = layout.data_parallel
    unit = pretrain.micro_batch_size * pretrain.sequence_length * ranks
    factors = f"{pretrain.micro_batch_size} x {pretrain.sequence_length} x {ranks}"
    fields = [("pretrain.global_batch_tokens", pretrain.global_batch_tokens, unit, factors, "sequence_length x ")]
    for f in config.finetune:
        tuning_ranks = layout.without_pipeline.data_parallel
        factors = f"{f.micro_batch_size} x {tuning_ranks}"
        fields.append((f"finetune[{f.name}].batch_size", f.batch_size, f.micro_batch_size * tuning_ranks, factors, ""))
    for field, value, unit, factors, middle in fields:
        if value % unit:
            raise ValueError(
                f"{field}={value} is not a multiple of micro_batch_size x {middle}data-parallel ranks = "
                f"{factors} = {unit}; nearest: {nearest(value, unit)}"
            )
    check_micro_batches(layout, pretrain.global_batch_size // (pretrain.micro_batch_size * ranks))


def check_profile(config: "Config") -> None:
    """Raises ValueError for a step to profile that is after the last."""
    step, last = config.launch.profile_step, config.pretrain.max_steps
    if step is not None and step > last:
        raise ValueError(
            f"launch.profile_step={step} is after step {last}, with which pre-training ends at the latest; "
            "choose an earlier step"
        )


def check_micro_batches(layout: "Layout", micro_batches: int) -> None:
    """Raises ValueError where a pipeline gets fewer micro-batches than it has ranks, or an interleaved one uneven rounds."""
    pipeline = layout.pipeline_parallel
    if pipeline > 1 and (micro_batches < pipeline or (layout.virtual_stages > 1 and micro_batches % pipeline)):
        rule = "a multiple of" if layout.virtual_stages > 1 else "at least"
        raise ValueError(
            f"parallel.pipeline_parallel={pipeline} needs {rule} {pipeline} micro-batches per step and data-parallel rank, "
            f"and there are {micro_batches}; raise pretrain.global_batch_tokens or lower pretrain.micro_batch_size"
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
        sample = any(source.source == "sample" for source in config.data.sources)
        if sample and f.examples.source == "sample" and f.examples.test_fraction > config.data.heldout_fraction:
            raise ValueError(
                f"finetune[{f.name}].examples.test_fraction={f.examples.test_fraction} is larger than data.heldout_fraction="
                f"{config.data.heldout_fraction}, so that pre-training would see test pages; set it to at most "
                f"{config.data.heldout_fraction} or hold out more"
            )
