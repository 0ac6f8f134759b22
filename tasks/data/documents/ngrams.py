"""64-bit hashes of the word n-grams of documents, straight from the buffers of an Arrow string array.

A word is a maximal run of letters, digits and combining marks; letters are lower-cased, everything between words is ignored.
In scripts that put no spaces between words (Chinese, Japanese kana, Thai, Lao, Khmer, Burmese, Tibetan) each code point is a
word of its own, so that an n-gram there is a run of n characters. What is a letter is looked up in Unicode 3.2, the version
that Python keeps for good, so that the hashes are the same with every Python on every machine; code points younger than that
count as letters, and have no lower case.

`data` is uint8 of UTF-8 and `offsets` int64 of shape (documents + 1,), the buffers of a `pyarrow.LargeStringArray`.
Functions whose names end in `_into` are numba kernels: they write to `out` and return how much they wrote.
"""

import unicodedata

import numpy as np
import pyarrow as pa

from tasks.data.kernels.kernel import kernel

SEPARATOR, LETTER, WORD = 0, 1, 2
"""What a code point is: between words, part of a word, or a word of its own."""

WORD_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
)
FIRST_SYMBOL, LAST_SYMBOL, FIRST_OTHER_HAN = 0x1F000, 0x1FAFF, 0x20000
"""Beyond the basic plane: emoji and pictographs stand between words, Han is a word of its own, the rest are letters."""


def code_point_classes() -> np.ndarray:
    """SEPARATOR, LETTER or WORD of each code point of the basic plane, uint8 of shape (65536,)."""
    categories = [unicodedata.ucd_3_2_0.category(chr(code)) for code in range(0x10000)]
    classes = np.array([name[0] in "LMN" or name in ("Cn", "Co") for name in categories], dtype=np.uint8)
    for first, last in WORD_RANGES:
        classes[first : last + 1] *= WORD
    return classes


def lower_case() -> np.ndarray:
    """The lower case of each code point of the basic plane, or itself, uint16 of shape (65536,).

    Unicode promises that what has a lower case keeps it (Character Encoding Stability Policies, case pairs).
    """
    upper = [code for code in range(0x10000) if unicodedata.ucd_3_2_0.category(chr(code)) in ("Lu", "Lt")]
    lower = np.arange(0x10000, dtype=np.uint16)
    for code in upper:
        small = chr(code).lower()
        if len(small) == 1 and ord(small) < 0x10000:
            lower[code] = ord(small)
    return lower


CLASSES = code_point_classes()
LOWER_CODES = lower_case()
LOWER = np.array([LOWER_CODES[code] if code < 128 and CLASSES[code] else 0 for code in range(256)], dtype=np.uint8)
"""Lower-cased ASCII letters and digits; 0 for every other byte."""

WORD_PRIME = np.uint64(0x9FB21C651E98DF25)
NGRAM_PRIME = np.uint64(0xD6E8FEB86659FD93)
"""Odd 64-bit multipliers of the two polynomials, of words over characters and of n-grams over words; others with about
half of their bits set would do as well, as `mixed` follows both."""


@kernel(inline="always")
def mixed(value: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014; variant 13 of Stafford): each bit depends on all others."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel(inline="always")
def code_point_at(data: np.ndarray, at: int, stop: int) -> tuple[int, np.int64 | int, np.uint32]:
    """Length in bytes, class and lower case of the code point at `at`; bytes that are not UTF-8 count as letters."""
    lead = np.uint32(data[at])
    length = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
    if at + length > stop:
        return 1, LETTER, lead
    code = lead & np.uint32(0x7F >> length)
    for following in range(at + 1, at + length):
        code = (code << np.uint32(6)) | np.uint32(data[following] & 0x3F)
    if code < 0x10000:
        return length, np.int64(CLASSES[code]), np.uint32(LOWER_CODES[code])
    if code >= FIRST_OTHER_HAN:
        return length, WORD, code
    return length, SEPARATOR if FIRST_SYMBOL <= code <= LAST_SYMBOL else LETTER, code


