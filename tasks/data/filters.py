"""Which documents are kept, and as what text: repair, cleaning, length, language, quality, decontamination, in this order."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tasks.config.data import DataConfig
from tasks.data.documents.cleaning import Counts, clean, fix_unicode, text_digest
from tasks.data.documents.document import Document
from tasks.data.documents.ngrams import text_buffers
from tasks.data.evaluation_sets import read_evaluations
from tasks.data.overlap.decontamination import MIN_WORDS, ContaminationIndex
from tasks.data.quality.boilerplate import keep_c4_lines, remove_boilerplate
from tasks.data.quality.judge import QualityRules
from tasks.data.quality.languages import identify
from tasks.data.sources.read import RawDocument
from tasks.data.steps import Report
from tasks.record.errors import DataError

UNKNOWN = "und"
"""ISO 639-3's code for a language that could not be determined."""
SAMPLED_LANGUAGES = 16
"""Where nothing depends on the language, that of one document in so many is identified, chosen by digest, for the card."""


class DocumentFilter:
    """Takes raw documents in batches; counts what happened to each."""

    def __init__(self, data: DataConfig, report: Report) -> None:
        """Raises DataError for evaluation sets that cannot be read and thresholds that do not exist."""
        self.data = data
        self.counts = Counts()
        self.changes: Counter[str] = Counter()
        """What was cut out of kept documents, or repaired in them."""
        self.rules = QualityRules(data.quality.filters, data.quality.thresholds)
        self.contamination: Counter[str] = Counter()
        """Documents dropped, by evaluation set."""
        self.index: ContaminationIndex | None = None
        self.touched = np.empty(0, dtype=np.bool_)
        """Which evaluation items have an n-gram in one of the documents."""
        if data.decontamination.evaluations:
            report(0.0, "reading the evaluation sets")
            self.index = ContaminationIndex.build(read_evaluations(data.decontamination), data.decontamination.ngram)
            self.touched = np.zeros(len(self.index.item_sets), dtype=np.bool_)
            for one in self.evaluations():
                if not one["searched"]:
                    raise DataError(
                        f"data.decontamination.evaluations[{one['name']}] has {one['items']} items, and none of them has the "
                        f"{MIN_WORDS} words that it takes to be found; name other text_columns, or remove the set"
                    )
        self.wants_languages = bool(data.quality.languages or data.quality.filters)

    def evaluations(self) -> list[dict[str, str | int]]:
        """Each evaluation set: its items, and how many of them are long enough to be looked for."""
        if self.index is None:
            return []
        items = self.index.items_of_sets(np.ones_like(self.index.searched))
        searched = self.index.items_of_sets(self.index.searched)
        return [{"name": name, "items": items[name], "searched": searched[name]} for name in self.index.names]

    def take(self, batch: list[RawDocument]) -> Iterator[Document]:
        """The documents of the batch that are kept."""
        kept = [document for raw in batch if (document := self._cleaned(raw)) is not None]
        if self.rules.filters:
            kept = self._good(kept)
        if self.index is not None:
            kept = self._clean_of_evaluations(kept, self.index)
        self.counts.kept += len(kept)
        return iter(kept)

    def _cleaned(self, raw: RawDocument) -> Document | None:
        self.counts.read += 1
        text, quality = raw.text, self.data.quality
        if quality.fix_unicode:
            repaired = fix_unicode(text)
            self.changes["repaired_documents"] += repaired != text
            text = repaired
        text = clean(text)
        if quality.remove_boilerplate:
            text, lines = remove_boilerplate(text)
            self.changes["boilerplate_lines"] += lines
        if quality.c4_lines:
            text, characters = keep_c4_lines(text)
            self.changes["c4_characters"] += characters
        if len(text) < self.data.min_characters:
            self.counts.drop("too_short" if text else "empty", raw.where, text or raw.text)
            return None
        digest = text_digest(text)
        language = self._language(text, digest)
        if quality.languages and language not in quality.languages:
            self.counts.drop("language", raw.where, text)
            return None
        return Document(text, raw.where, language, digest)

    def _language(self, text: str, digest: bytes) -> str:
        if not self.wants_languages and digest[-1] % SAMPLED_LANGUAGES:
            return ""
        language, probability = identify(text)
        return language if probability >= self.data.quality.min_language_probability else UNKNOWN

    def _good(self, documents: list[Document]) -> list[Document]:
        codes = self.rules.judge_batch(*as_buffers(documents), [document.language for document in documents])
        for document, code in zip(documents, codes, strict=True):
            if code:
                self.counts.drop(str(self.rules.reasons[code]), document.where, document.text)
        return [document for document, code in zip(documents, codes, strict=True) if not code]

    def _clean_of_evaluations(self, documents: list[Document], index: ContaminationIndex) -> list[Document]:
        found = index.check(*as_buffers(documents))
        self.touched |= found.touched
        kept = []
        for document, number, matches in zip(documents, found.first_set().tolist(), found.matches, strict=True):
            if number < 0:
                kept.append(document)
                continue
            name = index.names[number]
            if self.data.decontamination.action == "fail":
                raise DataError(
                    f"{document.where} contains text of the evaluation set {name!r} ({matches[number]} n-grams of "
                    f"{self.data.decontamination.ngram} words); remove it, or set data.decontamination.action='drop'"
                )
            self.contamination[name] += 1
            self.counts.drop(f"contaminated.{name}", document.where, document.text)
        return kept


def as_buffers(documents: list[Document]) -> tuple[np.ndarray, np.ndarray]:
    return text_buffers(pa.array([document.text for document in documents], type=pa.large_string()))
