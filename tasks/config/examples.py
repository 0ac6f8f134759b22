"""What a person can set about labelled examples."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.data import check_source
from tasks.config.places import Place
from tasks.config.section import Section


class ExamplesConfig(Section):
    model_config = ConfigDict(title="Examples")

    source: Literal["sample", "jsonl", "parquet", "csv"] = "sample"
    """Where the examples come from: the embedded sample or local files of one kind."""
    path: Annotated[str | None, Place()] = None
    """File, folder or glob of the source."""
    text_column: str = "text"
    """Classification: column with the text."""
    label_column: str = "label"
    """Classification: column with the label."""
    labels: tuple[str, ...] | None = None
    """Classification: the permitted labels; empty means those that occur."""
    prompt_column: str = "prompt"
    """Instruction: column with the prompt."""
    answer_column: str = "answer"
    """Instruction: column with the answer, on which alone the loss is taken."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Share of the examples frozen for evaluation, chosen by example hash; above 0 and below 0.5; of the embedded sample
    at most data.heldout_fraction, so that pre-training has not seen the test pages."""
    max_examples: int | None = Field(None, ge=10)
    """Train on at most this many examples, chosen by example hash; empty means all; the test set is not cut."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_source("examples", self)
        return self
