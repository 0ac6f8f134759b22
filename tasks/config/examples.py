"""What a person can set about labelled examples."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.data import check_source, repeated
from tasks.config.places import Place
from tasks.config.section import Section

DEFAULT_TEST_FRACTION = 0.05


class ExamplesConfig(Section):
    model_config = ConfigDict(title="Examples")

    source: Literal["sample", "jsonl", "parquet", "csv"] = "sample"
    """Where the examples come from: the embedded sample or local files of one kind."""
    path: Annotated[str | None, Place()] = None
    """File, folder or glob of the source. Of a folder, test and validation splits are passed over; the card names them."""
    test_path: Annotated[str | None, Place()] = None
    """File, folder or glob of a test set of its own, of the same source and columns; empty means that test_fraction is split
    off. What it has in common with `path` is taken out of training."""
    delimiter: str | None = None
    """CSV: the character between fields; empty means a tab where the first rows have tabs in the same places, else a comma."""
    header: bool = True
    """CSV: the first line names the columns; without it they are called "1", "2" and so on, or as `columns` says."""
    columns: tuple[str, ...] | None = None
    """CSV without a header: names of its columns, in their order."""
    text_column: str = "text"
    """Classification: column with the text. In JSON and Parquet a path leads to a value inside of another, such as
    `review.body` or `turns.0.text`; a column with just that name goes before the path. The same holds for the other columns."""
    label_column: str = "label"
    """Classification: column with the label: text, a whole number, or true and false, which are labels of that name."""
    labels: tuple[str, ...] | None = None
    """Classification: the permitted labels, each of which must occur; empty means those that occur. A whole number in the
    column is then the place of its label in this list, counted from 0, unless a label here is a number itself."""
    on_conflict: Literal["drop_all", "first", "majority", "fail"] = "drop_all"
    """Classification, where the same text has different labels: drop it, as nobody knows which is right and a wrong one in the
    test set counts against the better model; keep its first label, or the most frequent one (none where two are); or end the
    preparation."""
    prompt_column: str = "prompt"
    """Instruction: column with the prompt."""
    answer_column: str = "answer"
    """Instruction: column with the answer, on which alone the loss is taken."""
    test_fraction: Annotated[float | None, Field(gt=0.0, lt=0.5)] = None
    """Share of the examples (of local files for classification: of each label, and at least one of two) frozen for evaluation,
    chosen by example hash; above 0 and below 0.5; empty means 0.05 where there is no test_path; of the embedded sample at most
    data.heldout_fraction, so that pre-training has not seen the test pages."""
    min_test_examples: int = Field(30, ge=1)
    """Fewer test examples end the preparation: what is measured on them would be chance."""
    max_examples: int | None = Field(None, ge=10)
    """Train on at most this many examples, chosen by example hash, each label at least once; empty means all; the test
    set is not cut."""

    @property
    def test_share(self) -> float | None:
        """The share that is split off for evaluation; None where the test set is a file of its own."""
        if self.test_path is not None:
            return None
        return DEFAULT_TEST_FRACTION if self.test_fraction is None else self.test_fraction

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_source("examples", self)
        check_test_set(self)
        if self.labels is not None:
            check_labels(self.labels)
        return self


def check_test_set(examples: ExamplesConfig) -> None:
    """Raises ValueError where the test set is asked for in two ways, or lies where the sample has none."""
    if examples.test_path is None:
        return
    if examples.source == "sample":
        raise ValueError(
            f"examples.test_path={examples.test_path!r} has no effect with examples.source='sample'; remove it, or set "
            "examples.source and examples.path"
        )
    if examples.test_fraction is not None:
        raise ValueError(
            f"examples.test_fraction={examples.test_fraction} has no effect with examples.test_path={examples.test_path!r}, "
            "which is the test set; remove one of the two"
        )


def check_labels(labels: tuple[str, ...]) -> None:
    """Raises ValueError for a list of labels that cannot be told apart, or that no row can have."""
    shown = f"examples.labels={list(labels)}"
    if len(labels) < 2:
        raise ValueError(f"{shown} has {len(labels)} label, and classification needs at least 2; name them all")
    if twice := repeated(labels):
        raise ValueError(f"{shown} has {twice!r} twice; name each label once")
    if (bad := next((label for label in labels if not label or label != label.strip()), None)) is not None:
        raise ValueError(f"{shown} has {bad!r}, which no row can have, as space around a label is removed; remove it here too")
