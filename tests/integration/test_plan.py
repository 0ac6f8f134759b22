"""`pretune plan` as it is typed: large models over thousands of devices, within seconds, checked by simulation."""

import json
import subprocess
import sys
import time

import pytest

from tasks.record.layout import REPOSITORY
from tests.kit.plans import EIGHT_BILLION, SEVENTY_BILLION

LIMIT_SECONDS = 5.0


def planned(folder, model: dict, *flags: str) -> tuple[dict, float]:
    """The plan as JSON, and the seconds of processor time that the command took."""
    lines = ["[model]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    lines += ["[pretrain]", "sequence_length = 4096", "micro_batch_size = 1", f"global_batch_tokens = {4096 * 4096}"]
    lines += ["train_tokens = 1_500_000_000_000", "[launch]", "num_processes = 1", 'device = "gpu"']
    preset = folder / "large.toml"
    preset.write_text("\n".join(lines))
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "flows", "plan", str(preset), "--gpu", "h100", "--json", *flags],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), time.perf_counter() - began


@pytest.mark.parametrize("ranks", [8, 64, 512, 4096])
@pytest.mark.parametrize("model", [EIGHT_BILLION, SEVENTY_BILLION], ids=["8B", "70B"])
def test_large_models_are_planned_for_thousands_of_devices(tmp_path, model, ranks):
    if model is SEVENTY_BILLION and ranks == 8:
        model = model | {"num_hidden_layers": 24}  # the whole model fits on no eight devices, which another test refuses
    plan, _ = planned(tmp_path, model, "--world-size", str(ranks), "--no-simulation")
    chosen = plan["chosen"]
    sizes = chosen["layout"]
    assert sizes["pipeline_parallel"] * sizes["replicate"] * sizes["shard"] * sizes["tensor_parallel"] == ranks
    assert chosen["memory_bytes"] <= plan["memory_limit_bytes"]
    assert 0.2 < chosen["mfu"] < 0.65


def test_the_choice_for_many_devices_agrees_with_its_simulation(tmp_path):
    plan, _ = planned(tmp_path, EIGHT_BILLION, "--world-size", "64")
    assert plan["check"]["simulated_bytes"] is not None, plan["check"]["note"]
    assert abs(plan["check"]["difference"]) < 0.05
