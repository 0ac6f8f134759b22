"""A plan as it is read."""

import pytest

from tasks.config.presets import load_config
from tasks.planning.plan import plan_for
from tasks.planning.plan_text import plan_markdown, plan_text, planned_against_actual
from tasks.planning.records import Candidate, Check, Plan
from tests.kit.plans import SEVENTY_BILLION, large

CHECK = Check(
    formula_bytes=3 * 2**30, simulated_bytes=2 * 2**30, difference=0.5, depths=(2, 4), seconds=1.0, note="2 and 4 layers"
)


def test_a_terminal_shows_the_choice_and_why_not_the_others_on_forty_lines():
    plan = plan_for(large(SEVENTY_BILLION), "h100", 512, price_per_gpu_hour=2.5).model_copy(update={"check": CHECK})
    text = plan_text(plan)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert "llama, 70,553,706,496 parameters, bf16, on 512 x h100 on 64 machines" in lines[0]
    chosen = next(line for line in lines if line.startswith("chosen"))
    assert f"{plan.chosen.tokens_per_second:,.0f}" in chosen and f"{plan.chosen.mfu:.1%}" in chosen
    assert any(line.startswith("settings: too large") for line in lines)
    assert "3.00 GiB by formula, 2.00 GiB simulated (+50.0%; 2 and 4 layers)" in " ".join(text.split())
    assert "price" in text and "Assumed, memory" in text
    assert plan.settings_line in text


def test_the_columns_stand_below_each_other():
    lines = plan_text(plan_for(large(), "h100", 64)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("chosen"))
    table = lines[start - 1 : lines.index("", start)]
    assert len({len(line) for line in table}) == 1


def test_a_page_has_a_table_and_the_settings():
    plan = plan_for(large(), "h100", 64)
    page = plan_markdown(plan)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert f"```text\n{plan.settings_line}\n```" in page


def planned(gpu: str) -> tuple[Plan, Candidate, dict[str, str]]:
    """A plan, its candidate, and the environment of a run that was made as planned."""
    plan = plan_for(load_config(["demo"]), gpu, 2)
    made = plan.configured.candidate
    return plan, made, {"layout": str(made.layout), "device": "cpu" if gpu == "cpu" else "cuda"}


def test_planned_stands_against_actual_where_there_is_an_actual():
    plan, made, ran = planned("cpu")
    metrics = {"tokens_per_second": made.tokens_per_second / 2, "mfu": None, "training_seconds": 864.0}
    table = planned_against_actual(plan, metrics, 4096, ran)
    assert f"| tokens/s | {made.tokens_per_second:,.0f} | {made.tokens_per_second / 2:,.0f} | 0.50 |" in table
    assert "MFU" not in table and "memory" not in table
    days = 4096 / made.tokens_per_second / 86_400
    assert f"| days for 4,096 tokens | {days:,.3g} | 0.01 | {0.01 / days:.2f} |" in table, "of the tokens that were seen"
    assert "days" not in planned_against_actual(plan, metrics, None, ran)
    assert planned_against_actual(plan, {}, 4096, ran) == ""


@pytest.mark.parametrize(
    ("gpu", "title", "figure"),
    [("cpu", "peak resident memory", "memory_bytes"), ("h100", "peak allocated memory", "tensor_bytes")],
)
def test_measured_memory_stands_against_the_figure_of_its_own_meaning(gpu, title, figure):
    plan, made, ran = planned(gpu)
    assert made.memory_bytes > 1.05 * made.tensor_bytes
    expected = getattr(made, figure)
    table = planned_against_actual(plan, {"peak_memory_bytes": expected}, None, ran)
    assert f"| {title}, GiB | {expected / 2**30:,.2f} | {expected / 2**30:,.2f} | 1.00 |" in table.splitlines()


def test_another_layout_or_device_than_planned_is_not_compared():
    plan, _, ran = planned("cpu")
    metrics = {"tokens_per_second": 1.0}
    for change in ({"layout": "pipeline 1, replicate 1, shard 4, tensor 1"}, {"device": "cuda"}, {"layout": None}):
        text = planned_against_actual(plan, metrics, None, ran | change)
        assert "The two cannot be compared." in text and "|" not in text


def test_what_failed_in_the_check_is_said():
    failed = Check(formula_bytes=1, simulated_bytes=None, difference=None, depths=None, seconds=1.0, note="did not end in time")
    text = plan_text(plan_for(load_config(["demo"]), "cpu", 2).model_copy(update={"check": failed}))
    assert "checked   did not end in time" in text


@pytest.mark.parametrize("problem", ["", "finetune[topic].batch_size=128 is not a multiple"])
def test_what_else_must_change_is_said(problem):
    plan = plan_for(load_config(["demo"]), "cpu", 2).model_copy(update={"settings_problem": problem})
    assert ("and first:" in plan_text(plan)) == ("and first:" in plan_markdown(plan)) == bool(problem)
