"""The table of accelerators, and what this machine has."""

import pytest

from tasks.planning.hardware import ACCELERATORS, accelerator_named, cpu, detected_gpu
from tasks.record.errors import ConfigError
from tasks.training.measure.rates import Rates


@pytest.mark.parametrize(
    ("name", "tflops", "gigabytes"),
    [("h100", 989, 80), ("h200", 989, 141), ("a100", 312, 80), ("b200", 2250, 180), ("l40s", 362, 48), ("4090", 165, 24)],
)
def test_the_table_has_the_data_sheets_numbers(name, tflops, gigabytes):
    device = ACCELERATORS[name]
    assert device.peak("bf16") / 1e12 == pytest.approx(tflops, rel=0.005)
    assert gigabytes <= device.memory_bytes / 1e9 < 1.08 * gigabytes
    assert device.link_bandwidth >= device.network_bandwidth


def test_an_unknown_accelerator_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"--gpu='v100' is not in the table.*h200, h100, a100, l40s, 4090, cpu"):
        accelerator_named("v100", 8)


def test_ranks_on_a_cpu_share_its_cores_and_memory():
    one, four = accelerator_named("cpu", 1), accelerator_named("cpu", 4)
    assert four.memory_bytes == pytest.approx(one.memory_bytes / 4)
    assert four.memory_bandwidth < one.memory_bandwidth and four.peak_fp32 < one.peak_fp32


def test_a_rank_has_its_share_of_what_was_measured():
    rates = Rates(fp32_flops=8e11, bf16_flops=1.6e12, short_dimension=40.0, memory_bandwidth=1e11)
    quarter = cpu(8, 0.25, 1e9, rates)
    assert (quarter.peak("fp32"), quarter.peak("bf16"), quarter.memory_bandwidth) == (2e11, 4e11, 2.5e10)
    assert quarter.watts == 10 and quarter.short_dimension == 40


@pytest.mark.parametrize(("name", "able"), [("h100", True), ("l40s", True), ("a100", False)])
def test_only_newer_accelerators_have_fp8(name, able):
    assert ACCELERATORS[name].has_fp8 is able


def test_the_gpu_is_told_by_the_files_of_its_driver(tmp_path):
    assert detected_gpu(tmp_path) is None
    (tmp_path / "0000:19:00.0").mkdir()
    file = tmp_path / "0000:19:00.0" / "information"
    for text, name in (
        ("Model: \t\t NVIDIA H200\nIRQ: 12\n", "h200"),
        ("Model: \t\t NVIDIA H100 80GB HBM3\n", "h100"),
        ("Model:  NVIDIA GeForce RTX 4090\n", "4090"),
        ("Model:  Tesla T4\n", None),
        ("IRQ: 5\n", None),
    ):
        file.write_text(text)
        assert detected_gpu(tmp_path) == name
