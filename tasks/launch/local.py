"""The command lines of stage processes on this machine. `accelerate launch` starts every training process."""

import os
import sys
from pathlib import Path

from tasks.config.training import LaunchConfig
from tasks.record.errors import ConfigError
from tasks.record.layout import REPOSITORY, StageLayout, compiled_folder, home

ACCELERATE = REPOSITORY / "configs" / "accelerate"
KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc gives large blocks back to Linux, which fills them with zeros each time: a sixth of a bf16 step of 5.5 M parameters."""


def data_command(stage: StageLayout) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a preparation process."""
    return [sys.executable, "-m", "tasks.data", str(stage.path)], {}


def training_command(stage: StageLayout, launch: LaunchConfig) -> tuple[list[str], dict[str, str]]:
    """Command and environment that start the ranks.

    The configuration file is always passed, because accelerate reads the user's own default file without it. On a machine
    without GPUs `MULTI_GPU` starts ranks that meet over gloo; accelerate's CPU types start one process and say nothing.
    """
    ranks = launch.num_processes
    gpu = uses_gpu(launch)
    file = ACCELERATE / ("gpu.yaml" if gpu else "cpu.yaml")
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file),
        "--num_processes", str(ranks), "--num_machines", "1", "--main_process_port", "0",
        "-m", "tasks.worker", str(stage.path),
    ]  # fmt: skip
    environment = {
        "PRETUNE_WORLD_SIZE": str(ranks),
        "PRETUNE_DEVICE": "gpu" if gpu else "cpu",
        "OMP_NUM_THREADS": str(max(1, available_cpus() // ranks)),
        # Threads that wait asleep: spinning ones made a step of a tiny model 25 times slower on a machine that was shared.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(compiled_folder(home()))),
    }
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
        environment["ACCELERATE_USE_CPU"] = "true"
        environment |= KEEP_FREED_MEMORY
    return command, environment


def available_cpus() -> int:
    return len(os.sched_getaffinity(0))


def uses_gpu(launch: LaunchConfig) -> bool:
    """Whether ranks compute on GPUs: as told, or, for `auto`, if there is one for each rank."""
    return launch.device == "gpu" or (launch.device == "auto" and num_gpus() >= launch.num_processes)


def check_devices(launch: LaunchConfig) -> None:
    """Raises ConfigError where GPUs are asked for and there are fewer than ranks."""
    if launch.device == "gpu" and (there := num_gpus()) < launch.num_processes:
        raise ConfigError(
            f"launch.device='gpu' needs a GPU for each of launch.num_processes={launch.num_processes} ranks, and this machine "
            f"has {there}; set launch.num_processes to at most {there} or launch.device='cpu'"
            if there
            else f"launch.device='gpu' needs {launch.num_processes} GPUs and this machine has none; set launch.device='cpu'"
        )


def num_gpus() -> int:
    """NVIDIA GPUs that this process may use, found without loading a driver library."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
