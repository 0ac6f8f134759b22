"""Sizes of a model in closed form: how many parameters lie where. No machine-learning library is needed to count them."""

from dataclasses import dataclass
from typing import Any

from tasks.config.config import Config
from tasks.config.model import ModelConfig
from tasks.record.errors import UnplannedError
from tasks.training.measure.flops import flops_per_token


@dataclass(frozen=True)
class Family:
    """What distinguishes the architectures whose sizes are known here; defaults are those of transformers' configurations."""

    gated: bool = True
    """Three matrices in the feed-forward layer (SwiGLU) instead of two."""
    default_width: int | None = None
    """`intermediate_size` where the settings leave it empty; None: a multiple of hidden_size, see `feed_forward_width`."""
    query_key_value_bias: bool = False
    output_bias: bool = False
    feed_forward_bias: bool = False
    query_key_norm: bool = False
    default_head_dim: int | None = None
    """None: hidden_size / num_attention_heads."""
    norm_bias: bool = False
    learned_positions: bool = False
    dropout: float = 0.0
    tensor_parallel: bool = True
    pipeline_parallel: bool = True


FAMILIES = {
    "llama": Family(),
    "mistral": Family(default_width=14336),
    "qwen2": Family(default_width=22016, query_key_value_bias=True),
    "qwen3": Family(default_width=22016, query_key_norm=True, default_head_dim=128),
    "gpt2": Family(
        gated=False, query_key_value_bias=True, output_bias=True, feed_forward_bias=True, norm_bias=True,
        learned_positions=True, dropout=0.1, tensor_parallel=False, pipeline_parallel=False,
    ),
}  # fmt: skip
SIZE_KEYS = ("head_dim", "attention_bias", "mlp_bias")
"""Keys of model.extra that change the number of parameters, and are counted."""
DROPOUT_KEYS = ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop")
OTHER_KEYS = (
    "rms_norm_eps", "layer_norm_epsilon", "rope_theta", "rope_scaling", "rope_parameters", "initializer_range", "hidden_act",
    "activation_function", "sliding_window", "use_sliding_window", "max_window_layers", "use_cache", "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip
"""Keys of model.extra that change no size."""


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer: D hidden_size, A = heads x head_dim, K = key-value heads x head_dim, F width, V rows."""

    architecture: str
    num_layers: int
    hidden_size: int
    width: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_rows: int
    positions: int
    """Rows of the learned position embedding; 0 where positions are computed."""
    tied: bool
    gated: bool = True
    query_key_value_bias: bool = False
    output_bias: bool = False
    feed_forward_bias: bool = False
    query_key_norm: bool = False
    norm_bias: bool = False
    dropout: float = 0.0

    @property
    def attention_width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        return self.num_key_value_heads * self.head_dim

    @property
    def norm(self) -> int:
        """Parameters of one norm."""
        return self.hidden_size * (2 if self.norm_bias else 1)

    @property
    def embedding(self) -> int:
        """Parameters of the token embedding."""
        return self.vocab_rows * self.hidden_size

    @property
    def position_embedding(self) -> int:
        return self.positions * self.hidden_size

    @property
    def head(self) -> int:
        """Parameters of the head that are not the embedding's."""
        return 0 if self.tied else self.embedding

    def layer_matrices(self, tensor: int = 1) -> int:
        """Elements of one layer's matrices on one of `tensor` ranks."""
        d = self.hidden_size
        attention = 2 * d * self.attention_width + 2 * d * self.key_value_width
        return (attention + (3 if self.gated else 2) * d * self.width) // tensor

    def layer_vectors(self, tensor: int = 1) -> int:
        """Elements of one layer's biases and norms on one of `tensor` ranks: norms and output biases are on every rank."""
        divided = self.query_key_value_bias * (self.attention_width + 2 * self.key_value_width)
        whole = 2 * self.norm + self.query_key_norm * 2 * self.head_dim
        if self.gated:
            divided += self.feed_forward_bias * 2 * self.width
        else:
            divided += self.feed_forward_bias * self.width
        whole += (self.output_bias + self.feed_forward_bias) * self.hidden_size
        return divided // tensor + whole

    def layer(self, tensor: int = 1) -> int:
        """Parameters of one layer on one of `tensor` ranks."""
        return self.layer_matrices(tensor) + self.layer_vectors(tensor)

    @property
    def total(self) -> int:
        """Parameters of the model; tied ones count once."""
        return self.num_layers * self.layer() + self.embedding + self.position_embedding + self.norm + self.head

    @property
    def matmul_parameters(self) -> int:
        """Elements of the matrices that every token is multiplied with: the layers' and the head's, tied or not."""
        return self.num_layers * self.layer_matrices() + self.embedding

    def flops_per_token(self, sequence_length: int) -> float:
        """Floating-point operations of forward and backward pass per token, by the convention that MFU is reported with."""
        return flops_per_token(self.matmul_parameters, self.num_layers, self.attention_width, sequence_length)


def vocab_rows(config: Config) -> int:
    """Rows of the embedding: model.vocab_size, or as many as the tokenizer that will be trained has entries.

    Raises UnplannedError where only the file of a given tokenizer could tell.
    """
    if config.model.vocab_size is not None:
        return config.model.vocab_size
    if config.tokenizer.path is not None:
        raise UnplannedError(
            f"model.vocab_size is not set, and how many entries tokenizer.path={config.tokenizer.path!r} has is not looked up "
            "by a plan; set model.vocab_size"
        )
    return config.tokenizer.trained_vocab_size


def shape_of(model: ModelConfig, rows: int) -> Shape:
    """The sizes of a model with `rows` embedding rows.

    Raises UnplannedError for an architecture, or a key of model.extra, whose sizes are not known here.
    """
    family = FAMILIES.get(model.architecture)
    if family is None:
        raise UnplannedError(
            f"model.architecture={model.architecture!r} cannot be planned: sizes are known in closed form for "
            f"{', '.join(FAMILIES)}; train it without a plan, or plan one of these of the same size"
        )
    extra = sized_extra(model)
    biased = bool(extra.get("attention_bias", False))
    return Shape(
        architecture=model.architecture,
        num_layers=model.num_hidden_layers,
        hidden_size=model.hidden_size,
        width=feed_forward_width(model),
        num_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads or model.num_attention_heads,
        head_dim=int(extra.get("head_dim") or family.default_head_dim or model.hidden_size // model.num_attention_heads),
        vocab_rows=rows,
        positions=model.max_position_embeddings if family.learned_positions else 0,
        tied=model.tie_word_embeddings,
        gated=family.gated,
        query_key_value_bias=family.query_key_value_bias or biased,
        output_bias=family.output_bias or biased,
        feed_forward_bias=family.feed_forward_bias or bool(extra.get("mlp_bias", False)),
        query_key_norm=family.query_key_norm,
        norm_bias=family.norm_bias,
        dropout=float(max((extra[key] for key in DROPOUT_KEYS if key in extra), default=family.dropout)),
    )


def feed_forward_width(model: ModelConfig) -> int:
    """`intermediate_size`, or the architecture's own rule as training applies it."""
    if model.intermediate_size is not None:
        return model.intermediate_size
    default = FAMILIES[model.architecture].default_width
    return default or model.hidden_size * (3 if model.architecture == "llama" else 4)


def sized_extra(model: ModelConfig) -> dict[str, Any]:
    """model.extra; raises ConfigError for a key of which it is not known here whether it changes a size."""
    known = (*SIZE_KEYS, *DROPOUT_KEYS, *OTHER_KEYS)
    if odd := next((key for key in model.extra if key not in known), None):
        raise UnplannedError(
            f"model.extra.{odd}={model.extra[odd]!r} cannot be planned: what it does to the model's size is not known; "
            f"known are {', '.join(SIZE_KEYS)} and settings without a size"
        )
    return model.extra
