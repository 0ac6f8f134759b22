"""A plan as people read it: in a terminal, in a page of the UI, and beside what happened."""

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from tasks.planning.plan import GIB, surely_too_large
from tasks.planning.records import Candidate, Check, Plan

COLUMNS = ("", "layout", "micro-batch", "recompute", "GiB/rank", "tokens/s", "MFU", "s/step")
MOST_RUNNERS_UP = 9


def layout_text(made: Candidate) -> str:
    """Sizes above one, such as `pipeline 2 x tensor 4 x shard 8`."""
    layout = made.layout
    virtual = f" ({layout.virtual_stages} virtual)" if layout.virtual_stages > 1 else ""
    sizes = (
        ("pipeline", layout.pipeline_parallel, virtual), ("tensor", layout.tensor_parallel, ""),
        ("shard", layout.shard, ""), ("replicate", layout.replicate, ""),
    )  # fmt: skip
    return " x ".join(f"{name} {size}{more}" for name, size, more in sizes if size > 1) or "one rank"


def row(title: str, made: Candidate) -> tuple[str, ...]:
    return (
        title,
        layout_text(made),
        f"{made.micro_batch_size} x {made.micro_batches}",
        made.activation_checkpointing,
        f"{made.memory_bytes / GIB:.1f}",
        f"{made.tokens_per_second:,.0f}",
        f"{made.mfu:.1%}",
        f"{made.step_seconds:.3g}",
    )


def rows(plan: Plan) -> list[tuple[str, ...]]:
    """The chosen layout, the next ones, faster ones that do not fit, and the one of the settings."""
    table = [row("chosen", plan.chosen)]
    table += [row("also fits", made) for made in plan.runners_up[:MOST_RUNNERS_UP]]
    table += [row("too large", made) for made in plan.too_large]
    if plan.configured.candidate is not None:
        surely = surely_too_large(plan)
        title = "settings now" if plan.configured.candidate.fits else "settings: too large" if surely else "settings: may fit"
        table.append(row(title, plan.configured.candidate))
    return table


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Lines with columns of equal width, numbers to the right."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < 4 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


def headline(plan: Plan) -> list[str]:
    where = f"{plan.world_size} x {plan.accelerator}" + (f" at {plan.watts:g} W" if plan.watts else "")
    where += f" on {plan.nodes} machines" if plan.nodes > 1 else ""
    precision = plan.precision + (" with fp8 products" if plan.fp8 else "")
    return [
        f"{plan.architecture}, {plan.num_parameters:,} parameters, {precision}, on {where}",
        f"{plan.global_batch_tokens:,} tokens a step in sequences of {plan.sequence_length:,}; "
        f"{plan.num_considered:,} ways considered; at most {plan.memory_limit_bytes / GIB:.1f} GiB per rank",
    ]


def outlook(plan: Plan) -> list[tuple[str, str]]:
    """Title and value of what the whole training takes."""
    horizon, disk, chosen = plan.horizon, plan.disk, plan.chosen
    days = f"{horizon.days:.1f} days" if horizon.days >= 2 else f"{horizon.days * 24:.2f} hours"
    lines = [
        ("duration", f"{days} for {horizon.steps:,} steps, {horizon.train_tokens:,} tokens, unless it converges earlier"),
        ("cost", f"{horizon.device_hours:,.1f} device hours, {horizon.energy_kwh:,.1f} kWh"),
        ("disk", f"{disk.total_bytes / GIB:,.1f} GiB: {disk.checkpoints_kept} checkpoints of "
         f"{disk.checkpoint_bytes / GIB:,.1f} and at most {disk.milestones} milestones of {disk.milestone_bytes / GIB:,.1f}"),
        ("memory", f"{', '.join(f'{name} {size / GIB:.1f}' for name, size in chosen.memory_parts.items())} GiB "
         f"at its peak ({chosen.peak_moment})"),
        ("time", ", ".join(f"{name.replace('_', ' ')} {seconds / chosen.step_seconds:.0%}"
                           for name, seconds in chosen.time_parts.items() if seconds >= 0.005 * chosen.step_seconds)),
    ]  # fmt: skip
    if horizon.price is not None:
        lines[1] = ("cost", f"{lines[1][1]}, price {horizon.price:,.2f}")
    return lines


