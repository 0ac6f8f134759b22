"""The plan itself: what is chosen for whom, what it costs, and what is refused."""

import re

import pytest

from tasks.config.presets import load_config, preset_names
from tasks.planning.plan import check_fits, default_gpu, formula_of, plan_for, problem_of, simulation_request
from tasks.planning.plan_text import plan_markdown, plan_text
from tasks.planning.records import Plan
from tasks.record.errors import ConfigError
from tests.kit.plans import SEVENTY_BILLION, large


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_planned_and_its_own_layout_fits(name):
    config = load_config([name])
    gpu = "h100" if config.launch.device == "gpu" else "cpu"
    plan = plan_for(config, gpu, config.launch.num_processes)
    assert plan.configured.candidate is not None and plan.configured.candidate.fits
    assert plan.configured.candidate.step_seconds >= plan.chosen.step_seconds
    assert Plan.model_validate_json(plan.model_dump_json(exclude_computed_fields=True)) == plan


@pytest.mark.parametrize("name", preset_names())
def test_the_settings_of_the_choice_are_taken_as_they_are(name):
    config = load_config([name])
    plan = plan_for(config, "cpu" if config.launch.device == "cpu" else "h100", config.launch.num_processes)
    applied = load_config([name], plan.chosen.settings)
    assert applied.parallel.layout(applied.launch.num_processes) == plan.chosen.layout
    assert applied.pretrain.micro_batch_size == plan.chosen.micro_batch_size
    assert applied.parallel.activation_checkpointing == plan.chosen.activation_checkpointing
    assert plan.settings_problem == ""


def test_a_fine_tune_that_does_not_divide_over_the_ranks_is_told():
    plan = plan_for(
        load_config(["gpu-1b"], ["pretrain.global_batch_tokens=4194304", "finetune=[{name='topic', batch_size=128}]"]),
        "h100",
        64,
    )
    assert "finetune[topic].batch_size=128 is not a multiple" in plan.settings_problem


def test_a_large_model_needs_to_be_divided():
    plan = plan_for(large(SEVENTY_BILLION), "h100", 512)
    assert plan.chosen.layout.is_partitioned
    assert plan.chosen.memory_bytes <= plan.memory_limit_bytes
    assert plan.configured.candidate is not None and not plan.configured.candidate.fits
    assert "needs" in plan.configured.reason and "one h100 has 79.6 GiB" in plan.configured.reason
    with pytest.raises(ConfigError, match=r"needs .* GiB per rank, and one h100 has 79.6 GiB; what fits: --set launch.num"):
        check_fits(plan)


def test_what_may_fit_compiled_is_shown_and_not_refused():
    """OLMo-core trains a model of this size so, on H100s: layers as transformers writes them would need more."""
    pretrain = {"micro_batch_size": 2, "global_batch_tokens": 64 * 4096}
    config = large(ranks=8, sequences=64, parallel={"shard": 8}, pretrain=pretrain)
    plan = plan_for(config, "h100", 8)
    made = plan.configured.candidate
    assert made is not None and made.least_memory_bytes < plan.memory_limit_bytes < made.memory_bytes
    said = (
        r"may not fit: it needs between [\d.]+ GiB per rank, as compiled layers should, and [\d.]+, and one h100 has 79.6 GiB$"
    )
    assert re.search(said, plan.configured.reason)
    check_fits(plan)
    eager = plan_for(large(ranks=8, sequences=64, parallel={"shard": 8, "compile": "off"}, pretrain=pretrain), "h100", 8)
    assert eager.configured.candidate.least_memory_bytes is None
    assert eager.configured.candidate.tokens_per_second < made.tokens_per_second
    with pytest.raises(ConfigError, match=r"needs [\d.]+ GiB per rank, and one h100 has 79.6 GiB; what fits"):
        check_fits(eager)


def test_a_power_limit_slows_the_plan_and_saves_energy():
    config = large(ranks=8, sequences=64)
    full, held = plan_for(config, "h100", 8), plan_for(config, "h100", 8, watts=500)
    assert held.chosen.tokens_per_second < full.chosen.tokens_per_second
    assert held.horizon.energy_kwh < full.horizon.energy_kwh
    assert "8 x h100 at 500 W" in plan_text(held)
    with pytest.raises(ConfigError, match=r"--watts=701 is no limit of one h100: it takes 700 W at most"):
        plan_for(config, "h100", 8, watts=701)


