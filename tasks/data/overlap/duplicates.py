"""Exact and near duplicates among documents, and against earlier data sets, in bounded memory.

A document is dropped if its digest is that of an earlier document, or if the Jaccard similarity of its set of word n-grams
with that of an earlier *kept* document reaches the threshold. This is the leader rule, and not the connected components that
are common: with those, a chain of small differences removes documents that have nothing in common with what is kept (stubs
made from a template are such chains). Every dropped document here has a kept one that it is verified to be like, and which
is named; for a given set of similar pairs there is exactly one such choice, so the result depends on the order of the
documents and on nothing else: neither on how they are spread over parts nor on the memory.

Candidates are documents that share one of the band keys of `signatures`; each is verified exactly. Band after band, documents
are covered by earlier ones. One that was covered by a document which turns out to be a duplicate itself is compared with
that one's keeper, and if it is not like it, goes through the bands again.

Memory, in bytes, for n documents: 22 n in files that are mapped (the system can take these pages back), `memory_bytes` for
keys, pairs and n-gram sets, and 8 x text bytes of the two largest documents; 7 million documents: 154 MB + `memory_bytes`.
Documents that share one key are never split: 128 bytes for each in the largest bucket. Each band reads 8 n bytes of keys, as
often as 256 n goes into `memory_bytes`.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.documents.document import open_documents
from tasks.data.kernels.kernel import kernel
from tasks.data.overlap.array_files import write_array
from tasks.data.overlap.buckets import ENTRY_BYTES, KEPT, MAX_ROUNDS, Buckets, buckets_of_band
from tasks.data.overlap.signatures import NearDuplicateSettings
from tasks.data.overlap.texts import ComparedPart, ComparedTexts, mapped

KEEP, EXACT, NEAR = 0, 1, 2
"""Codes in the `.drop.npy` files."""
NUM_EXAMPLES = 5
MAX_SWEEPS = 32
"""How often documents that lost their keeper go through the bands again; then they are kept, and counted as unsettled.

