"""The command lines that start stages, with real devices and environment variables decided by what this machine has."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from tasks.config.training import LaunchConfig
from tasks.launch.local import ACCELERATE, available_cpus, check_devices, data_command, num_gpus, training_command, uses_gpu
from tasks.record.errors import ConfigError
from tasks.record.layout import StageLayout

STAGE = StageLayout(Path("/stage"))


def cpu_command(ranks: int) -> tuple[list[str], dict[str, str]]:
    return training_command(STAGE, LaunchConfig(num_processes=ranks, device="cpu"))


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_ranks_are_started_by_accelerate_with_a_configuration_of_ours() -> None:
    command, environment = cpu_command(2)
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert option(command, "--num_processes") == environment["PRETUNE_WORLD_SIZE"] == "2"
    assert command[-3:] == ["-m", "tasks.worker", "/stage"]
    settings = yaml.safe_load(Path(option(command, "--config_file")).read_text())
    assert settings["distributed_type"] == "MULTI_GPU", "the type that really starts ranks on a CPU machine"
    assert option(command, "--main_process_port") == "0", "a free port, so that two runs do not meet"


def test_cpu_ranks_see_no_gpu_share_the_cores_and_wait_asleep() -> None:
    for ranks in (1, 2, 1000):
        environment = cpu_command(ranks)[1]
        assert int(environment["OMP_NUM_THREADS"]) == max(1, available_cpus() // ranks)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["PRETUNE_DEVICE"] == "cpu"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["MALLOC_TRIM_THRESHOLD_"] == str(2**32)


def test_what_is_compiled_is_kept_at_home_or_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert cpu_command(1)[1]["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert cpu_command(1)[1]["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


def test_gpu_ranks_get_their_own_configuration_and_their_devices() -> None:
    command, environment = training_command(STAGE, LaunchConfig(num_processes=4, device="gpu"))
    assert Path(option(command, "--config_file")) == ACCELERATE / "gpu.yaml"
    assert environment["PRETUNE_DEVICE"] == "gpu"
    assert "CUDA_VISIBLE_DEVICES" not in environment


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1,3", 3), ("GPU-aa, GPU-bb", 2), (" ", 0)])
def test_gpus_are_counted_as_they_are_made_visible(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert num_gpus() == count
    for ranks in (1, 2, 4):
        assert uses_gpu(LaunchConfig(num_processes=ranks, device="auto")) == (count >= ranks)
        assert uses_gpu(LaunchConfig(num_processes=ranks, device="gpu"))
        assert not uses_gpu(LaunchConfig(num_processes=ranks, device="cpu"))


def test_preparation_is_a_module_with_the_folder_as_its_only_argument() -> None:
    assert data_command(STAGE) == ([sys.executable, "-m", "tasks.data", "/stage"], {})


def test_available_cpus_are_those_of_this_process() -> None:
    assert 1 <= available_cpus() <= os.cpu_count()


def test_more_gpus_than_there_are_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    check_devices(LaunchConfig(num_processes=2, device="gpu"))
    check_devices(LaunchConfig(num_processes=4, device="auto"))
    with pytest.raises(
        ConfigError, match=r"num_processes=4 ranks, and this machine has 2; set launch.num_processes to at most 2"
    ):
        check_devices(LaunchConfig(num_processes=4, device="gpu"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"needs 1 GPUs and this machine has none; set launch.device='cpu'"):
        check_devices(LaunchConfig(num_processes=1, device="gpu"))
