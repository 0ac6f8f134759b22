"""What `pretune plan` does: no server, no data, no GPU."""

import argparse
import math

from tasks.config.presets import load_config
from tasks.planning.checked import plan_pretraining
from tasks.planning.plan_text import plan_text
from tasks.record.errors import ConfigError


def plan(asked: argparse.Namespace) -> int:
    """Print which layout to train on and what it will take."""
    config = load_config(asked.presets, asked.assignments)
    if asked.price_per_gpu_hour is not None and not 0 <= asked.price_per_gpu_hour < math.inf:
        raise ConfigError(f"--price-per-gpu-hour={asked.price_per_gpu_hour} is not a price; give a number from 0 on")
    made = plan_pretraining(
        config, asked.gpu, world_size(asked, config.launch.num_processes), asked.price_per_gpu_hour, asked.gpus_per_node,
        asked.simulation, asked.watts, asked.fp8,
    )  # fmt: skip
    print(made.model_dump_json(indent=1) if asked.json else plan_text(made))
    return 0


def world_size(asked: argparse.Namespace, configured: int) -> int:
    """Devices to plan for; raises ConfigError for numbers that are none, or that contradict each other."""
    for flag, value in (("--world-size", asked.world_size), ("--nodes", asked.nodes), ("--gpus-per-node", asked.gpus_per_node)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag}={value} is not a number of devices; give at least 1")
    if asked.nodes is None:
        return asked.world_size or configured
    devices = asked.nodes * (asked.gpus_per_node or 8)
    if asked.world_size not in (None, devices):
        raise ConfigError(
            f"--world-size={asked.world_size} is not --nodes x --gpus-per-node = {asked.nodes} x {asked.gpus_per_node or 8} = "
            f"{devices}; leave one of them out"
        )
    return devices
