"""Text to token shards: pretune against datatrove's DocumentTokenizer and `datasets.map` with `group_texts`, interleaved.

    python tests/benchmarks/tokenization.py --peer-python PYTHON --text FOLDER --tokenizer TOKENIZER.json [--rounds 3]

PYTHON has datatrove, datasets and transformers. The text files of FOLDER become documents of whole paragraphs, about 4,000
characters each (`--document-characters 0`: whole files), the same for every contender, in the page cache. Measured is the CPU
time of the process and its children from the documents on disk to tokens on disk, in a new process every time: `pretune` from
an Arrow document file to shards with index and digests, fsynced, its comparison with `tokenizers` on the first documents
included, `cold` for the first pass and `warm` for the second one of the same encoder; `datatrove` its JsonlReader and
DocumentTokenizer without shuffling, one task; `run_clm` a mapped data set of text through a fast tokenizer and group_texts
(1024), then save_to_disk. Left out for all: imports, loading the tokenizer, compiling. `tokenizers` runs on one thread for the
peers, which costs less CPU than several. The ids of all are compared, without the end-of-text tokens.
"""

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

LENGTH = 1024
CONTENDERS = {
    "pretune": ("gigatoken", "numba", "pyarrow"),
    "datatrove": ("datatrove", "tokenizers"),
    "run_clm": ("datasets", "transformers", "tokenizers"),
}
ROWS = ("pretune cold", "pretune warm", "datatrove", "run_clm")


def documents(folder: Path, size: int, characters: int) -> list[str]:
    """The text as documents: paragraphs up to `size` characters, or whole files for 0; `characters` in all, or all for 0."""
    found, total = [], 0
    for path in sorted(folder.glob("*.txt")):
        document = ""
        text = path.read_text(encoding="utf-8")
        for paragraph in text.split("\n\n") if size else [text]:
            document = f"{document}\n\n{paragraph}" if document else paragraph
            if len(document) >= size:
                found.append(document)
                total, document = total + len(document), ""
        found += [document] if document else []
        if characters and total >= characters:
            break
    return found


def write_documents(texts: list[str], folder: Path) -> None:
    from datasets import Dataset

    from tasks.data.documents.document import Document, DocumentWriter

    writer = DocumentWriter(folder / "documents.arrow")
    with (folder / "jsonl" / "documents.jsonl").open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            writer.add(Document(text, str(number), "en", hashlib.sha256(text.encode()).digest()))
            file.write(json.dumps({"text": text, "id": str(number)}) + "\n")
    writer.close()
    Dataset.from_dict({"text": texts}).save_to_disk(folder / "text")


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def digest(tokens, end_of_text: int) -> str:
    import numpy as np

    return hashlib.sha256(np.asarray(tokens[tokens != end_of_text], dtype="<u2").tobytes()).hexdigest()


def pretune(folder: Path, tokenizer: Path, end_of_text: str) -> dict:
    import numpy as np
    import pyarrow as pa

    from tasks.data.documents.document import read_batches
    from tasks.data.tokens.document_encoding import EncodedCounts, write_batch
    from tasks.data.tokens.encoding import Encoder, count_bytes
    from tasks.data.tokens.shard_writer import ShardWriter
    from tasks.data.tokens.tokenizer import END_OF_TEXT, finish, take_tokenizer, token_bytes

    assert end_of_text == END_OF_TEXT
    taken = take_tokenizer(str(tokenizer))
    table = token_bytes(finish(taken.tokenizer, END_OF_TEXT, END_OF_TEXT))
    count_bytes(Encoder(taken).encode(pa.array(["compiled"], pa.large_string()))[0], table)
    encoder, seconds = Encoder(taken), {}
    for name in ("cold", "warm"):
        out = folder / name
        out.mkdir()
        began = cpu_seconds()
        writer = ShardWriter(out, "train", encoder.dtype.name, 1 << 27)
        counts = EncodedCounts({"train": Counter()})
        for batch in read_batches(folder / "documents.arrow"):
            write_batch(batch, encoder, writer, table, counts)
        writer.close()
        seconds[f"pretune {name}"] = cpu_seconds() - began
    assert encoder.name.startswith("gigatoken")
    read = [np.concatenate([np.fromfile(folder / n / s, encoder.dtype) for s in writer.shards]) for n in ("cold", "warm")]
    assert np.array_equal(*read)
    return {"seconds": seconds, "digest": digest(read[0], taken.end_of_text_id), "tokens": len(read[0]) - writer.num_documents}


