"""A plan as it is read."""

import pytest

from tasks.config.presets import load_config
from tasks.planning.plan import plan_for
from tasks.planning.plan_text import plan_markdown, plan_text, planned_against_actual
from tasks.planning.records import Check
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


def test_planned_stands_against_actual_where_there_is_an_actual():
    plan = plan_for(load_config(["demo"]), "cpu", 2)
    made = plan.configured.candidate
    table = planned_against_actual(
        plan, {"tokens_per_second": made.tokens_per_second / 2, "mfu": None, "training_seconds": 864.0, "tokens_seen": 4096}
    )
    assert f"| tokens/s | {made.tokens_per_second:,.0f} | {made.tokens_per_second / 2:,.0f} | 0.50 |" in table
    assert "MFU" not in table and "peak memory" not in table
    planned_days = 4096 / made.tokens_per_second / 86_400
    assert f"| days | {planned_days:,.4f} | 0.0100 | {0.01 / planned_days:.2f} |" in table
    assert planned_against_actual(plan, {}) == ""


def test_what_failed_in_the_check_is_said():
    failed = Check(formula_bytes=1, simulated_bytes=None, difference=None, depths=None, seconds=1.0, note="did not end in time")
    text = plan_text(plan_for(load_config(["demo"]), "cpu", 2).model_copy(update={"check": failed}))
    assert "checked   did not end in time" in text


@pytest.mark.parametrize("problem", ["", "finetune[topic].batch_size=128 is not a multiple"])
def test_what_else_must_change_is_said(problem):
    plan = plan_for(load_config(["demo"]), "cpu", 2).model_copy(update={"settings_problem": problem})
    assert ("and first:" in plan_text(plan)) == ("and first:" in plan_markdown(plan)) == bool(problem)
