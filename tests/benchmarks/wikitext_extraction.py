"""Dump to text: pretune against wikiextractor, CPU-seconds and what markup is left, interleaved in one run.

    python -m tests.benchmarks.wikitext_extraction --peer-python PYTHON [--rounds 3] [--megabytes 60]

PYTHON is an interpreter with wikiextractor, which runs as `-m wikiextractor.WikiExtractor --no-templates --processes 1 --json`.
The dump repeats the pages of `wikipedia/enwiki-20160422-pages-articles-sample.xml.bz2` (see tests/kit/real_data.py); both write
JSON lines. CPU-seconds (user and system) are those of the whole process and its children; "net" is without those of the same
command on a dump without pages. The start has the import and, of pretune, loading
what is compiled (numba's cache is warm). The documents must be the same in number; ours must hold what the
peer's hold, measured as the share of its sequences of five words.
"""

import argparse
import bz2
import html
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from tests.kit.real_data import folder

SAMPLE = ("wikipedia", "enwiki-20160422-pages-articles-sample.xml.bz2")
RESIDUES = {
    "`{{`, `}}`": r"\{\{|\}\}",
    "`{|`, `|}`": r"\{\||\|\}",
    "`[[`, `]]`": r"\[\[|\]\]",
    "`<ref`, `</`": r"<ref|</",
    "other tags": r"<[a-z]+[ />]",
    "`'''`, `''`": r"''+",
    "entities": r"&[a-z]+;|&#\d+;",
    "`|thumb`, `px`": r"\|thumb|\d+px",
    "`http`": r"https?://",
    "`()`, `( ,`": r"\([ ,;:]*\)|\( ?[,;:]",
    "`formula_1`": r"formula_\d",
    "` ,`, `,,`": r" ,|,,",
}
LEAST_SHARED = 0.97
SEQUENCE = 5


def run_ours(dump: Path, output: Path) -> None:
    from tasks.data.sources.mediawiki import read_pages
    from tasks.data.wikitext.convert import wikitext_to_text

    wikitext_to_text("")  # What is compiled is loaded at the first call: part of the start.
    with (bz2.open if dump.suffix == ".bz2" else open)(dump, "rb") as stream, output.open("w") as lines:
        for page in read_pages(stream, dump.name, Counter()):
            text = wikitext_to_text(page.text, page.site.media_names, page.site.language)
            lines.write(json.dumps({"title": page.title, "text": text}, ensure_ascii=False) + "\n")