Of documents in random order a number of times in the order of log^2 n settles all (Blelloch, Fineman and Shun 2012, on
greedy maximal independent sets); only a chain in the order of the documents takes one for every second link.
"""
EXACT_SHARE = 0.05
"""Of the time, for the progress bar."""


@dataclass
class DuplicateSummary:
    """What was found. `first_numbers`: number of the first document of each part, in the order the parts were given."""

    documents: int
    references: int
    exact: int = 0
    near: int = 0
    of_references: int = 0
    """Dropped because an earlier data set has them; counted in `exact` and `near` too."""
    verified_pairs: int = 0
    uncompared: int = 0
    """Documents left over in buckets after MAX_ROUNDS, counted once for each bucket."""
    unsettled: int = 0
    """Documents kept because MAX_SWEEPS did not settle what they are duplicates of."""
    cluster_sizes: dict[str, int] = field(default_factory=dict)
    """Number of clusters by documents in them, the kept one included: 2, 3-4, 5-8 ..."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first near duplicates: where, duplicate_of, jaccard."""
    first_numbers: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def find_duplicates(
    parts: Sequence[ComparedPart],
    settings: NearDuplicateSettings | None,
    work: Path,
    memory_bytes: int,
    report: Callable[[float, str], None],
) -> DuplicateSummary:
    """Write for each document whether it is dropped (uint8: KEEP, EXACT, NEAR) and which kept one it duplicates (int64, -1).

    `settings` are those that the keys were made with; None: only equal texts. What is needed meanwhile lies in a folder
    in `work`, which is removed at the end. An exception of `report` ends it.
    """
    folder = work / "duplicates"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        search = DuplicateSearch(ComparedTexts(parts, folder), folder, memory_bytes)
        search.find_exact()
        report(EXACT_SHARE, f"de-duplicating: {search.summary.exact:,} equal texts of {search.texts.num_documents:,}")
        if settings is not None:
            search.find_near(settings, report)
        search.write()
        search.summarise(settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    order = {id(part): int(first) for part, first in zip(search.texts.parts, search.texts.firsts, strict=False)}
    search.summary.first_numbers = [order[id(part)] for part in parts]
    return search.summary


class DuplicateSearch:
    """The state of a search: which document each one is a duplicate of, in arrays mapped from files in `folder`."""

    def __init__(self, texts: ComparedTexts, folder: Path, memory_bytes: int) -> None:
        self.texts, self.memory_bytes = texts, memory_bytes
        self.keeper = mapped(folder / "keeper", texts.num_documents, np.int64)
        self.keeper[:] = KEPT
        self.equal = mapped(folder / "equal", texts.num_documents, np.bool_)
        """Whether the whole text is that of an earlier document."""
        self.fresh = mapped(folder / "fresh", texts.num_documents, np.bool_)
        """Whether the document is to be compared with all others; two that are not were compared before."""
        self.counts = mapped(folder / "counts", texts.num_documents, np.uint32)
        """Documents that each one stands for, itself not counted."""
        self.summary = DuplicateSummary(texts.num_documents, texts.num_references)

    def find_exact(self) -> None:
        """Equal first 16 bytes of the SHA-256 make equal texts."""
        ranges = max(1, -(-self.texts.num_documents * ENTRY_BYTES // self.memory_bytes))
        for index in range(ranges):
            uppers, lowers, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
            for part, documents in self.texts.slices():
                digests = read_digests(part.documents)
                place = ((digests[:, 0] >> np.uint64(32)) * np.uint64(ranges)) >> np.uint64(32)
                chosen = np.flatnonzero(place == np.uint64(index))
                uppers.append(digests[chosen, 0])
                lowers.append(digests[chosen, 1])
                numbers.append(chosen + documents.start)
            self._drop_equal(np.concatenate(uppers), np.concatenate(lowers), np.concatenate(numbers))

    def _drop_equal(self, uppers: np.ndarray, lowers: np.ndarray, numbers: np.ndarray) -> None:
        order = np.lexsort((lowers, uppers))
        uppers, lowers, numbers = uppers[order], lowers[order], numbers[order]
        same = np.concatenate([[False], (uppers[1:] == uppers[:-1]) & (lowers[1:] == lowers[:-1])])[: len(numbers)]
        leaders = numbers[np.maximum.accumulate(np.where(same, 0, np.arange(len(numbers))))]
        dropped = same & (numbers >= self.texts.num_references)
        self.keeper[numbers[dropped]] = leaders[dropped]
        self.equal[numbers[dropped]] = True
        self.summary.exact += int(dropped.sum())

    def find_near(self, settings: NearDuplicateSettings, report: Callable[[float, str], None]) -> None:
        """Go through all bands until no dropped document has a keeper that is dropped itself."""
        self.fresh[:] = True
        for sweep in range(MAX_SWEEPS):
            for band in range(settings.bands):
                done = 1 - (1 - EXACT_SHARE) * 0.1**sweep * (1 - 0.9 * band / settings.bands)
                for buckets in buckets_of_band(self.texts, self.keeper, self.fresh, band, self.memory_bytes // 2):
                    for block in buckets.blocks(self.texts.sizes, self.memory_bytes // 8):
                        report(done, f"de-duplicating: {self.summary.verified_pairs:,} pairs compared")
                        self._cover(block, settings)
            self.fresh[:] = False
            reopened = self._settle(settings)
            if not reopened:
                return
        self.summary.unsettled = reopened

    def _cover(self, buckets: Buckets, settings: NearDuplicateSettings) -> None:
        """Drop what is like an earlier kept document of its bucket."""
        num_references = self.texts.num_references
        compare = self.texts.comparer(buckets.numbers, settings, self.memory_bytes // 2)
        for _ in range(MAX_ROUNDS):
            firsts, seconds = buckets.pairs(num_references, self.fresh)
            if not len(firsts):
                return
            alike = compare(firsts, seconds) >= settings.threshold
            self.summary.verified_pairs += len(alike)
            buckets.covered[seconds[alike]] = True
            self.keeper[buckets.numbers[seconds[alike]]] = buckets.numbers[firsts[alike]]
        self.summary.uncompared += len(buckets.pairs(num_references, self.fresh)[1])

    def _settle(self, settings: NearDuplicateSettings) -> int:
        """Give every document whose keeper was dropped that one's keeper, if it is like it; else keep it, as fresh.

        Returns how many are fresh. Keepers have lower numbers, so that each pass settles at least the lowest of them.
        """
        reopened = 0
        found = np.empty(max(1, self.memory_bytes // ENTRY_BYTES), dtype=np.int64)
        settled = False
        while not settled:
            settled, start = True, 0
            while start < self.texts.num_documents:
                count, start = orphans_into(self.keeper, self.equal, start, found)
                if not count:
                    continue
                settled = False
                orphans = found[:count]
                keepers = self.keeper[self.keeper[orphans]]
                by_keeper = np.argsort(keepers, kind="stable")
                orphans, keepers = orphans[by_keeper], keepers[by_keeper]
                alike = self.texts.similarities(keepers, orphans, settings, self.memory_bytes // 2) >= settings.threshold
                self.summary.verified_pairs += count
                self.keeper[orphans] = np.where(alike, keepers, KEPT)
                self.fresh[orphans[~alike]] = True
                reopened += int((~alike).sum())
        return reopened

    def write(self) -> None:
        """Write the results of each part that is no reference, and count."""
        for part, documents in self.texts.slices():
            keeper, equal = self.keeper[documents], self.equal[documents]
            # The first of equal texts may itself be a near duplicate: then its keeper stands for all of them.
            beyond = self.keeper[keeper]
            keeper = np.where(equal & (beyond != KEPT), beyond, keeper)
            dropped = keeper != KEPT
            self.summary.near += int((dropped & ~equal).sum())
            self.summary.of_references += int((dropped & (keeper < self.texts.num_references)).sum())
            count_keepers(keeper, self.counts)
            if not part.reference:
                write_array(
                    Path(f"{part.out}.drop.npy"), np.where(dropped, np.where(equal, EXACT, NEAR), KEEP).astype(np.uint8)
                )
                write_array(Path(f"{part.out}.duplicate_of.npy"), keeper)

    def summarise(self, settings: NearDuplicateSettings | None) -> None:
        sizes: Counter[int] = Counter()
        for _, documents in self.texts.slices():
            counts = self.counts[documents]
            sizes.update(np.ceil(np.log2(counts[counts > 0] + 1.0)).astype(int).tolist())
            if settings is None:
                continue
            near = np.flatnonzero((self.keeper[documents] != KEPT) & ~self.equal[documents]) + documents.start
            for number in near[: NUM_EXAMPLES - len(self.summary.examples)]:
                pair = np.array([self.keeper[number]]), np.array([number])
                jaccard = float(self.texts.similarities(*pair, settings, self.memory_bytes)[0])
                places = {"where": self.texts.where(number), "duplicate_of": self.texts.where(pair[0][0])}
                self.summary.examples.append(places | {"jaccard": round(jaccard, 4)})
        names = {power: "2" if power == 1 else f"{2 ** (power - 1) + 1}-{2**power}" for power in sizes}
        self.summary.cluster_sizes = {names[power]: sizes[power] for power in sorted(sizes)}


def read_digests(documents: Path) -> np.ndarray:
    """The first 16 bytes of each digest of a document file, as two uint64."""
    with open_documents(documents) as opened:
        found = [np.empty((0, 2), dtype=np.uint64)]
        for index in range(opened.num_record_batches):
            column = opened.get_batch(index).column("digest")
            rows = np.frombuffer(column.buffers()[1], dtype=">u8").reshape(-1, 4)
            found.append(rows[column.offset : column.offset + len(column), :2].astype(np.uint64))
    return np.concatenate(found)


@kernel
def orphans_into(keeper: np.ndarray, equal: np.ndarray, start: int, out: np.ndarray) -> tuple[int, int]:
    """Write the near duplicates from `start` on whose keeper is dropped, but not that one's; how many, and where to go on."""
    count, number = 0, start
    while number < len(keeper) and count < len(out):
        if not equal[number] and keeper[number] >= 0 and keeper[keeper[number]] >= 0 and keeper[keeper[keeper[number]]] < 0:
            out[count] = number
            count += 1
        number += 1
    return count, number


@kernel
def count_keepers(keeper: np.ndarray, counts: np.ndarray) -> None:
    for number in range(len(keeper)):
        if keeper[number] >= 0:
            counts[keeper[number]] += 1
