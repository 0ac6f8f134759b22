"""What a person can set about the tokenizer and the model's shape."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.places import Place
from tasks.config.section import Section, nearest


class TokenizerConfig(Section):
    model_config = ConfigDict(title="Tokenizer")

    path: Annotated[str | None, Place()] = None
    """Folder or tokenizer.json of a tokenizer to take; empty means one is trained on the training text."""
    vocab_size: int | None = Field(None, ge=300, le=1_000_000)
    """Entries of the byte-level BPE to train, special tokens included; from 300; empty means 8192."""
    training_characters: int = Field(50_000_000, ge=1_000)
    """The tokenizer is trained on about so many characters of the training text, chosen by document hash."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.path is not None and self.vocab_size is not None:
            raise ValueError(
                f"tokenizer.vocab_size={self.vocab_size} has no effect with tokenizer.path={self.path!r}, whose "
                "vocabulary is taken as it is; remove one of the two"
            )
        return self

    @property
    def trained_vocab_size(self) -> int:
        return self.vocab_size or 8192


class ModelConfig(Section):
    model_config = ConfigDict(title="Model")

    architecture: str = "llama"
    """`model_type` of any causal model in transformers, such as llama, qwen3, gpt2."""
    hidden_size: int = Field(256, ge=8)
    """Width of the residual stream."""
    intermediate_size: int | None = Field(None, ge=8)
    """Width of the feed-forward layer; empty means the architecture's own rule, 3 x hidden_size for llama."""
    num_hidden_layers: int = Field(4, ge=1)
    """Transformer blocks."""
    num_attention_heads: int = Field(4, ge=1)
    """Query heads; divides hidden_size."""
    num_key_value_heads: int | None = Field(None, ge=1)
    """Key and value heads; empty means as many as query heads; divides num_attention_heads."""
    max_position_embeddings: int = Field(512, ge=16)
    """Longest sequence the model can take, in tokens."""
    tie_word_embeddings: bool = True
    """Input and output embedding are one matrix."""
    vocab_size: int | None = Field(None, ge=300)
    """Rows of the embedding; empty means the tokenizer's vocabulary; must not be smaller than it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further keys for the architecture's transformers configuration, by their names there."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"model.hidden_size={self.hidden_size} is not a multiple of model.num_attention_heads="
                f"{self.num_attention_heads}; nearest: {nearest(self.hidden_size, self.num_attention_heads)}"
            )
        heads = self.num_key_value_heads
        if heads is not None and self.num_attention_heads % heads:
            raise ValueError(
                f"model.num_key_value_heads={heads} does not divide "
                f"model.num_attention_heads={self.num_attention_heads}; choose one of "
                f"{[n for n in range(1, self.num_attention_heads + 1) if self.num_attention_heads % n == 0]}"
            )
        return self
