"""The quality rules against datatrove's filters: same verdicts, and MB of UTF-8 judged per CPU-second; and the steps before.

    python tests/benchmarks/quality_filters.py --data FOLDER --peer-python PYTHON [--documents 1000] [--rounds 3]

FOLDER has `prose/**/*.txt` and `wikipedia/*.jsonl.gz` (lines with "text"); PYTHON is an interpreter with datatrove and spacy.
Documents: pieces of 600 to 8,000 characters of the prose, and the lines, half of each, cleaned. Each round measures both sides,
one after the other; figures are medians over rounds. datatrove keeps the words of a document between its filters, so "all four"
is not the sum of its parts. It is given our thresholds where its defaults are not the published ones; the rule on alphabetic
words is set to its reading. Verdicts that differ are printed: spaCy knows more abbreviations and contractions, and datatrove
accepts "'" at the end of a line.
"""

import argparse
import gzip
import importlib.metadata
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

FILTERS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
ALL = "all four"
AS_DATATROVE = {"gopher_quality.min_alphabetic_tokens": 0.8, "gopher_quality.min_alphabetic_words": 0}
MIN_AGREEMENT = 0.99


def timed(work) -> tuple[float, object]:
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def run_peer(path: str) -> None:
    """In datatrove's interpreter: prints seconds and verdicts as JSON."""
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from datatrove.utils.text import split_into_parts

    texts = json.loads(Path(path).read_text())
    judges = dict(
        zip(
            FILTERS,
            (
                filters.GopherQualityFilter(),
                filters.GopherRepetitionFilter(),
                filters.C4QualityFilter(min_num_sentences=3, min_words_per_line=5),
                filters.FineWebQualityFilter(char_duplicates_ratio=0.1),
            ),
            strict=True,
        )
    )

    def verdict(name: str, text: str) -> str | None:
        result = judges[name].filter(Document(text=text, id=""))
        return None if result is True else result[1]

    for name in FILTERS:
        verdict(name, "Loads what is loaded once. " * 30)
    split_into_parts.cache_clear()
    seconds, verdicts = {}, {}
    for name in FILTERS:
        seconds[name], verdicts[name] = timed(lambda name=name: [verdict(name, text) for text in texts])
    seconds[ALL], _ = timed(lambda: [[verdict(name, text) for name in FILTERS] for text in texts])
    versions = {name: importlib.metadata.version(name) for name in ("datatrove", "spacy")}
    print(json.dumps({"seconds": seconds, "verdicts": verdicts, "versions": versions}))


def read_texts(folder: Path, number: int) -> list[str]:
    from tasks.data.documents.cleaning import clean

    generator = random.Random(0)
    novels = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("prose/**/*.txt"))]
    texts = []
    for _ in range(number // 2):
        novel = generator.choice(novels)
        start = generator.randrange(max(1, len(novel) - 8000))
        texts.append(novel[start : start + generator.choice((600, 2000, 8000))])
    files = sorted(folder.glob("wikipedia/*.jsonl.gz"))
    lines = [json.loads(line)["text"] for path in files for line in gzip.decompress(path.read_bytes()).splitlines()]
    texts += generator.sample(lines, min(len(lines), number - len(texts)))
    return [text for text in map(clean, texts) if text]


def run_ours(texts: list[str]) -> dict[str, tuple[float, list[str | None]]]:
    import pyarrow as pa

    from tasks.data.documents.ngrams import text_buffers
    from tasks.data.quality.judge import QualityRules

    buffers = text_buffers(pa.array(texts, type=pa.large_string()))
    results = {}
    for name, chosen in (*((name, (name,)) for name in FILTERS), (ALL, FILTERS)):
        rules = QualityRules(chosen, AS_DATATROVE if "gopher_quality" in chosen else {})
        seconds, codes = timed(lambda rules=rules: rules.judge_batch(*buffers))
        results[name] = (seconds, [rules.reasons[code] for code in codes])
    return results


def steps_before(texts: list[str], rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each round for the other steps, and of the libraries that they stand for."""
    import ftfy
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    from tasks.data.documents.cleaning import clean, fix_unicode
    from tasks.data.quality.boilerplate import keep_c4_lines, remove_boilerplate
    from tasks.data.quality.languages import identify, middle

    known = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    pairs = {
        "clean": (clean, None),
        "fix_unicode / ftfy.fix_encoding": (fix_unicode, ftfy.fix_encoding),
        "identify / py3langid": (identify, lambda text: known.classify(middle(text, 2000))),
        "remove_boilerplate": (remove_boilerplate, None),
        "keep_c4_lines": (keep_c4_lines, None),
    }
    seconds = {name: ([], []) for name in pairs}
    for round_ in range(rounds + 1):
        for name, works in pairs.items():
            for work, times in zip(works, seconds[name], strict=True):
                if work is not None:
                    elapsed, results = timed(lambda work=work: [work(text) for text in texts])
                    if round_:
                        times.append(elapsed)
                    if work is identify:
                        codes = [code for code, _ in results]
                    elif name.startswith("identify"):
                        assert codes == [code for code, _ in results], "another language than py3langid's"
    return seconds


def table(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


def rate(megabytes: float, seconds: list[float]) -> str:
    if not seconds:
        return ""
    rates = sorted(megabytes / each for each in seconds)
    return f"{statistics.median(rates):.4g} ({rates[0]:.4g} to {rates[-1]:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the text")
    parser.add_argument("--peer-python", help="interpreter that has datatrove")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        run_peer(arguments.as_peer)
        return
    texts = read_texts(arguments.data, arguments.documents)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.2f} MB, {arguments.rounds} rounds; Python {sys.version.split()[0]}")
    run_ours(texts)  # compiles
    ours, peers = [], []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(texts))
        file.flush()
        for _ in range(arguments.rounds):
            ours.append(run_ours(texts))
            command = [arguments.peer_python, __file__, "--as-peer", file.name]
            peers.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))
    versions = peers[0]["versions"]
    rows = [
        ["rules", "pretune MB/s", f"datatrove {versions['datatrove']} MB/s", "ratio", "same verdicts", "dropped by datatrove"]
    ]
    agreements = {}
    for name in (*FILTERS, ALL):
        mine, theirs = [each[name][0] for each in ours], [each["seconds"][name] for each in peers]
        ratio = statistics.median(other / own for own, other in zip(mine, theirs, strict=True))
        row = [name, rate(megabytes, mine), rate(megabytes, theirs), f"{ratio:.0f}"]
        if name == ALL:
            rows.append([*row, "", ""])
            continue
        pairs = list(zip(ours[0][name][1], peers[0]["verdicts"][name], strict=True))
        agreements[name] = sum((own is None) == (other is None) for own, other in pairs) / len(pairs)
        rows.append([*row, f"{agreements[name]:.2%}", str(sum(other is not None for _, other in pairs))])
        for (own, other), number in Counter(pair for pair in pairs if (pair[0] is None) != (pair[1] is None)).items():
            print(f"differs in {number}: pretune {own}, datatrove {other}")
    print(f"\nspaCy {versions['spacy']}; MB of UTF-8 per CPU-second, median (lowest to highest)\n\n{table(rows)}\n")
    rows = [["step", "pretune MB/s", "library MB/s"]]
    for name, (mine, theirs) in steps_before(texts, arguments.rounds).items():
        rows.append([name, rate(megabytes, mine), rate(megabytes, theirs)])
    print(table(rows))
    for name, share in agreements.items():
        assert share >= MIN_AGREEMENT, f"{name}: only {share:.2%} of the verdicts agree"


if __name__ == "__main__":
    main()
