"""Preparing a dump of any size: speed, and peak memory of all processes together.

    python tests/benchmarks/preparation.py --gigabytes 0.25 1 2 --processes 2

The dump is made of the real pages of `wikipedia/enwiki-20160422-pages-articles-sample.xml.bz2` (see tests/kit/real_data.py),
again and again: each copy with a share of its words replaced, from none to all, so that there are equal, near and different
documents. Memory is the sum of the proportional set sizes (PSS) of the preparation's processes, looked at every 0.2 s;
pages of files that are mapped count as far as they are in memory.
"""

import argparse
import bz2
import random
import re
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tasks.config.config import Config
from tasks.data.card.text import table
from tasks.launch.preparation import run_part
from tasks.record.files import write_json
from tasks.record.layout import REPOSITORY
from tasks.record.manifest import Manifest
from tasks.record.parts import STEPS, WorkLayout
from tasks.stages.work import prepare_work

SAMPLE = REPOSITORY.parent / "shared" / "data" / "wikipedia" / "enwiki-20160422-pages-articles-sample.xml.bz2"
REPLACED = (0.0, 0.002, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of a copy's words that are replaced; one in three copies has each of the first ones twice as often as the last."""
LOOK_SECONDS = 0.2


def write_dump(path: Path, num_bytes: int, seed: int = 0) -> int:
    """Write a dump of about so many bytes; returns its pages."""
    text = bz2.decompress(SAMPLE.read_bytes()).decode()
    first = text.index("<page>")
    head = text[:first]
    pages = re.findall(r"<page>.*?</page>", text, re.DOTALL)
    words = sorted({word for page in pages for word in re.findall(r"\b[a-z]{4,9}\b", page)})
    moments, written, count = random.Random(seed), 0, 0
    with path.open("w", encoding="utf-8") as out:
        out.write(head)
        while written < num_bytes:
            for page in pages:
                edited = edit(page, moments.choice(REPLACED), words, moments).replace("</title>", f" {count}</title>", 1)
                written += out.write(edited + "\n")
                count += 1
                if written >= num_bytes:
                    break
        out.write("</mediawiki>\n")
    return count


def edit(page: str, share: float, words: list[str], moments: random.Random) -> str:
    """The page with a share of its plain words replaced by others."""
    parts = page.split(" ")
    for _ in range(int(share * len(parts))):
        place = moments.randrange(len(parts))
        if parts[place].isalpha() and parts[place].islower():
            parts[place] = moments.choice(words)
    return " ".join(parts)


class PeakMemory(threading.Thread):
    """Watches the children of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.by_step, self.step, self._ended = 0, {}, "", threading.Event()

    def run(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(LOOK_SECONDS):
            total = 0
            for child in me.children(recursive=True):
                try:
                    total += child.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)
            self.by_step[self.step] = max(self.by_step.get(self.step, 0), total)

    def end(self) -> None:
        self._ended.set()
        self.join()


def prepare(dump: Path, home: Path, processes: int) -> tuple[Manifest, dict[str, float], PeakMemory]:
    """All steps in processes of their own, `processes` at a time, as the flow starts them; wall seconds by step."""
    data = {"name": "dump", "source": "mediawiki", "path": str(dump), "heldout_fraction": 0.02}
    work = prepare_work(home, Config.model_validate({"data": data, "tokenizer": {"vocab_size": 32768}}))
    write_json(work.stage.request, work.request)
    memory, seconds = PeakMemory(), {}
    memory.start()
    with ThreadPoolExecutor(processes) as pool:
        for step in STEPS:
            memory.step, started = step, time.monotonic()
            list(pool.map(lambda part: run_part(work.stage, part), WorkLayout(work.stage).pending(step)))
            seconds[step] = time.monotonic() - started
        memory.step, started = "finish", time.monotonic()
        psutil.Popen([sys.executable, "-m", "tasks.data", str(work.stage.path)], cwd=REPOSITORY).wait()
        seconds["finish"] = time.monotonic() - started
    memory.end()
    return Manifest.read(work.stage.manifest), seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.25, 1.0, 2.0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the dumps and data sets go; a temporary folder by default")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for size in options.gigabytes:
            dump, home = Path(folder) / "dump.xml", Path(folder) / f"home-{size}"
            pages = write_dump(dump, int(size * 1e9))
            manifest, seconds, memory = prepare(dump, home, options.processes)
            metrics, total = manifest.metrics, sum(seconds.values())
            dropped = manifest.details["dropped"]
            print(f"{size} GB: seconds { ({k: round(v, 1) for k, v in seconds.items()}) }, ", flush=True)
            print(f"  peak MiB { ({k: v >> 20 for k, v in memory.by_step.items()}) }, dropped {dropped}", flush=True)
            rows.append([
                f"{dump.stat().st_size / 1e9:.2f} GB", f"{pages:,}", f"{metrics['kept_documents']:,}",
                f"{dropped.get('near_duplicate', 0):,}", f"{total:.0f}", f"{dump.stat().st_size / 1e6 / total:.1f}",
                f"{memory.peak / 2**20:,.0f}",
            ])  # fmt: skip
    header = ["dump", "pages", "kept", "near duplicates", "seconds", "MB of dump/s", "peak MiB"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
