"""Tokens from files to int64 batches in random order: pretune against litdata and the `run_clm` loader, interleaved in one run.

    python tests/benchmarks/loading.py --peer-python PYTHON [--rounds 5] [--tokens 20480000]

PYTHON has litdata, datasets, transformers and torch. The tokens are random, in documents of 500 on average, and the same for
every contender. Each delivers sequences of 1024 as torch tensors on the CPU, without worker processes, from files in the page
cache: `pretune` its order function, `input_ids`, shifted `labels` and `position_ids`; `litdata` a shuffled StreamingDataset
with its TokensLoader and StreamingDataLoader, cast to int64, its labels being the same tensor; `run_clm` a mapped data set
of grouped token lists with DataLoader(shuffle=True) and default_data_collator. Time is CPU time of the process, a whole
number of epochs, at least a second. A first epoch, which is not timed, shows that each delivers every sequence once.
"""

import argparse
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

LENGTH, VOCABULARY = 1024, 50_000
BATCHES = (8, 64)
CONTENDERS = {"pretune": ("numba", "numpy", "torch"), "litdata": ("litdata", "torch"), "run_clm": ("datasets", "transformers")}
MINIMUM_SECONDS = 1.0


def write_tokens(folder: Path, count: int) -> None:
    """Two shards as preparation writes them, of `count` + 1 tokens: the last one is only a target."""
    import numpy as np

    from tasks.record.manifest import Manifest

    random = np.random.default_rng(0)
    half = count // LENGTH // 2 * LENGTH
    for number, size in enumerate((half, count + 1 - half)):
        random.integers(1, VOCABULARY, size, dtype=np.uint16).tofile(folder / f"train-{number:05d}.bin")
        starts = np.unique(np.append(random.integers(0, size, size // 500), 0))
        np.save(folder / f"train-{number:05d}.documents.npy", starts.astype("<u8"))
    np.save(folder / "token_bytes.npy", np.ones(VOCABULARY, dtype=np.uint16))
    details = {"dtype": "uint16", "shards": {"train": ["train-00000.bin", "train-00001.bin"]}}
    (folder / "manifest.json").write_text(Manifest(kind="prepare", request_digest="", details=details).model_dump_json())


def sequences(folder: Path):
    """All sequences, uint16 of shape (count, LENGTH)."""
    import numpy as np

    tokens = np.concatenate([np.fromfile(path, dtype="<u2") for path in sorted(folder.glob("train-*.bin"))])
    return tokens[:-1].reshape(-1, LENGTH)


def pretune(folder: Path, batch: int) -> Callable[[int], Iterable]:
    import torch

    from tasks.data.order.mixture import Mixture
    from tasks.data.tokens.shards import TokenDataset
    from tasks.record.manifest import Manifest

    dataset = TokenDataset(folder, Manifest.read(folder / "manifest.json"), "train", LENGTH)
    mixture = Mixture(dataset.sizes, [None], [None], seed=0)
    steps = dataset.num_sequences // batch

    def epoch(number: int) -> Iterator:
        for step in range(number * steps, (number + 1) * steps):
            found = dataset.read(mixture.sample_ids(step, batch))
            # The same three tensors as tasks.training.evaluation.read_text makes.
            yield tuple(torch.from_numpy(array) for array in (found.input_ids, found.labels, found.position_ids))

    return epoch


def litdata(folder: Path, batch: int) -> Callable[[int], Iterable]:
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader

    dataset = StreamingDataset(
        str(folder / "litdata"), item_loader=TokensLoader(block_size=LENGTH), shuffle=True, drop_last=False, seed=0
    )
    loader = StreamingDataLoader(dataset, batch_size=batch, num_workers=0)

    def epoch(number: int) -> Iterator:
        for rows in loader:
            ids = rows.long()
            yield ids, ids

    return epoch


def run_clm(folder: Path, batch: int) -> Callable[[int], Iterable]:
    from datasets import load_from_disk
    from torch.utils.data import DataLoader
    from transformers import default_data_collator

    dataset = load_from_disk(str(folder / "run_clm"))
    loader = DataLoader(dataset, batch_size=batch, shuffle=True, collate_fn=default_data_collator)

    def epoch(number: int) -> Iterator:
        for rows in loader:
            yield rows["input_ids"], rows["labels"]

    return epoch


def one_document(part: int, folder: Path):
    import torch

    return torch.from_numpy(sequences(folder)[part * 500 : (part + 1) * 500].reshape(-1).copy())


def write_for_peers(folder: Path) -> None:
    """The same sequences as litdata's chunks and as the data set that `group_texts` of run_clm leaves."""
    from functools import partial

    import numpy as np
    import pyarrow as pa
    from datasets import Dataset
    from litdata import TokensLoader, optimize

    rows = sequences(folder)
    parts = list(range(-(-len(rows) // 500)))
    optimize(
        fn=partial(one_document, folder=folder), inputs=parts, output_dir=str(folder / "litdata"), num_workers=1,
        chunk_bytes="16MB", item_loader=TokensLoader(),
    )  # fmt: skip
    offsets = np.arange(0, rows.size + 1, LENGTH, dtype=np.int32)
    columns = {
        "input_ids": rows.reshape(-1).astype(np.int32),
        "attention_mask": np.ones(rows.size, dtype=np.int8),
        "labels": rows.reshape(-1).astype(np.int64),
    }
    Dataset(pa.table({name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()})).save_to_disk(
        folder / "run_clm"
    )


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(name: str, folder: Path, batch: int, check: bool) -> dict[str, float | str]:
    """Tokens per CPU second; with `check` the digest of the set of all sequences instead."""
    import torch

    torch.set_num_threads(1)
    epoch = {"pretune": pretune, "litdata": litdata, "run_clm": run_clm}[name](folder, batch)
    if check:
        assert {tensor.dtype for tensor in next(iter(epoch(0)))} == {torch.int64}
        rows = [hashlib.sha256(row.numpy().tobytes()).digest() for ids, *_ in epoch(0) for row in ids]
        return {"digest": hashlib.sha256(b"".join(sorted(rows))).hexdigest(), "sequences": len(rows)}
    for _, _ in zip(range(20), epoch(0), strict=False):
        pass
    began, tokens, number = cpu_seconds(), 0, 1
    while cpu_seconds() - began < MINIMUM_SECONDS:
        for ids, *_ in epoch(number):
            tokens += ids.numel()
        number += 1
    seconds = cpu_seconds() - began
    return {"tokens_per_cpu_second": tokens / seconds}


def in_process(python: str, *arguments: str, folder: Path) -> dict:
    """What this script prints in a process of its own."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "HOME": str(folder)}
    command = [python, __file__, "--folder", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def part(arguments: argparse.Namespace) -> dict:
    """The work of a process of its own."""
    if arguments.only == "write":
        write_for_peers(arguments.folder)
        return {}
    if arguments.only == "versions":
        return {name: version(name) for name in CONTENDERS[arguments.contender]}
    return measure(arguments.contender, arguments.folder, arguments.batch, arguments.only == "check")


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    write_tokens(folder, arguments.tokens // LENGTH // max(BATCHES) * max(BATCHES) * LENGTH)
    python = {name: sys.executable if name == "pretune" else arguments.peer_python for name in CONTENDERS}
    in_process(arguments.peer_python, "--only", "write", folder=folder)
    found, used = {}, {}
    for name in CONTENDERS:
        used |= in_process(python[name], "--only", "versions", "--contender", name, folder=folder)
        found[name] = in_process(python[name], "--only", "check", "--contender", name, folder=folder)
    assert len({json.dumps(digest) for digest in found.values()}) == 1, f"the contenders deliver other sequences: {found}"
    rates: dict[tuple[int, str], list[float]] = {(batch, name): [] for batch in BATCHES for name in CONTENDERS}
    for number in range(arguments.rounds):
        names = list(CONTENDERS)
        for batch in BATCHES:
            for name in names[number % 3 :] + names[: number % 3]:
                options = ("--only", "measure", "--contender", name, "--batch", str(batch))
                rates[batch, name].append(in_process(python[name], *options, folder=folder)["tokens_per_cpu_second"])
    print(f"{found['pretune']['sequences']:,} sequences of {LENGTH}, each delivered once by every contender; ", end="")
    print(
        ", ".join(f"{name} {number}" for name, number in used.items()), f"{platform.machine()}, {os.cpu_count()} CPUs", sep="; "
    )
    print("| batch | contender | median tokens/CPU-s | lowest | highest | pretune is faster, median of rounds |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for (batch, name), values in rates.items():
        ratio = statistics.median(ours / peer for ours, peer in zip(rates[batch, "pretune"], values, strict=True))
        row = f"{statistics.median(values):,.0f} | {min(values):,.0f} | {max(values):,.0f} | {ratio:.1f}x"
        print(f"| {batch} | {name} | {row} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20_480_000)
    parser.add_argument("--only", choices=("write", "versions", "check", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=tuple(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=8, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(part(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
