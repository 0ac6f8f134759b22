"""Training a byte-level BPE on a sample of text: by `gigabpe` where it is there and agrees, else by `tokenizers`.

Both see the same sample: a file with one text per line, in which a line end within a text is a vertical tab. gigabpe takes
every line for a text of its own, and white space across lines (a blank line before an indented one) can only become a token
if the line goes on. Nothing else changes by the exchange: the bytes 0x0A and 0x0B are neighbours in the byte alphabet, so
ties between pairs fall the same way, and both are white space to the pattern that splits words. A vertical tab in the text
itself counts as a line end, and white space at the end of a text is left out: the end of the line would become part of it.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

try:
    import gigabpe
except ImportError:  # no wheel for this platform: `tokenizers` does it
    gigabpe = None

logger = logging.getLogger(__name__)

MIN_FREQUENCY = 2
LINE_END, STAND_IN = "\n", "\x0b"
WINDOW = 1 << 12
"""Characters without a border between words after which one is made: `tokenizers` takes quadratic time for a word."""
CHECK_CHARACTERS, CHECK_MERGES = 1 << 18, 300
"""How much text, and how many merges, both trainers are compared on before the fast one is believed."""
SPACE, WORD = re.compile(r"\s"), re.compile(r"\S")

Model = tuple[dict[str, int], list[tuple[str, str]]]
"""Vocabulary and merges, in the order in which they were found."""


def write_sample(texts: Iterable[str], path: Path) -> int:
    """Write `texts` as the sample of a training; returns its characters."""
    characters = 0
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        for text in texts:
            characters += len(text)
            for part in parts(text):
                file.write(part.rstrip().replace(LINE_END, STAND_IN) + LINE_END)
    return characters


def parts(text: str) -> Iterator[str]:
    """`text`, cut where a word or a run of white space is longer than a window."""
    begun = 0
    for at in range(WINDOW, len(text), WINDOW):
        if SPACE.search(text, at - WINDOW, at) is None or WORD.search(text, at - WINDOW, at) is None:
            yield text[begun:at]
            begun = at
    yield text[begun:]


def read_sample(path: Path) -> Iterator[str]:
    """The texts of a sample."""
    with path.open(encoding="utf-8", newline=LINE_END) as file:
        for line in file:
            yield line.removesuffix(LINE_END).replace(STAND_IN, LINE_END)


def train_bpe(sample: Path, vocab_size: int, special: Sequence[str], threads: int | None = None) -> Tokenizer:
    """A byte-level BPE with the `special` tokens first, then the 256 bytes; the same for any number of `threads`.

    `sample` is a file of `write_sample`. `threads=None` takes every core that this process may use.
    """
    if gigabpe is None:
        logger.warning("gigabpe is not installed, the tokenizer is trained by tokenizers, which takes about 15 times as long")
    elif (difference := check(gigabpe, sample, vocab_size, special)) is not None:
        logger.warning("gigabpe is not used, the tokenizer is trained by tokenizers: %s", difference)
    else:
        return bare_tokenizer(special, gigabpe_model(gigabpe, sample, vocab_size, special, threads or usable_cores()))
    return oracle(read_sample(sample), vocab_size, special)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(library: ModuleType, sample: Path, vocab_size: int, special: Sequence[str]) -> str | None:
    """How the fast trainer differs from `tokenizers` on the beginning of the sample; None if it does not."""
    size = min(vocab_size, len(special) + 256 + CHECK_MERGES)
    beginning = sample.with_name(sample.name + ".check")
    try:
        write_sample(first_characters(read_sample(sample), CHECK_CHARACTERS), beginning)
        found = bare_tokenizer(special, gigabpe_model(library, beginning, size, special, 1))
        expected = oracle(read_sample(beginning), size, special)
    except Exception as error:  # noqa: BLE001 - another version of the library may raise anything; it is then not used
        return f"it failed on the first {CHECK_CHARACTERS:,} characters with {error!r}"
    finally:
        beginning.unlink(missing_ok=True)
    if found.to_str() == expected.to_str():
        return None
    return f"its merges differ from those of tokenizers on the first {CHECK_CHARACTERS:,} characters"


def first_characters(texts: Iterable[str], characters: int) -> Iterator[str]:
    """`texts` until so many characters have gone by; the last one is cut."""
    left = characters
    for text in texts:
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


def gigabpe_model(library: ModuleType, sample: Path, vocab_size: int, special: Sequence[str], threads: int) -> Model:
    """What `tokenizers` would find: gigabpe numbers the bytes that occur only, so it finds a few merges more."""
    found = library.train_bpe(
        [str(sample)], vocab_size, special_tokens=list(special), min_frequency=MIN_FREQUENCY,
        pretokenizer="bytelevel", threads=threads,
    )[1]  # fmt: skip
    exchange = str.maketrans(byte_characters(STAND_IN + LINE_END), byte_characters(LINE_END + STAND_IN))
    vocabulary = {
        token: number for number, token in enumerate(dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]))
    }
    merges = []
    for left, right in takewhile(lambda _: len(vocabulary) < vocab_size, found):
        pair = left.translate(exchange), right.translate(exchange)
        merges.append(pair)
        vocabulary.setdefault(pair[0] + pair[1], len(vocabulary))
    return vocabulary, merges


def byte_characters(text: str) -> str:
    """The characters that stand for the bytes of `text` in the vocabulary."""
    return "".join(word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))


def oracle(texts: Iterable[str], vocab_size: int, special: Sequence[str]) -> Tokenizer:
    """The tokenizer as `tokenizers` trains it."""
    tokenizer = bare_tokenizer((), None)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=added(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def bare_tokenizer(special: Sequence[str], model: Model | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE() if model is None else models.BPE(vocab=model[0], merges=model[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(added(special))
    return tokenizer


def added(special: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(text, special=True, normalized=False) for text in special]
