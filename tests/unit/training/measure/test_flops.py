"""Operations per token against published numbers, and peaks by the names that devices give themselves."""

import pytest

from tasks.training.measure.flops import flops_per_token, peak_flops

PALM = {"num_matmul_parameters": 540.35e9, "num_layers": 118, "attention_width": 48 * 256, "sequence_length": 2048}


def test_the_utilisation_of_palm_540b_comes_out_as_published() -> None:
    """Chowdhery et al., 2022, appendix B: 238.3 k tokens/s on 6144 chips of 275 TFLOPS are 46.2 %; by 6 N alone 45.7 %."""
    achieved_per_flop = 238.3e3 / (6144 * 275e12)
    assert achieved_per_flop * flops_per_token(**PALM) == pytest.approx(0.462, abs=5e-4)
    assert achieved_per_flop * flops_per_token(**PALM | {"sequence_length": 0}) == pytest.approx(0.457, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4), ("NVIDIA H100 PCIe", "bf16", 756), ("NVIDIA H100 NVL", "tf32", 417.5),
        ("NVIDIA H200", "bf16", 989.4), ("NVIDIA H200 NVL", "bf16", 835.5), ("NVIDIA H20", "bf16", 148),
        ("NVIDIA GH200 480GB", "fp32", 66.9), ("NVIDIA B200", "bf16", 2250), ("NVIDIA GB200", "bf16", 2500),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312), ("NVIDIA A100 80GB PCIe", "fp32", 19.5), ("NVIDIA A10", "bf16", 125),
        ("NVIDIA L40S", "bf16", 362), ("NVIDIA L40", "bf16", 181), ("NVIDIA L4", "bf16", 121),
        ("NVIDIA RTX 6000 Ada Generation", "bf16", 364.2), ("NVIDIA RTX A6000", "tf32", 77.4),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2), ("AMD Instinct MI300X", "bf16", 1307.4),
    ],
)  # fmt: skip
def test_a_device_is_known_by_its_name(name: str, precision: str, tera: float) -> None:
    assert peak_flops(name, precision) == pytest.approx(tera * 1e12)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("Intel(R) Xeon(R) Platinum 8488C", "bf16"), ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16"),
        ("NVIDIA GeForce RTX 4090 D", "bf16"), ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16"), ("NVIDIA A10G", "bf16"),
        ("Tesla V100-SXM2-16GB", "bf16"), ("NVIDIA A100-SXM4-80GB", "fp8"), ("NVIDIA H300", "bf16"),
    ],
)  # fmt: skip
def test_a_peak_that_is_not_known_is_not_guessed(name: str, precision: str) -> None:
    assert peak_flops(name, precision) is None