@kernel
def word_hashes_into(data: np.ndarray, start: int, stop: int, seed: np.uint64, out: np.ndarray) -> int:
    """The hash of each word of `data[start:stop]`; `out` must hold `most_words(stop - start)`."""
    fresh = mixed(seed + WORD_PRIME)
    value, inside, count, at = fresh, False, 0, start
    while at < stop:
        letter = LOWER[data[at]]
        if letter:
            value, inside, at = (value ^ np.uint64(letter)) * WORD_PRIME, True, at + 1
            continue
        length, kind, code = 1, SEPARATOR, np.uint32(0)
        if data[at] >= 0x80:
            length, kind, code = code_point_at(data, at, stop)
        if kind == LETTER:
            value, inside = (value ^ np.uint64(code)) * WORD_PRIME, True
        elif inside:
            out[count], value, inside = mixed(value), fresh, False
            count += 1
        if kind == WORD:
            out[count] = mixed((fresh ^ np.uint64(code)) * WORD_PRIME)
            count += 1
        at += length
    if inside:
        out[count] = mixed(value)
        count += 1
    return count


@kernel
def ngrams_of_words_into(words: np.ndarray, num_words: int, n: int, out: np.ndarray) -> int:
    """The hash of each n-gram of the first `num_words` word hashes, in order; `out` may be `words` itself.

    max(1, num_words - n + 1) of them: one of all the words together where they are fewer than n; none of no words. The
    words' hashes are summed with powers of NGRAM_PRIME (Karp and Rabin 1987), rolled from one n-gram to the next, so that
    the cost does not depend on n. The number of words goes into the hash.
    """
    length = min(num_words, n)
    value, oldest = np.uint64(0), np.uint64(1)
    for position in range(length):
        value = value * NGRAM_PRIME + words[position]
        oldest *= NGRAM_PRIME
    count = num_words - length + 1 if num_words else 0
    salt = np.uint64(length) * WORD_PRIME
    for position in range(count):
        leaving = words[position]
        out[position] = mixed(value ^ salt)
        if position + 1 < count:
            value = value * NGRAM_PRIME + words[position + length] - leaving * oldest
    return count


@kernel
def ngram_hashes_into(data: np.ndarray, start: int, stop: int, n: int, seed: np.uint64, out: np.ndarray) -> int:
    """The hash of each n-gram of the words of `data[start:stop]`; `out` must hold `most_words(stop - start)`."""
    return ngrams_of_words_into(out, word_hashes_into(data, start, stop, seed, out), n, out)


@kernel(inline="always")
def most_words(num_bytes: int) -> int:
    """How many words a text can have at most: every second byte one, or every third where characters are words."""
    return (num_bytes + 1) // 2


@kernel
def longest(offsets: np.ndarray) -> int:
    """Bytes of the longest document."""
    most = 0
    for document in range(len(offsets) - 1):
        most = max(most, offsets[document + 1] - offsets[document])
    return most


@kernel
def ngram_hashes_of_all(
    data: np.ndarray, offsets: np.ndarray, n: int, seed: np.uint64, out: np.ndarray, starts: np.ndarray
) -> None:
    total = 0
    starts[0] = 0
    for document in range(len(offsets) - 1):
        total += ngram_hashes_into(data, offsets[document], offsets[document + 1], n, seed, out[total:])
        starts[document + 1] = total


def ngram_hashes(data: np.ndarray, offsets: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the n-grams of all documents, uint64, one after the other, and where each document's begin, (documents + 1,).

    A document with fewer than n words has one n-gram of all of them, one without words none. Needs 4 bytes of memory per
    byte of text: code that goes over large bodies of text calls `ngram_hashes_into` for each document.
    """
    out = np.empty(most_words(int(offsets[-1] - offsets[0])) + len(offsets), dtype=np.uint64)
    starts = np.empty(len(offsets), dtype=np.int64)
    ngram_hashes_of_all(data, offsets, n, np.uint64(seed), out, starts)
    return out[: starts[-1]], starts


def distinct(hashes: np.ndarray) -> np.ndarray:
    """The values that occur, in order. `np.unique` of NumPy 2.4 takes 15 times as long for millions of hashes."""
    hashes = np.sort(hashes)
    return hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(hashes)]]


def text_buffers(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes and the offsets of an array of texts without nulls, as the kernels take them, without a copy.

    Read-only, wherever the array comes from: kernels are compiled for one kind of array and not for two.
    """
    _, offsets, data = texts.buffers()
    found = np.frombuffer(data or b"", dtype=np.uint8)
    first = texts.offset if len(texts) else 0
    ends = np.frombuffer(offsets if len(texts) else bytes(8), dtype=np.int64)[first : first + len(texts) + 1]
    found.flags.writeable = ends.flags.writeable = False
    return found, ends
