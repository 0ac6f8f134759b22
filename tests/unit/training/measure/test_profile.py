"""The trace of a step is one that a viewer can open."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from tasks.training.measure.profile import StepProfile


def test_a_step_leaves_a_trace_and_a_table(tmp_path: Path) -> None:
    with StepProfile(20, tmp_path / "profile", rank=3):
        torch.ones(64, 64, requires_grad=True).mm(torch.ones(64, 64)).sum().backward()
    names = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert names == ["step_00000020_rank_3.json.gz", "step_00000020_rank_3.txt"], "and nothing temporary"
    trace = json.loads(gzip.decompress((tmp_path / "profile" / names[0]).read_bytes()))
    assert {"aten::mm", "MmBackward0"} <= {event.get("name") for event in trace["traceEvents"]}
    table = (tmp_path / "profile" / names[1]).read_text()
    assert "aten::mm" in table and "Self CPU" in table


def test_a_step_that_fails_leaves_nothing_and_keeps_its_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lost"), StepProfile(1, tmp_path, rank=0):
        raise ValueError("lost")
    assert list(tmp_path.iterdir()) == []
    with StepProfile(2, tmp_path, rank=0):
        torch.ones(2).sum()
    assert len(list(tmp_path.iterdir())) == 2, "and the next one can be recorded"
