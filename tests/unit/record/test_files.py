"""No file is half-written, and equal values have equal text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.record.files import canonical, read_json, write_atomically, write_json
from tasks.record.layout import REPOSITORY


def test_writing_replaces_the_whole_file_and_sets_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret.json"
    write_atomically(path, b"old content, longer than the new")
    write_json(path, {"a": "ü"}, mode=0o600)
    assert read_json(path) == {"a": "ü"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["secret.json"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == 1
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "folder", b"a file cannot take the place of a folder")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "folder"}


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tasks.record.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as it does on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
write_atomically(path, b"small")
try:
    write_atomically(path, b"x" * 5000)
except OSError as error:
    print("refused", error.errno)
"""


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, cwd=REPOSITORY, env=dict(os.environ)
    )
    assert done.stdout.startswith("refused"), done.stderr
    assert path.read_bytes() == b"small"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_equal_values_have_equal_text() -> None:
    assert canonical({"b": [1, 2.0], "a": "ü"}) == canonical({"a": "ü", "b": (1, 2.0)}) == '{"a":"ü","b":[1,2.0]}'
    assert canonical(1) != canonical(1.0)
