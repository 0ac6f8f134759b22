"""What is compiled is kept, but never longer than its source; for processes side by side, and without a place to keep it."""

import ast
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

import tasks.data
from tasks.data.kernels import kernel as kernels

CALLED = "from tasks.data.kernels.kernel import kernel\n\n\n@kernel\ndef called(x):\n    return x + 1\n"
CALLER = (
    "from tasks.data.called import called\nfrom tasks.data.kernels.kernel import kernel\n\n\n"
    "@kernel\ndef caller(x):\n    return 2 * called(x)\n"
)
RUN = "from tasks.data.caller import caller\nprint(caller(1), sum(caller.stats.cache_hits.values()))"
SLOWLY = (
    "import time\nfrom numba.core.caching import IndexDataCacheFile as File\nsave = File._save_index\n"
    "File._save_index = lambda *arguments: (time.sleep(1), save(*arguments), time.sleep(1))\n"
)


def tree(root: Path) -> Path:
    """A small package with a kernel in one file that calls one of another."""
    folder = root / "tasks" / "data"
    (folder / "kernels").mkdir(parents=True)
    for package in (folder.parent, folder, folder / "kernels"):
        (package / "__init__.py").touch()
    shutil.copy(kernels.__file__, folder / "kernels" / "kernel.py")
    shutil.copytree(kernels.ROOT / "record", root / "tasks" / "record", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "called.py").write_text(CALLED)
    (folder / "caller.py").write_text(CALLER)
    return root


def start(root: Path, code: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment = {**inherited, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)


def output(process: subprocess.Popen[str]) -> str:
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return printed.strip()


def run(root: Path, **environment: str) -> str:
    """What the caller returns, and how many of its signatures came from disk."""
    return output(start(root, RUN, **environment))


def folders(place: Path) -> list[Path]:
    return sorted(place.glob("kernels-*"))


def test_a_change_of_the_hashes_changes_the_keys_of_near_duplicates(tmp_path):
    """In a copy of the package: `signatures.py` stays as it is, `ngrams.py` does not."""
    shutil.copytree(kernels.ROOT, tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__", "training"))
    code = (
        "import pyarrow as pa\nfrom tasks.data.documents.ngrams import text_buffers\n"
        "from tasks.data.overlap.signatures import NearDuplicateSettings, band_keys, band_keys_into\n"
        "texts = text_buffers(pa.array(['one two three four five'], pa.large_string()))\n"
        "keys = band_keys(*texts, NearDuplicateSettings(ngram=1))\n"
        "print(keys[0, 0], sum(band_keys_into.stats.cache_hits.values()))"
    )
    key, hits = output(start(tmp_path, code)).split()
    assert hits == "0"
    assert output(start(tmp_path, code)).split() == [key, "1"]
    ngrams = tmp_path / "tasks/data/documents/ngrams.py"
    source = ngrams.read_text()
    assert source.count("0x94D049BB133111EB") == 1
    ngrams.write_text(source.replace("0x94D049BB133111EB", "0x94D049BB133111ED"))
    changed, hits = output(start(tmp_path, code)).split()
    assert changed != key
    assert hits == "0"


def test_processes_that_start_at_once_with_other_signatures_keep_what_they_compiled(tmp_path):
    tree(tmp_path)
    calls = ["caller(1)", "caller(1.5)"]
    started = [start(tmp_path, f"{SLOWLY}from tasks.data.caller import caller\nprint({call})") for call in calls]
    assert [output(process) for process in started] == ["4", "5.0"]
    code = "from tasks.data.caller import caller\nprint(caller(1), caller(1.5), sum(caller.stats.cache_hits.values()))"
    assert output(start(tmp_path, code)) == "4 5.0 2"


def test_only_the_folders_used_last_are_kept(tmp_path):
    tree(tmp_path)
    place = tmp_path / "elsewhere"
    (place / "other").mkdir(parents=True)
    for number in range(kernels.FOLDERS_KEPT):
        folder = place / f"kernels-{number}"
        folder.mkdir()
        os.utime(folder, (number + 1, number + 1))
    assert run(tmp_path, NUMBA_CACHE_DIR=str(place)) == "4 0"
    assert len(folders(place)) == kernels.FOLDERS_KEPT
    assert not (place / "kernels-0").exists()
    assert (place / "other").exists()
    assert folders(tmp_path / "tasks/data/kernels/__pycache__") == []


def test_a_source_that_cannot_be_written_to_is_compiled_elsewhere_or_anew(tmp_path):
    """A file in place of the folder cannot be written to, even by root."""
    tree(tmp_path)
    (tmp_path / "tasks/data/kernels/__pycache__").touch()
    cache = tmp_path / "cache"
    assert run(tmp_path, XDG_CACHE_HOME=str(cache)) == "4 0"
    assert len(list(folders(cache / "pretune")[0].rglob("*.nbc"))) == 2
    blocked = tmp_path / "file"
    blocked.touch()
    assert run(tmp_path, XDG_CACHE_HOME=str(blocked), NUMBA_CACHE_DIR=str(blocked)) == "4 0"


def test_what_cannot_be_saved_is_no_failure(tmp_path):
    tree(tmp_path)
    code = "import tasks.data.caller as c, tasks.data.kernels.kernel as k, shutil\nshutil.rmtree(k.FOLDER)\nprint(c.caller(1))"
    assert output(start(tmp_path, code)) == "4"


def test_all_that_is_compiled_comes_from_files_of_the_digest():
    """No kernel is kept by numba's own cache, and none is made of a function or constant whose change goes unnoticed."""
    files = {str(file) for file in kernels.kernel_files()}
    found = 0
    for package in pkgutil.walk_packages(tasks.data.__path__, "tasks.data."):
        if package.name.endswith("__main__"):
            continue
        module = importlib.import_module(package.name)
        sources = imported_from(Path(module.__file__))
        for compiled in (value for value in vars(module).values() if isinstance(value, Dispatcher)):
            found += compiled.py_func.__module__ == module.__name__
            assert isinstance(compiled._cache, kernels.Cache | NullCache), compiled
            assert compiled.py_func.__code__.co_filename in files, compiled
            if compiled.py_func.__module__ == module.__name__:
                used = {sources[name] for name in compiled.py_func.__code__.co_names if name in sources}
                assert {importlib.import_module(name).__file__ for name in used} <= files, compiled
    assert found > 100


def imported_from(file: Path) -> dict[str, str]:
    """The module of the package that each name was imported from."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in nodes if node.module and node.module.startswith("tasks")]
    return {alias.asname or alias.name: node.module for node in ours for alias in node.names}