def plan_text(plan: Plan) -> str:
    """For a terminal: at most about 40 lines."""
    lines = [*headline(plan), "", *aligned([COLUMNS, *rows(plan)]), ""]
    lines += [f"{title:<9} {value}" for title, value in outlook(plan)]
    if plan.check is not None:
        lines += wrap(f"{'checked':<9} {check_text(plan.check)}", 120, subsequent_indent=" " * 10)
    if plan.configured.reason:
        lines += ["", f"The layout of the settings: {plan.configured.reason}"]
    if plan.impossible:
        lines += ["", "Left out: " + "; ".join(list(plan.impossible)[:3])]
    lines += ["", *(part for line in plan.assumptions for part in wrap(f"Assumed, {line}", 120, subsequent_indent="  "))]
    if plan.fp8:
        return "\n".join([*lines, "", *wrap(plan.settings_problem, 120)])
    lines += ["", "To train so:", f"  {plan.settings_line}"]
    if plan.settings_problem:
        lines += wrap(f"and first: {plan.settings_problem}", 120, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def check_text(check: Check) -> str:
    """What the simulation found, in a sentence."""
    if check.simulated_bytes is None or check.difference is None:
        return check.note
    return (
        f"tensors of the fullest rank {check.formula_bytes / GIB:.2f} GiB by formula, {check.simulated_bytes / GIB:.2f} GiB "
        f"simulated ({check.difference:+.1%}; {check.note})"
    )


def plan_markdown(plan: Plan) -> str:
    """For a Prefect artifact."""
    lines = ["# Plan", "", *(f"{line}  " for line in headline(plan)), ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|---|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows(plan)]
    lines += ["", *(f"- {title}: {value}" for title, value in outlook(plan))]
    if plan.check is not None:
        lines.append(f"- checked: {check_text(plan.check)}")
    if plan.configured.reason:
        lines += ["", f"**The layout of the settings:** {plan.configured.reason}"]
    if plan.fp8:
        lines += ["", f"**{plan.settings_problem}**", ""]
    else:
        lines += ["", "To train so:", "", "```text", plan.settings_line, "```", ""]
    if plan.settings_problem and not plan.fp8:
        lines += [f"and first: {plan.settings_problem}", ""]
    return "\n".join([*lines, *(f"Assumed, {line}.  " for line in plan.assumptions)])


def planned_against_actual(
    plan: Plan, metrics: Mapping[str, float | None], tokens_seen: int | None, environment: Mapping[str, Any]
) -> str:
    """A Markdown table of planned, actual and their ratio; a sentence instead where something else was run than was planned.

    `metrics` may have tokens_per_second, mfu, peak_memory_bytes and training_seconds; what is missing is left out.
    `environment` has the layout and the device that it was run on. Empty where the layout of the settings has no plan.
    """
    made = plan.configured.candidate
    if made is None or not metrics:
        return ""
    on_cpu = plan.accelerator == "cpu"
    planned, ran = (str(made.layout), on_cpu), (environment.get("layout"), environment.get("device") == "cpu")
    if planned != ran:
        return f"Planned was {place(*planned)}; run was {place(*ran)}. The two cannot be compared."
    # A rank on a CPU measures all its resident memory, one on a GPU its allocated tensors, and each has a figure in the plan.
    memory = ("resident", made.memory_bytes) if on_cpu else ("allocated", made.tensor_bytes)
    compared = [
        ("tokens/s", made.tokens_per_second, metrics.get("tokens_per_second"), ",.0f"),
        ("MFU", made.mfu, metrics.get("mfu"), ".1%"),
        (f"peak {memory[0]} memory, GiB", memory[1] / GIB, scaled(metrics.get("peak_memory_bytes"), 1 / GIB), ",.2f"),
    ]
    if tokens_seen:
        days = tokens_seen / made.tokens_per_second / 86_400
        compared.append((f"days for {tokens_seen:,} tokens", days, scaled(metrics.get("training_seconds"), 1 / 86_400), ",.3g"))
    lines = [
        f"| {title} | {planned:{form}} | {actual:{form}} | {actual / planned:.2f} |"
        for title, planned, actual, form in compared
        if actual is not None
    ]
    return "\n".join(["| | planned | actual | actual / planned |", "|---|---:|---:|---:|", *lines]) if lines else ""


def place(layout: str | None, on_cpu: bool) -> str:
    return f"{layout} on {'CPU' if on_cpu else 'GPU'} ranks"


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
