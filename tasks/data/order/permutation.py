"""The order of the data as a function: which samples a step sees follows from (seed, step) alone, without any table.

A Feistel network is a bijection of [0, 4^h) whatever its round function is; walking along its cycle until a value falls
below `size` makes it a bijection of [0, size) (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

import hashlib
from functools import lru_cache
from typing import overload

import numpy as np

ROUNDS = 8
"""Four are enough where the round function is random (Luby and Rackoff 1988); ours only mixes, so there are twice as many."""
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Of splitmix64's finaliser (Steele, Lea and Flood, 2014), the round function."""
CHUNK = 4096
"""Positions permuted at once: numpy's fixed cost is shared by several steps, and a chunk takes only 32 KiB."""


@overload
def permute(index: int, size: int, seed: int, epoch: int) -> int: ...
@overload
def permute(index: np.ndarray, size: int, seed: int, epoch: int) -> np.ndarray: ...
def permute(index: int | np.ndarray, size: int, seed: int, epoch: int) -> int | np.ndarray:
    """Where `index` goes in the pseudo-random permutation of range(size) that (seed, epoch) names.

    An array keeps its shape and comes back as int64. Costs O(1) time and memory for each index, on average at most four
    passes of the network. Raises ValueError for an index outside of the range.
    """
    values = np.asarray(index, dtype=np.int64)
    if size < 1 or (values.size and (values.min() < 0 or values.max() >= size)):
        raise ValueError(f"index must be in [0, {size}), and is {index}")
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)  # 4^half_bits is at most 4 x size: hence the four passes
    keys = round_keys(seed, epoch, size)
    flat = encrypt(values.reshape(-1).astype(np.uint64), half_bits, keys)
    outside = np.flatnonzero(flat >= size)
    while outside.size:
        flat[outside] = encrypt(flat[outside], half_bits, keys)
        outside = outside[flat[outside] >= size]
    result = flat.astype(np.int64).reshape(values.shape)
    return int(result) if isinstance(index, int) else result


def round_keys(seed: int, epoch: int, size: int) -> np.ndarray:
    digest = hashlib.blake2b(f"{seed}:{epoch}:{size}".encode(), digest_size=8 * ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8")


def encrypt(values: np.ndarray, half_bits: int, keys: np.ndarray) -> np.ndarray:
    """One pass of the Feistel network over uint64 values below 4^half_bits."""
    shift = np.uint64(half_bits)
    mask = np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (mix(right + key) & mask)
    return (left << shift) | right


def mix(values: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser; arithmetic is modulo 2^64."""
    values = (values ^ (values >> np.uint64(30))) * MULTIPLIERS[0]
    values = (values ^ (values >> np.uint64(27))) * MULTIPLIERS[1]
    return values ^ (values >> np.uint64(31))


def samples_of_step(step: int, global_batch_size: int, num_samples: int, seed: int) -> np.ndarray:
    """Ids of the samples that step `step` (the first is 0) consumes over all ranks, shape (global_batch_size,).

    Every sample is seen once in each epoch, and a batch may reach into the next epoch; no step has to be run to know
    what a later one sees.
    """
    return walk(step * global_batch_size, global_batch_size, num_samples, seed)


def walk(first: int, count: int, size: int, seed: int) -> np.ndarray:
    """The samples at positions [first, first + count) of the endless walk through range(size), a new permutation each epoch."""
    parts, position = [np.empty(0, dtype=np.int64)], first
    while position < first + count:
        epoch, place = divmod(position, size)
        chunk = permuted_chunk(place // CHUNK, size, seed, epoch)
        parts.append(chunk[place % CHUNK :][: first + count - position])
        position += len(parts[-1])
    return np.concatenate(parts)


@lru_cache(maxsize=256)
def permuted_chunk(number: int, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where the places [number x CHUNK, (number + 1) x CHUNK) go; read-only, as it is shared."""
    places = np.arange(number * CHUNK, min((number + 1) * CHUNK, size), dtype=np.int64)
    chunk = permute(places, size, seed, epoch)
    chunk.flags.writeable = False
    return chunk