def datatrove(folder: Path, tokenizer: Path, end_of_text: str) -> dict:
    import numpy as np
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from tokenizers import Tokenizer

    out = folder / "datatrove"
    step = DocumentTokenizer(
        str(out), tokenizer_name_or_path=str(tokenizer), eos_token=end_of_text, shuffle_documents=False, save_filename="t"
    )
    _ = step.tokenizer, step.token_size
    executor = LocalPipelineExecutor(
        pipeline=[JsonlReader(str(folder / "jsonl")), step], tasks=1, workers=1, logging_dir=str(out / "logs")
    )
    began = cpu_seconds()
    executor.run()
    seconds = cpu_seconds() - began
    end = Tokenizer.from_file(str(tokenizer)).token_to_id(end_of_text)
    read = np.concatenate([np.fromfile(path, dtype="<u2") for path in sorted(out.glob("*.ds"))])
    return {"seconds": {"datatrove": seconds}, "digest": digest(read, end), "tokens": int((read != end).sum())}


def run_clm(folder: Path, tokenizer: Path, end_of_text: str) -> dict:
    import itertools

    import numpy as np
    from datasets import load_from_disk
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), eos_token=end_of_text)
    fast.model_max_length = int(1e30)
    text = load_from_disk(str(folder / "text"))

    def tokenize(rows: dict) -> dict:
        return fast(rows["text"], return_token_type_ids=False)

    def group_texts(rows: dict) -> dict:
        """Concatenate the batch, cut it into blocks, leave the rest out; labels are the inputs."""
        joined = {name: list(itertools.chain.from_iterable(values)) for name, values in rows.items()}
        whole = len(joined["input_ids"]) // LENGTH * LENGTH
        blocks = {name: [ids[at : at + LENGTH] for at in range(0, whole, LENGTH)] for name, ids in joined.items()}
        return blocks | {"labels": blocks["input_ids"].copy()}

    began = cpu_seconds()
    tokenized = text.map(tokenize, batched=True, remove_columns=["text"])
    tokenized.map(group_texts, batched=True).save_to_disk(folder / "run_clm")
    seconds = cpu_seconds() - began
    column = tokenized.data.column("input_ids")
    read = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return {"seconds": {"run_clm": seconds}, "digest": digest(read, fast.eos_token_id), "tokens": len(read)}


def in_process(python: str, contender: str, arguments: argparse.Namespace, folder: Path) -> dict:
    """What this script prints in a process of its own."""
    work = {name: str(folder / name) for name in ("HOME", "HF_DATASETS_CACHE", "HF_HOME")}
    environment = os.environ | work | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, __file__, "--contender", contender, "--work", str(folder)]
    command += ["--tokenizer", str(arguments.tokenizer), "--end-of-text", arguments.end_of_text]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    for name in ("cold", "warm", "datatrove", "run_clm", *work):
        shutil.rmtree(folder / name, ignore_errors=True)
    for cached in (folder / "text").glob("cache-*"):
        cached.unlink()
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    (folder / "jsonl").mkdir()
    texts = documents(arguments.text, arguments.document_characters, arguments.characters)
    size = sum(len(text.encode()) for text in texts)
    write_documents(texts, folder)
    python = {name: sys.executable if name == "pretune" else arguments.peer_python for name in CONTENDERS}
    seconds: dict[str, list[float]] = {name: [] for name in ROWS}
    used: dict[str, str] = {}
    for number in range(arguments.rounds):
        found = {}
        names = list(CONTENDERS)
        for name in names[number % 3 :] + names[: number % 3]:
            found[name] = in_process(python[name], name, arguments, folder)
            used |= found[name]["versions"]
            for row, value in found[name]["seconds"].items():
                seconds[row].append(value)
        assert len({(one["digest"], one["tokens"]) for one in found.values()}) == 1, f"the contenders' ids differ: {found}"
    print(
        f"{len(texts):,} documents, {size / 1e6:.1f} MB, {found['pretune']['tokens']:,} tokens, the same ids from all; ", end=""
    )
    print(
        ", ".join(f"{name} {number}" for name, number in used.items()), f"{platform.machine()}, {os.cpu_count()} CPUs", sep="; "
    )
    print("| contender | median MB/CPU-s | lowest | highest | of pretune cold | of pretune warm |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, values in seconds.items():
        rates = [size / 1e6 / value for value in values]
        ratios = [statistics.median(value / ours for ours, value in zip(seconds[row], values, strict=True)) for row in ROWS[:2]]
        print(f"| {name} | {statistics.median(rates):.2f} | {min(rates):.2f} | {max(rates):.2f} | ", end="")
        print(" | ".join(f"1/{ratio:.1f}" for ratio in ratios), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--text", type=Path, help="folder of .txt files")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of at most 65,536 entries")
    parser.add_argument("--end-of-text", default="<|endoftext|>")
    parser.add_argument("--document-characters", type=int, default=4_000)
    parser.add_argument("--characters", type=int, default=0, help="of text in all; 0: all of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=tuple(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        work = {"pretune": pretune, "datatrove": datatrove, "run_clm": run_clm}[arguments.contender]
        found = work(arguments.work, arguments.tokenizer, arguments.end_of_text)
        print(json.dumps(found | {"versions": {name: version(name) for name in CONTENDERS[arguments.contender]}}))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
