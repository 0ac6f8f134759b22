"""Near duplicates: how many are found, against all pairs compared; how fast their keys are made, against datatrove.

    python -m tests.benchmarks.near_duplicates --peer-python PYTHON [--rounds 3] [--documents 5000] [--texts FILE.jsonl.gz]

PYTHON is an interpreter with datatrove. The texts are lead sections of Wikipedia and edits of them, so that Jaccard
similarities are spread from 0.3 to 1. Speed is input bytes per CPU-second (user and system, of the process) of the whole step:
here `write_keys` (document file in, keys out), there `MinhashDedupSignature` with its defaults (documents from memory,
signature files out). Reading of models and compilation are left out; rounds alternate.
"""

import argparse
import gzip
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST_SECONDS = 1.0
"""The faster contender repeats the step until so much CPU time has gone by."""


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class SplitAtSpaces:
    """In place of the peer's tokenizer, to see what the rest of its step takes."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def run_peer(texts: Path) -> None:
    """In the peer's interpreter: print the CPU-seconds of its step, as it is and without its tokenizer, and what it is."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    documents = [Document(text=text, id=str(number)) for number, text in enumerate(json.loads(texts.read_text()))]
    seconds, tokenizers = [], []
    with tempfile.TemporaryDirectory() as folder:
        for split in (False, True):
            step = MinhashDedupSignature(f"{folder}/{split}")
            if split:
                step.word_tokenizer = SplitAtSpaces()
            list(step.run(documents[:20]) or [])
            started = cpu_seconds()
            list(step.run(documents) or [])
            seconds.append(cpu_seconds() - started)
            tokenizers.append(type(step.word_tokenizer).__name__)
    config = MinhashConfig()
    hashing = f"{config.num_buckets} x {config.hashes_per_bucket}, {config.n_grams}-grams, {config.hash_config.hash_fc}"
    version = importlib.metadata.version("datatrove")
    print(json.dumps({"seconds": seconds, "version": version, "what": [f"{hashing}, {name}" for name in tokenizers]}))


def measure_ours(documents: Path, out: Path) -> float:
    from tasks.data.overlap.signatures import NearDuplicateSettings, write_keys

    write_keys(documents, out, NearDuplicateSettings())
    passes, started = 0, cpu_seconds()
    while cpu_seconds() - started < LEAST_SECONDS:
        write_keys(documents, out, NearDuplicateSettings())
        passes += 1
    return (cpu_seconds() - started) / passes


def compare_speed(texts: list[str], peer_python: str, rounds: int, work: Path) -> None:
    from tests.kit.edited_texts import write_documents

    documents = write_documents(work / "speed.arrow", texts)
    (work / "texts.json").write_text(json.dumps(texts))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rates: list[list[float]] = []
    for _ in range(rounds):
        ours = measure_ours(documents, work / "speed.keys.npy")
        command = [peer_python, __file__, "--as-peer", str(work / "texts.json")]
        printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
        peer = json.loads(printed.splitlines()[-1])
        rates.append([megabytes / seconds for seconds in (ours, *peer["seconds"])])
    from tasks.data.overlap.signatures import NearDuplicateSettings

    settings = NearDuplicateSettings()
    what = [f"{settings.bands} x {settings.rows}, {settings.ngram}-grams", *peer["what"]]
    names = ["pretune", *[f"datatrove {peer['version']}"] * 2]
    print(f"\n{len(texts):,} documents, {megabytes:.2f} MB, {rounds} rounds; median (least to most)\n")
    print("| | bands x hashes | MB per CPU-second | pretune to it |")
    print("|---|---|---:|---:|")
    for number, name in enumerate(names):
        ratios = [row[0] / row[number] for row in rates]
        print(f"| {name} | {what[number]} | {spread([row[number] for row in rates], 2)} | {spread(ratios, 0)} |")


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def compare_results(texts: list[str], work: Path) -> None:
    """Ours against the whole matrix of similarities: candidate pairs, dropped documents, named pairs."""
    import numpy as np

    from tasks.data.overlap.duplicates import find_duplicates
    from tasks.data.overlap.signatures import NearDuplicateSettings, write_keys
    from tasks.data.overlap.texts import ComparedPart
    from tests.kit.edited_texts import all_similarities, dropped_by_leader_rule, write_documents

    settings = NearDuplicateSettings()
    started = cpu_seconds()
    similarities = all_similarities(texts, settings.ngram)
    brute = cpu_seconds() - started
    part = ComparedPart(write_documents(work / "all.arrow", texts), work / "all.keys.npy", work / "all")
    write_keys(part.documents, part.keys, settings)
    started = cpu_seconds()
    summary = find_duplicates([part], settings, work, 64 << 20, lambda fraction, message: None)
    ours = cpu_seconds() - started
    keys, dropped = np.load(part.keys), np.load(f"{part.out}.drop.npy") > 0
    keepers = np.load(f"{part.out}.duplicate_of.npy")
    expected = dropped_by_leader_rule(similarities >= settings.threshold)
    firsts, seconds = np.nonzero(np.triu(similarities >= settings.threshold, 1))
    candidates = (keys[:, firsts] == keys[:, seconds]).any(axis=0)
    upper = similarities[np.triu_indices(len(texts), 1)]
    close = int(((upper > settings.threshold - 0.1) & (upper < settings.threshold + 0.1)).sum())
    right = int((dropped & expected).sum())
    named = similarities[np.flatnonzero(dropped), keepers[dropped]] >= settings.threshold
    print(f"\n{len(texts):,} documents: {len(firsts):,} pairs at {settings.threshold} or more, {close:,} within 0.1 of it.")
    print(f"All pairs: {brute:.1f} CPU-seconds; keys, buckets and {summary.verified_pairs:,} comparisons: {ours:.1f}.\n")
    print("| | recall | precision |")
    print("|---|---:|---:|")
    near = similarities[firsts, seconds] < settings.threshold + 0.1
    print(f"| pairs that share a key | {candidates.mean():.4f} | verified |")
    print(f"| of these the {near.sum():,} below {settings.threshold + 0.1:.1f} | {candidates[near].mean():.4f} | |")
    print(f"| documents dropped | {right / expected.sum():.4f} | {right / dropped.sum():.4f} |")
    print(f"| dropped document and the one named for it | | {named.mean():.4f} |")
    assert candidates.mean() >= 0.98 and right >= 0.98 * expected.sum() and right >= 0.98 * dropped.sum() and named.all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        return run_peer(arguments.as_peer)
    from tests.kit.edited_texts import edited_collection
    from tests.kit.real_data import folder

    path = arguments.texts or folder("wikipedia", "enwiki-2026-vital-articles-leads.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        leads = [json.loads(line)["text"] for line in file]
    print(f"Python {sys.version.split()[0]}, numba {importlib.metadata.version('numba')}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder_name:
        compare_results(edited_collection(leads, arguments.documents), Path(folder_name))
        if arguments.peer_python:
            compare_speed(leads[:2000], arguments.peer_python, arguments.rounds, Path(folder_name))
    return None


if __name__ == "__main__":
    main()