def test_fp8_is_planned_to_compare_and_said_not_to_be_trained():
    config = large(ranks=8, sequences=64)
    plan, bf16 = plan_for(config, "h100", 8, fp8=True), plan_for(config, "h100", 8)
    assert plan.chosen.tokens_per_second > 1.1 * bf16.chosen.tokens_per_second
    for page in (plan_text(plan), plan_markdown(plan)):
        said = " ".join(page.split())
        assert "bf16 with fp8 products" in said and "training in fp8 is not supported" in said
        assert "To train so" not in said and plan.settings_line not in said
    with pytest.raises(
        ConfigError, match=r"^--fp8: one a100 has no products in fp8; choose --gpu of b200, h200, h100, l40s, 4090$"
    ):
        plan_for(config, "a100", 8, fp8=True)
    fp32 = large(ranks=8, sequences=64, pretrain={"precision": "fp32"})
    with pytest.raises(
        ConfigError, match=r"^--fp8: pretrain.precision=fp32 has no products in bf16 to replace; set it to bf16$"
    ):
        plan_for(fp32, "h100", 8, fp8=True)


def test_cost_and_disk_follow_from_steps():
    config = large(ranks=64)
    plan = plan_for(config, "h100", 64, price_per_gpu_hour=2.0)
    steps = 1_500_000_000_000 // (4096 * 4096)
    hours = steps * plan.chosen.step_seconds / 3600
    assert plan.horizon.steps == steps
    assert plan.horizon.days == pytest.approx(hours / 24)
    assert plan.horizon.device_hours == pytest.approx(hours * 64)
    assert plan.horizon.price == pytest.approx(hours * 64 * 2)
    assert plan.horizon.energy_kwh == pytest.approx(hours * 64 * 0.7 * 1.2)
    assert plan.disk.checkpoint_bytes == 12 * plan.num_parameters
    assert plan.disk.total_bytes == 12 * plan.num_parameters * 4 + 4 * plan.num_parameters * (steps // 10_000 + 2)


@pytest.mark.parametrize(
    ("parallel", "said"),
    [
        ({"pipeline_parallel": 3}, r"launch.num_processes=64 is not .* 3 x 21 x 1 x 1 = 63.*or take `parallel` out"),
        (
            {"tensor_parallel": 16},
            r"model.num_key_value_heads=8 is not a multiple of parallel.tensor_parallel=16.* 1, 2, 4, 8$",
        ),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_the_numbers(parallel, said):
    with pytest.raises(ConfigError, match=said):
        plan_for(large(ranks=48 if "pipeline_parallel" in parallel else 64, sequences=6144, parallel=parallel), "h100", 64)


def test_a_model_that_fits_nowhere_is_refused_with_what_it_needs():
    with pytest.raises(
        ConfigError,
        match=r"model of 70.\d+ B parameters fits on none of \d+ ways.*8 x h100: at least \d+\.\d GiB per rank.*79.6 GiB",
    ):
        plan_for(large(SEVENTY_BILLION, ranks=8), "h100", 8)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match=r"--world-size=63: no layout can be had.*sequences, choose a world size"):
        plan_for(large(ranks=1, sequences=64), "h100", 63)


def test_settings_for_another_world_are_no_reason_to_refuse():
    plan = plan_for(large(ranks=4096), "h100", 512)
    assert plan.world_size == 512 and plan.nodes == 64


def test_more_devices_or_better_ones_are_never_slower():
    rates = [plan_for(large(), "h100", n).chosen.tokens_per_second for n in (16, 64, 256)]
    assert rates == sorted(rates)
    assert plan_for(large(), "b200", 64).chosen.tokens_per_second > plan_for(large(), "a100", 64).chosen.tokens_per_second


def test_the_default_device_is_the_presets_or_the_machines(monkeypatch):
    monkeypatch.setattr("tasks.planning.plan.detected_gpu", lambda: None)
    assert default_gpu(load_config(["cpu-base"])) == default_gpu(load_config(["demo"])) == "cpu"
    assert default_gpu(load_config(["gpu-1b"])) == "h100"
    monkeypatch.setattr("tasks.planning.plan.detected_gpu", lambda: "h200")
    assert default_gpu(load_config(["gpu-1b"])) == default_gpu(load_config(["demo"])) == "h200"


def test_the_simulation_is_asked_about_the_fullest_rank_at_two_depths():
    config = large(SEVENTY_BILLION)
    plan = plan_for(config, "h100", 512)
    asked = simulation_request(config, plan)
    assert asked.rank == plan.chosen.peak_place * plan.chosen.layout.stage_size
    assert asked.depths[0] < asked.depths[1] <= asked.layers_of_rank
    shape = problem_of(config, "h100", 512).shape
    assert formula_of(asked, shape) == pytest.approx(plan.chosen.tensor_bytes, rel=0.1)
