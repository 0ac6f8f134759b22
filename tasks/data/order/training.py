"""Which sample each training step sees, from the settings and the sizes of the sources alone."""

from typing import Any

from tasks.config.training import PretrainConfig
from tasks.data.order.mixture import Mixture
from tasks.record.errors import ConfigError


def mixture_of(config: PretrainConfig, shares: list[dict[str, Any]], sizes: list[int]) -> Mixture:
    """The order of the training sequences; `shares` has the name, weight and limit of each source, `sizes` its sequences.

    Raises ConfigError for what cannot be mixed, and for a horizon beyond what the limits allow.
    """
    names = [share["name"] for share in shares]
    if shares and len(sizes) > len(shares):
        raise ConfigError(f"data.mixture has the sources {names}, and the data set {len(sizes)}; prepare it with these sources")
    # The last sources are not in the manifest if none of their documents was kept.
    sizes = sizes + [0] * (len(shares) - len(sizes))
    if empty := next((name for name, size in zip(names, sizes, strict=False) if size == 0), None):
        raise ConfigError(
            f"source {empty!r} has no training sequence of pretrain.sequence_length={config.sequence_length} tokens; "
            "give it more text, set a shorter sequence, or remove the source"
        )
    try:
        weights = [share["weight"] for share in shares] or [None]
        mixture = Mixture(sizes, weights, [share["max_epochs"] for share in shares] or [None], config.seed)
    except ValueError as error:
        raise ConfigError(f"the sources {names} cannot be mixed: {error}; change data.weight or data.mixture.weight") from None
    available = mixture.num_samples
    if available is not None and available < config.max_steps * config.global_batch_size:
        most = available // config.global_batch_size * config.global_batch_tokens
        raise ConfigError(
            f"pretrain.train_tokens={config.train_tokens} is more than the sources {names} have within max_epochs="
            f"{[share['max_epochs'] for share in shares]}, {available * config.sequence_length} tokens; "
            f"set it to at most {most} or raise max_epochs"
        )
    return mixture
