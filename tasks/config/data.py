"""What a person can set about the pre-training text: sources, filters, de-duplication, decontamination, limits."""

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.places import Place
from tasks.config.section import NAME_PATTERN, Section

Source = Literal["sample", "text", "jsonl", "parquet", "csv", "mediawiki", "huggingface"]
RuleSet = Literal["gopher_quality", "gopher_repetition", "c4", "fineweb"]


class TextSource(Section):
    model_config = ConfigDict(title="Text source")

    source: Source = "sample"
    """Where the text comes from: the embedded sample, files of one kind (compressed or not), a MediaWiki XML dump, or a
    Hugging Face data set. A file of source `text` is cut into documents at three blank lines, and where it goes on for more
    than 32,768 characters. One of source `jsonl` has an object a line, or is one array of objects."""
    path: Annotated[str | None, Place()] = None
    """File, folder, glob or URL (s3://...) of the source; for `huggingface` a local folder or the name of a data set on the
    hub. Of a folder, files with other endings, hidden ones and test or validation splits are passed over; the card names
    them."""
    text_column: str = "text"
    """Column or key that holds the text, or in JSON and Parquet the path to it, such as `review.body` (not used by `text`,
    `mediawiki` and `sample`)."""
    delimiter: str | None = None
    """CSV: the character between fields; empty means a tab where the first rows have tabs in the same places, else a comma."""
    header: bool = True
    """CSV: the first line names the columns; without it they are called "1", "2" and so on, or as `columns` says."""
    columns: tuple[str, ...] | None = None
    """CSV without a header: names of its columns, in their order."""
    huggingface_config: str | None = None
    """Configuration name of the hub data set; empty means its default."""
    huggingface_split: str = "train"
    """Split of the hub data set."""
    huggingface_revision: str | None = Field(None, min_length=1)
    """Commit, tag or branch of the hub data set; empty means its newest commit. What it is when a run begins, it stays for that
    run."""
    formulas: Literal["plain", "drop"] = "plain"
    """Formulas of a MediaWiki dump: read as plain text where that is possible, such as `x^2 ≤ 1/2`, or left out."""
    tables: Literal["plain", "drop"] = "drop"
    """Tables of a MediaWiki dump: a line for each row, its cells separated by `; `, or left out."""
    max_documents: int | None = Field(None, ge=1)
    """Read at most this many documents, in one part; empty means all."""
    weight: float | None = Field(None, gt=0.0)
    """Share of the training sequences that come from this source, relative to the other weights; empty (for all sources)
    means by size."""
    max_epochs: float | None = Field(None, gt=0.0)
    """Training passes over this source at most so often; its share then goes to the others; empty means no limit."""


class MixedSource(TextSource):
    model_config = ConfigDict(title="Further source")

    name: str = Field(pattern=NAME_PATTERN)
    """Names the source in the data card, in reports and in messages."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_source(f"data.mixture[{self.name}]", self)
        return self


class QualityConfig(Section):
    model_config = ConfigDict(title="Quality")

    filters: tuple[RuleSet, ...] = ()
    """Published rule sets that a document must pass: gopher_quality and gopher_repetition (Rae et al. 2021, table A1), c4
    (Raffel et al. 2020, section 2.2), fineweb (Penedo et al. 2024)."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Thresholds that differ from the published ones, by name, such as `{"gopher_quality.min_words" = 20}`."""
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...] = ()
    """Keep only documents in these languages: a list of ISO 639 codes in small letters, such as ["en", "de"]; empty means
    all."""
    min_language_probability: float = Field(0.65, ge=0.0, le=1.0)
    """A language counts as identified from this probability on; 0.65 is FineWeb's."""
    fix_unicode: bool = False
    """Repair text that was decoded wrongly (mojibake) with ftfy; costs time only where it finds any."""
    remove_boilerplate: bool = False
    """Remove lines of navigation, cookie notices and the like."""
    c4_lines: bool = False
    """Remove lines that are too short or do not end as a sentence does, as C4 did; not for poems, lists and code."""


class DuplicatesConfig(Section):
    model_config = ConfigDict(title="Duplicates")

    near: bool = True
    """Remove near-duplicates too, found by MinHash and verified by exact Jaccard similarity; equal texts are always removed."""
    similarity: float = Field(0.8, ge=0.5, lt=1.0)
    """Jaccard similarity of the sets of word n-grams from which on two documents count as duplicates; 0.5 to 1."""
    ngram: int = Field(5, ge=1, le=20)
    """Words in an n-gram; 5 is FineWeb's."""
    paragraphs: bool = False
    """Remove paragraphs that an earlier document has, as far as paragraph_memory_megabytes goes."""
    paragraph_min_characters: int = Field(100, ge=1)
    """Shorter paragraphs are never taken for copies."""
    paragraph_memory_megabytes: int = Field(256, ge=1)
    """Memory for remembering paragraphs; what does not fit is counted in the data card."""
    against: Annotated[tuple[str, ...], Place(or_name=True)] = ()
    """Earlier data sets (folders, or names below datasets/): what they hold is not taken again."""


