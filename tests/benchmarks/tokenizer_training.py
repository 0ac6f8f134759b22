"""Training a byte-level BPE: pretune's way (gigabpe, checked) against the trainer of `tokenizers`, interleaved in one run.

    python tests/benchmarks/tokenizer_training.py --text FOLDER [--rounds 3] [--vocabulary 8192 32768] [--threads 1]

The .txt files of FOLDER are the texts. Each training is a process of its own; imports and reading the files are left out,
writing the sample file and the check against `tokenizers` on its beginning are not. `tokenizers` gets the same texts from
memory, with as many threads. The two tokenizer.json must be equal byte for byte.
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
import time
from importlib.metadata import version
from pathlib import Path

SPECIAL = ("<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>")
CONTENDERS = ("pretune", "tokenizers")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(contender: str, arguments: argparse.Namespace) -> dict:
    from tasks.data.tokens.bpe_training import oracle
    from tasks.data.tokens.tokenizer import END_OF_TEXT, PAD, finish, train_tokenizer

    texts = [path.read_text(encoding="utf-8").rstrip() for path in sorted(arguments.text.glob("*.txt"))]
    [vocab_size] = arguments.vocabulary
    began, begun_cpu = time.perf_counter(), cpu_seconds()
    if contender == "pretune":
        made = train_tokenizer(texts, vocab_size, sum(map(len, texts)), threads=arguments.threads)
    else:
        made = finish(oracle(texts, vocab_size, SPECIAL), END_OF_TEXT, PAD)
    return {
        "wall": time.perf_counter() - began,
        "cpu": cpu_seconds() - begun_cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "size": sum(len(text.encode()) for text in texts) / 1e6,
        "digest": hashlib.sha256(made.tokenizer.to_str().encode()).hexdigest(),
        "entries": made.vocab_size,
    }


def in_process(contender: str, vocab_size: int, arguments: argparse.Namespace) -> dict:
    """What this script prints in a process of its own."""
    threads = {"RAYON_NUM_THREADS": str(arguments.threads), "TOKENIZERS_PARALLELISM": str(arguments.threads > 1).lower()}
    command = [sys.executable, __file__, "--text", str(arguments.text), "--threads", str(arguments.threads)]
    command += ["--vocabulary", str(vocab_size), "--contender", contender]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, check=False)
    if done.returncode or "gigabpe is not" in done.stderr:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> None:
    rows = []
    for vocab_size in arguments.vocabulary:
        found: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
        for number in range(arguments.rounds):
            for name in CONTENDERS if number % 2 == 0 else CONTENDERS[::-1]:
                found[name].append(in_process(name, vocab_size, arguments))
        runs = [run for one in found.values() for run in one]
        assert len({(run["digest"], run["entries"]) for run in runs}) == 1, f"the tokenizers differ: {found}"
        for name in CONTENDERS:
            cells = [f"{runs[0]['entries']:,}", name]
            for what in ("wall", "cpu"):
                values = [run[what] for run in found[name]]
                pairs = zip(found["tokenizers"], found[name], strict=True)
                faster = statistics.median(peer[what] / run[what] for peer, run in pairs)
                cells += [f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})", f"{faster:.1f}x"]
            rows.append([*cells, f"{max(run['peak'] for run in found[name]):,.0f}"])
    print(f"{runs[0]['size']:.1f} MB, {arguments.rounds} rounds, {arguments.threads} threads, equal tokenizer.json; ", end="")
    print(*(f"{name} {version(name)}" for name in ("gigabpe", "tokenizers")), sep=", ", end="; ")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs")
    print("| entries | trainer | wall s, median (range) | faster | CPU s, median (range) | faster | peak MiB |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print("|", " | ".join(row), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="folder of .txt files")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8192, 32768])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(measure(arguments.contender, arguments)))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
