"""Step 4: the tokenizer, trained on a sample of the kept training documents or taken; and held-out n-grams to look for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.finish import TOKENIZER_FOLDER
from tasks.data.kept import digests_of, document_numbers, kept_batches
from tasks.data.overlap.decontamination import sample_ngrams
from tasks.data.quality.languages import identify
from tasks.data.steps import Preparation, Report
from tasks.data.tokens.encoding import Encoder
from tasks.data.tokens.report import tokenizer_report
from tasks.data.tokens.shards import TOKEN_BYTES_FILE
from tasks.data.tokens.tokenizer import TextTokenizer, save_tokenizer, take_tokenizer, token_bytes, train_tokenizer
from tasks.record.parts import Part

HELDOUT_NGRAMS_FILE = "heldout_ngrams.npy"
NUM_HELDOUT_NGRAMS = 100_000
"""Of the held-out text, chosen by hash; the training text is searched for them: a share is known to 0.5 % (three sigma)."""
HELDOUT_CHARACTERS = 20_000_000
"""Of the held-out text, from which they are chosen."""
REPORT_CHARACTERS = 500_000
"""Of each source, for the tokenizer's report."""


def make_tokenizer(preparation: Preparation, part: Part, folder: Path, report: Report) -> dict[str, Any]:
    """Write the tokenizer, the table of token bytes, and the held-out n-grams."""
    settings = preparation.tokenizer
    if settings.path is not None:
        tokenizer = take_tokenizer(settings.path)
    else:
        texts = training_sample(preparation, settings.training_characters, report)
        tokenizer = train_tokenizer(texts, settings.trained_vocab_size, settings.training_characters, folder)
    save_tokenizer(tokenizer, folder / TOKENIZER_FOLDER)
    np.save(folder / TOKEN_BYTES_FILE, token_bytes(tokenizer))
    report(0.8, "looking at the held-out text")
    np.save(folder / HELDOUT_NGRAMS_FILE, sample_ngrams(heldout_texts(preparation), max_ngrams=NUM_HELDOUT_NGRAMS).ngrams)
    return {
        "vocab_size": tokenizer.vocab_size,
        "end_of_text_id": tokenizer.end_of_text_id,
        "end_of_text": tokenizer.end_of_text,
        "pad": tokenizer.pad,
        "report": report_on(preparation, tokenizer),
    }


def training_sample(preparation: Preparation, characters: int, report: Report) -> Iterator[str]:
    """Kept training documents in order: all, or a share of about so many characters chosen by digest."""
    files = preparation.work.encoded_files
    fraction = characters / max(1, sum(file.bytes for file in files))
    done = 0
    for batch, held_out in every_batch(preparation):
        for text in chosen_texts(batch, ~held_out & (hashes(batch) < min(1.0, fraction) * 2.0**64)):
            yield text
            done += len(text)
        report(0.4 * min(1.0, done / characters), f"reading text for the tokenizer: {done:,} characters")
    report(0.4, f"training the tokenizer: {done:,} characters")


def heldout_texts(preparation: Preparation) -> Iterator[str]:
    """The first HELDOUT_CHARACTERS of the held-out documents."""
    left = HELDOUT_CHARACTERS
    for batch, held_out in every_batch(preparation):
        for text in chosen_texts(batch, held_out):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def report_on(preparation: Preparation, tokenizer: TextTokenizer) -> dict[str, Any]:
    """The tokenizer's report, on the first kept documents of every source."""
    found = sampled(preparation)
    return tokenizer_report(Encoder(tokenizer), found, REPORT_CHARACTERS * len(preparation.data.sources))


def sampled(preparation: Preparation) -> Iterator[tuple[str, str, str]]:
    """Source, language and text of the first documents of every source, REPORT_CHARACTERS of each."""
    names = preparation.data.source_names
    left = dict.fromkeys(range(len(names)), REPORT_CHARACTERS)
    for number in document_numbers(preparation):
        source = preparation.work.document_files[number].source
        for batch, _ in kept_batches(preparation, number) if left[source] > 0 else ():
            for text, language in zip(batch["text"].to_pylist(), batch["language"].to_pylist(), strict=True):
                if left[source] > 0:
                    yield names[source], language or identify(text)[0], text[: left[source]]
                    left[source] -= len(text)
            if left[source] <= 0:
                break


def every_batch(preparation: Preparation) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    for number in document_numbers(preparation):
        yield from kept_batches(preparation, number)


def chosen_texts(batch: pa.RecordBatch, chosen: np.ndarray) -> Iterator[str]:
    for row in np.flatnonzero(chosen).tolist():
        yield batch["text"][row].as_py()


def hashes(batch: pa.RecordBatch) -> np.ndarray:
    """A uniform number below 2^64 for each document, from bytes of its digest that the split does not look at."""
    return np.ascontiguousarray(digests_of(batch)[:, 8:16]).view("<u8").reshape(-1)
