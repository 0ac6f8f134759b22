"""Digests of what was read: every value counts, and so does its place; parts add up to the whole."""

import hashlib

import numpy as np
import pytest

from tasks.data.tokens.digest import MODULUS, digest_of_limbs, digest_text, limbs_of, rows_digest, sample_digest, samples_digest


def arrays(rows: int = 6, length: int = 9) -> list[np.ndarray]:
    random = np.random.default_rng(rows)
    return [random.integers(-100, 50_000, (rows, length)) for _ in range(3)]


def test_a_digest_is_the_first_bits_of_the_sha256_of_place_lengths_and_values() -> None:
    content = b"".join(number.to_bytes(8, "little") for number in (5, 2, 1))
    content += b"".join(value.to_bytes(4, "little", signed=True) for value in (70_000, 3, -100))
    expected = int.from_bytes(hashlib.sha256(content).digest()[:16], "little")
    assert sample_digest(5, [np.array([70_000, 3]), np.array([-100])]) == expected
    assert digest_text(expected) == hashlib.sha256(content).digest()[:16][::-1].hex()


@pytest.mark.parametrize("length", [1, 9, 600])
def test_rows_have_the_digest_of_their_samples(length: int) -> None:
    found, places = arrays(length=length), np.arange(6) * 7
    assert rows_digest(places, found) == samples_digest(places.tolist(), zip(*found, strict=True))
    apart = [np.asarray(array, order="F") for array in found]
    assert rows_digest(places, apart) == rows_digest(places, found), "however they lie in memory"


def test_every_value_and_every_place_counts() -> None:
    whole, places = arrays(), np.arange(6)
    digest = rows_digest(places, whole)
    seen = {digest}
    for array in whole:
        for index in np.ndindex(array.shape):
            array[index] ^= 1
            seen.add(rows_digest(places, whole))
            array[index] ^= 1
    assert len(seen) == 1 + 3 * 6 * 9
    swapped = [array[[1, 0, 2, 3, 4, 5]] for array in whole]
    assert rows_digest(places, swapped) not in seen, "the same samples in another order"
    assert rows_digest(places, [whole[1], whole[0], whole[2]]) not in seen
    assert sample_digest(0, [whole[0][0], whole[1][0][:0]]) != sample_digest(0, [whole[0][0][:0], whole[0][0]])


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_limbs_of_parts_add_up_to_the_whole(parts: int) -> None:
    whole = arrays()
    shares = [rows_digest(np.arange(6)[part::parts], [array[part::parts] for array in whole]) for part in range(parts)]
    limbs = np.sum([limbs_of(share) for share in shares], axis=0)
    assert digest_of_limbs(limbs.tolist()) == rows_digest(np.arange(6), whole)


def test_sums_of_the_largest_limbs_are_exact() -> None:
    ranks = 1 << 21
    total = [limb * ranks for limb in limbs_of(MODULUS - 1)]
    assert digest_of_limbs(total) == (MODULUS - 1) * ranks % MODULUS
    assert all(limb + 1 != limb for limb in total)


def test_nothing_read_is_nothing() -> None:
    assert rows_digest(np.arange(0), [array[:0] for array in arrays()]) == samples_digest([], []) == 0