class EvaluationSet(Section):
    model_config = ConfigDict(title="Evaluation set")

    name: str = Field(pattern=NAME_PATTERN)
    """Names the set in the report."""
    source: Literal["text", "jsonl", "parquet", "csv"] = "jsonl"
    """Kind of its files."""
    path: Annotated[str, Place()]
    """File, folder, glob or URL of its items."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns that together are an item's text, such as question and answer (not used by `text`)."""
    delimiter: str | None = None
    """CSV: the character between fields; empty means a tab where the first rows have tabs in the same places, else a comma."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_csv(f"data.decontamination.evaluations[{self.name}]", self.source, self.delimiter)
        return self


class DecontaminationConfig(Section):
    model_config = ConfigDict(title="Decontamination")

    evaluations: tuple[EvaluationSet, ...] = ()
    """Evaluation sets that no training text may contain."""
    ngram: int = Field(13, ge=3, le=50)
    """Words that must agree in a row; 13 as in Brown et al. 2020, appendix C."""
    action: Literal["drop", "fail"] = "drop"
    """Drop contaminated documents, or end the preparation at the first one."""


class LimitsConfig(Section):
    model_config = ConfigDict(title="Limits")

    on_bad_input: Literal["fail", "quarantine"] = "fail"
    """What cannot be read ends the preparation (which files are bad is looked up before it begins), or goes to the quarantine
    file with its place, and reading goes on: a row, a page of a dump, an empty file, the rest of one that is cut off."""
    max_line_megabytes: int = Field(64, ge=1, le=2048)
    """Longer lines are bad input."""
    max_expansion: float = Field(250.0, gt=1.0)
    """A compressed file may unpack to at most so many times its size: gzip bombs reach 1000."""
    max_unpacked_gigabytes: float = Field(2000.0, gt=0.0)
    """A compressed file may unpack to at most so much."""


class DataConfig(TextSource):
    model_config = ConfigDict(title="Pre-training text")

    name: str = Field("sample", pattern=NAME_PATTERN)
    """First part of the data set's folder name."""
    mixture: tuple[MixedSource, ...] = ()
    """Further sources, mixed with the one above by weight."""
    heldout_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Share of the documents kept out of training, chosen by document hash; above 0 and below 0.5."""
    min_characters: int = Field(1, ge=1)
    """Documents with fewer characters after cleaning are dropped."""
    quality: QualityConfig = QualityConfig()
    """Which documents are good enough."""
    duplicates: DuplicatesConfig = DuplicatesConfig()
    """What counts as the same text."""
    decontamination: DecontaminationConfig = DecontaminationConfig()
    """What must not be trained on."""
    limits: LimitsConfig = LimitsConfig()
    """What is refused."""
    part_megabytes: int = Field(256, ge=1, le=4096)
    """Input that one process takes at a time, and about the text in one shard file."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_source("data", self)
        check_mixture(self)
        return self

    @property
    def sources(self) -> tuple[TextSource, ...]:
        """All sources, in the order in which they are read: of equal texts the first one stays."""
        return (self, *self.mixture)

    @property
    def source_names(self) -> tuple[str, ...]:
        return (self.name, *(source.name for source in self.mixture))


class PreparationConfig(Section):
    """How the text is prepared: no part of a data set's identity, as the bytes are the same."""

    model_config = ConfigDict(title="Preparation")

    num_processes: int | None = Field(None, ge=1)
    """Parts prepared at the same time; empty means one per CPU."""
    ray_address: str | None = None
    """Address of a Ray cluster (ray://host:10001 or host:6379) that prepares the parts; its machines must share PRETUNE_HOME
    and the input; needs `pip install 'pretune[ray]'`; empty means processes on this machine."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ray_address is not None and self.num_processes is not None:
            raise ValueError(
                f"preparation.num_processes={self.num_processes} has no effect with preparation.ray_address="
                f"{self.ray_address!r}, whose cluster knows its own CPUs; remove one of the two"
            )
        return self


def check_source(section: str, given: Any) -> None:
    """Raises ValueError unless `path` is given exactly where the source needs one, and no setting is without effect.

    `given` is any section with `source` and `path`, and perhaps with the settings of the hub or of CSV files.
    """
    if given.source == "sample" and given.path is not None:
        raise ValueError(f"{section}.path={given.path!r} has no effect with {section}.source='sample'; remove the path")
    if given.source != "sample" and given.path is None:
        raise ValueError(f"{section}.path is not set, and {section}.source={given.source!r} needs it; set {section}.path")
    for field in ("huggingface_config", "huggingface_revision"):
        value = getattr(given, field, None)
        if value is not None and given.source != "huggingface":
            raise ValueError(
                f"{section}.{field}={value!r} has no effect with {section}.source={given.source!r}; "
                "remove it or set source='huggingface'"
            )
    for field, usual in (("formulas", "plain"), ("tables", "drop")):
        value = getattr(given, field, usual)
        if value != usual and given.source != "mediawiki":
            raise ValueError(
                f"{section}.{field}={value!r} has no effect with {section}.source={given.source!r}, whose text has no markup; "
                "remove it or set source='mediawiki'"
            )
    if hasattr(given, "header"):
        check_csv(section, given.source, given.delimiter, given.header, given.columns)


def check_csv(
    section: str, source: str, delimiter: str | None, header: bool = True, columns: tuple[str, ...] | None = None
) -> None:
    """Raises ValueError for settings of CSV files that make no sense, or have no effect."""
    given = {"delimiter": delimiter, "columns": columns, "header": None if header else False}
    for field, value in given.items():
        if value is not None and source != "csv":
            raise ValueError(
                f"{section}.{field}={value!r} has no effect with {section}.source={source!r}, being about CSV; remove it"
            )
    if delimiter is not None and (len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n'):
        raise ValueError(
            f"{section}.delimiter={delimiter!r} is not one character that can stand between fields; give one such as ';' "
            'or "\\t" (in double quotes, a tab)'
        )
    if columns is not None and header:
        raise ValueError(
            f"{section}.columns={list(columns)} has no effect with {section}.header=true, as the first line names the columns; "
            f"set {section}.header=false or remove the names"
        )
    if columns is not None and (twice := repeated(columns)):
        raise ValueError(f"{section}.columns={list(columns)} has {twice!r} twice; give each column a name of its own")


def repeated(names: tuple[str, ...]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, number in Counter(names).items() if number > 1), None)


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
