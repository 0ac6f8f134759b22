"""Every test here runs on the CPU, half of them in `make test`, and on a GPU if there is one (`pytest -m gpu tests/gpu`)."""

import pytest
import torch

from tasks.training.model.ranks import compute_exactly

GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")]
)


@pytest.fixture(params=["cpu", GPU])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the run under test computes; the environment is the one that the launcher gives to its rank."""
    monkeypatch.setenv("PRETUNE_DEVICE", "gpu" if request.param == "cuda" else "cpu")
    if request.param == "cuda":
        compute_exactly()
    return request.param