def make_dumps(root: Path, megabytes: float) -> dict[str, Path]:
    whole = bz2.decompress(folder(*SAMPLE).read_bytes())
    begin, end = whole.index(b"  <page>"), whole.rindex(b"</mediawiki>")
    copies = max(1, round(megabytes * 1e6 / (end - begin)))
    dumps = {"plain": root / "dump.xml", "empty": root / "empty.xml", "bz2": root / "dump.xml.bz2", "once": root / "once.xml"}
    dumps["plain"].write_bytes(whole[:begin] + whole[begin:end] * copies + whole[end:])
    dumps["empty"].write_bytes(whole[:begin] + whole[end:])
    dumps["bz2"].write_bytes(bz2.compress(whole[:begin] + whole[begin:end] * max(1, copies // 3) + whole[end:]))
    dumps["once"].write_bytes(whole)
    return dumps


def cpu_seconds(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def command_of(contender: str, peer: str, dump: Path, output: Path) -> list[str]:
    if contender == "pretune":
        return [sys.executable, "-m", "tests.benchmarks.wikitext_extraction", "--only", str(dump), str(output)]
    options = ["--no-templates", "--processes", "1", "--json", "-q", "-o", str(output), str(dump)]
    return [peer, "-m", "wikiextractor.WikiExtractor", *options]


def documents(output: Path) -> list[dict[str, str]]:
    files = [output] if output.is_file() else sorted(file for file in output.rglob("*") if file.is_file())
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def shared(ours: dict[str, str], theirs: dict[str, str]) -> float:
    """The share of the sequences of words of `theirs` that the page of the same title of `ours` has."""

    def sequences(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return set(zip(*(words[n:] for n in range(SEQUENCE)), strict=False))

    found = total = 0
    for title, text in theirs.items():
        wanted = sequences(text)
        found, total = found + len(wanted & sequences(ours[title])), total + len(wanted)
    return found / total


def print_cleanliness(texts: dict[str, dict[str, str]]) -> None:
    sizes = {name: sum(map(len, pages.values())) for name, pages in texts.items()}
    print("\n| left in the text, per million characters | " + " | ".join(texts) + " |\n| --- | " + "---: | " * len(texts))
    for label, pattern in RESIDUES.items():
        counts = [sum(len(re.findall(pattern, text)) for text in texts[name].values()) * 1e6 / sizes[name] for name in texts]
        print(f"| {label} | " + " | ".join(f"{count:,.1f}" for count in counts) + " |")
    print("| characters | " + " | ".join(f"{size:,}" for size in sizes.values()) + " |")
    ours, theirs = texts.values()
    kept = shared(ours, theirs)
    print(f"| sequences of {SEQUENCE} words of the other | {kept:.2%} | {shared(theirs, ours):.2%} |")
    assert kept >= LEAST_SHARED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--only", nargs=2, type=Path)
    arguments = parser.parse_args()
    if arguments.only:
        run_ours(*arguments.only)
        return
    query = "import importlib.metadata as m; print(m.version('wikiextractor'))"
    peer = subprocess.run([arguments.peer_python, "-c", query], check=True, capture_output=True, text=True).stdout.strip()
    names = {"pretune": f"pretune (numba {version('numba')})", "wikiextractor": f"wikiextractor {peer}"}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        dumps = make_dumps(root, arguments.megabytes)
        outputs = {name: root / f"{name}-once" for name in names}
        for name in names:
            cpu_seconds(command_of(name, arguments.peer_python, dumps["once"], outputs[name]))
        texts = {names[name]: {one["title"]: html.unescape(one["text"]) for one in documents(outputs[name])} for name in names}
        assert len({len(pages) for pages in texts.values()}) == 1
        times: dict[tuple[str, str], list[float]] = {}
        for number in range(arguments.rounds):
            for kind in ("empty", "plain", "bz2"):
                for name in (list(names), list(names)[::-1])[number % 2]:
                    command = command_of(name, arguments.peer_python, dumps[kind], root / f"{name}-{kind}-{number}")
                    times.setdefault((kind, name), []).append(cpu_seconds(command))
                    print(f"round {number + 1} {kind:<5} {name:<13} {times[kind, name][-1]:.2f} s", file=sys.stderr, flush=True)
        print("| dump | contender | CPU-s, median (spread) | net CPU-s | net MB of XML per CPU-s | ratio | net ratio |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        unpacked = {"plain": dumps["plain"].stat().st_size, "bz2": len(bz2.decompress(dumps["bz2"].read_bytes()))}
        for kind, size in unpacked.items():
            whole = {name: statistics.median(times[kind, name]) for name in names}
            net = {name: whole[name] - statistics.median(times["empty", name]) for name in names}
            for name in names:
                spread = f"{min(times[kind, name]):.2f} to {max(times[kind, name]):.2f}"
                ratio, net_ratio = whole["wikiextractor"] / whole[name], net["wikiextractor"] / net[name]
                print(
                    f"| {kind}, {size / 1e6:.0f} MB | {names[name]} | {whole[name]:.2f} ({spread}) | {net[name]:.2f} | "
                    f"{size / 1e6 / net[name]:.1f} | {ratio:.1f} | {net_ratio:.1f} |"
                )
        print_cleanliness(texts)


if __name__ == "__main__":
    main()
