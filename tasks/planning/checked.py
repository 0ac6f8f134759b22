"""The plan of a pre-training, checked by simulating its fullest rank in a process of its own."""

import os
import subprocess
import sys
import time

from tasks.config.config import Config
from tasks.planning.plan import default_gpu, formula_of, plan_for, problem_of, simulation_request
from tasks.planning.records import Check, Plan
from tasks.record.layout import REPOSITORY
from tasks.training.measure.simulation import SimulatedPeak

SIMULATION_SECONDS = 180.0


def plan_pretraining(
    config: Config, gpu: str | None = None, world_size: int | None = None, price_per_gpu_hour: float | None = None,
    per_node: int | None = None, simulate: bool = True, watts: float | None = None, fp8: bool = False,
) -> Plan:  # fmt: skip
    """The plan for `world_size` devices (default: launch.num_processes) of one kind (default: this machine's).

    Raises ConfigError as `plan_for` does.
    """
    ranks = world_size or config.launch.num_processes
    plan = plan_for(config, gpu or default_gpu(config), ranks, price_per_gpu_hour, per_node, watts, fp8)
    return plan.model_copy(update={"check": simulated_check(config, plan)}) if simulate else plan


def simulated_check(config: Config, plan: Plan, limit_seconds: float = SIMULATION_SECONDS) -> Check:
    """The closed form beside the simulation; a simulation that fails or takes too long is reported, and no reason to stop."""
    request = simulation_request(config, plan)
    formula = formula_of(request, problem_of(config, plan.accelerator, plan.world_size).shape)
    began = time.perf_counter()
    hidden = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tasks.training.simulate"], input=request.model_dump_json(), capture_output=True, text=True,
            timeout=limit_seconds, cwd=REPOSITORY, env=os.environ | hidden, check=True,
        )  # fmt: skip
        peak = SimulatedPeak.model_validate_json(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        note = f"the simulation did not end within {limit_seconds:.0f} s, so the memory is by formula only"
    except subprocess.CalledProcessError as error:
        note = (
            f"the simulation failed, so the memory is by formula only: {(error.stderr.strip() or '?').splitlines()[-1][:200]}"
        )
    else:
        depths = f"{peak.depths[0]} and {peak.depths[1]} layers a rank, extrapolated to {request.layers_of_rank}"
        note = f"fake tensors, a CPU's kernels, {depths}"
        return Check(
            formula_bytes=formula, simulated_bytes=peak.peak_memory_bytes, difference=formula / peak.peak_memory_bytes - 1,
            depths=peak.depths, seconds=time.perf_counter() - began, note=note,
        )  # fmt: skip
    seconds = time.perf_counter() - began
    return Check(formula_bytes=formula, simulated_bytes=None, difference=None, depths=None, seconds=seconds, note=note)
