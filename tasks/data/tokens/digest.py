"""A digest of the tokens that a step reads, which ranks add up: it is the same however a batch is divided among them.

A sample's digest is the first 128 bits of the SHA-256 of its place in the global batch, the lengths of its arrays and their
values; a step's is the sum of its samples', modulo 2^128. Sums travel as four limbs of 32 bits, each a whole number that
float64 holds exactly for up to 2^21 ranks, so they are part of the all-reduce that a step makes anyway.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

LIMB_BITS, LIMBS = 32, 4
MODULUS = 1 << LIMB_BITS * LIMBS


def sample_digest(place: int, arrays: Sequence[np.ndarray]) -> int:
    """Of one sample: its place in the global batch, and integer arrays of shape (sequence,) with values below 2^31."""
    found = hashlib.sha256(np.array([place, *map(len, arrays)], dtype="<i8").data)
    for array in arrays:
        found.update(np.ascontiguousarray(array, dtype="<i4").data)
    return first_bits(found)


def first_bits(found: "hashlib._Hash") -> int:
    return int.from_bytes(found.digest()[: LIMB_BITS * LIMBS // 8], "little")


def rows_digest(places: np.ndarray, arrays: Sequence[np.ndarray]) -> int:
    """Of samples in the rows of arrays of shape (batch, sequence): `samples_digest`, with little done row by row."""
    header = np.tile(np.array([0, *(array.shape[1] for array in arrays)], dtype="<i8"), (len(places), 1))
    header[:, 0] = places
    rows = np.concatenate([header.view("<i4"), *arrays], axis=1, dtype="<i4", casting="unsafe")
    return sum(first_bits(hashlib.sha256(row.data)) for row in rows) % MODULUS


def samples_digest(places: Iterable[int], samples: Iterable[Sequence[np.ndarray]]) -> int:
    """Of some samples of a step; digests of others are added to it modulo 2^128."""
    return sum(sample_digest(place, arrays) for place, arrays in zip(places, samples, strict=True)) % MODULUS


def limbs_of(digest: int) -> list[float]:
    """The lowest first."""
    return [float(digest >> LIMB_BITS * i & (1 << LIMB_BITS) - 1) for i in range(LIMBS)]


def digest_of_limbs(limbs: Sequence[float]) -> int:
    """The digest that limbs, or sums of limbs, stand for."""
    return sum(int(limb) << LIMB_BITS * i for i, limb in enumerate(limbs)) % MODULUS


def digest_text(digest: int) -> str:
    """As the journal has it: 32 hexadecimal digits."""
    return f"{digest:032x}"
