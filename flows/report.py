"""What a run came to, read from its manifests: for the terminal, for Prefect's artifacts, and as JSON. Pure but for reading."""

import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.planning.plan_text import planned_against_actual
from tasks.planning.records import Plan
from tasks.record.layout import AttemptLayout, FinetuneLayout, RunLayout, StageLayout
from tasks.record.manifest import Manifest
from tasks.record.outcomes import Outcome, read_outcomes
from tasks.registry.records import history, recorded_holders
from tasks.registry.store import read_registration
from tasks.services.environment import page

MACHINE_LEARNING = "?workflowType=machine_learning"
"""Without this MLflow opens its pages for generative AI, where a checkpoint is called the version of an agent."""


class VersionLine(BaseModel):
    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    label: str
    aliases: tuple[str, ...]


class FinetuneReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    attempt: str
    """Folder of the candidate and its evaluations."""
    metrics: dict[str, float | int | None]
    decision: str
    reasons: tuple[str, ...]
    champion: str | None
    outcome: str


class Report(BaseModel):
    """Everything that is known so far: what is not done yet is empty."""

    model_config = ConfigDict(frozen=True)

    run: str
    """Name of the run, or of the fine-tune that stands alone."""
    folder: str
    verdict: str | None = None
    reason: str | None = None
    pretraining: dict[str, float | int | None] = {}
    plan: Plan | None = None
    """What it was expected to take."""
    performance: dict[str, float | int | None] = {}
    """Last values of tokens_per_second, mfu, peak_memory_bytes, data_loading_share, checkpoint_stall_seconds and goodput."""
    tokens_seen: int | None = None
    environment: dict[str, Any] = {}
    """Where it was trained: `layout` and `device`."""
    sample: str | None = None
    finetunes: tuple[FinetuneReport, ...] = ()
    versions: tuple[VersionLine, ...] = ()
    mlflow_url: str | None = None
    prefect_url: str | None = None


def read_report(config: Config, name: str, home: Path) -> Report:
    run = RunLayout(home, name)
    base = read_manifest(run.pretrain())
    details = base.details if base else {}
    verdict = details.get("verdict") or {}
    return Report(
        run=name,
        folder=str(run.path),
        verdict=verdict.get("verdict"),
        reason=verdict.get("reason"),
        pretraining=base.metrics if base else {},
        plan=Plan.model_validate_json(run.plan.read_bytes()) if run.plan.exists() else None,
        performance=base.environment.get("performance", {}) if base else {},
        tokens_seen=base.tokens_seen if base else None,
        environment={key: base.environment.get(key) for key in ("layout", "device")} if base else {},
        sample=details.get("sample"),
        finetunes=tuple(found for one in config.finetunes(name) if (found := finetune_report(one, home))),
        versions=tuple(all_versions(config, run)),
        mlflow_url=page(home, "mlflow"),
        prefect_url=page(home, "prefect"),
    )


def read_finetune_report(settings: FinetuneFile, home: Path) -> Report:
    """Of a fine-tune that stands alone."""
    found = finetune_report(settings, home)
    return Report(
        run=settings.name,
        folder=str(FinetuneLayout(home, settings.name).path),
        finetunes=(found,) if found else (),
        versions=tuple(candidate_lines(settings, home)),
        mlflow_url=page(home, "mlflow"),
        prefect_url=page(home, "prefect"),
    )


def read_manifest(stage: StageLayout) -> Manifest | None:
    return Manifest.read(stage.manifest) if stage.manifest.exists() else None


def finetune_report(settings: FinetuneFile, home: Path) -> FinetuneReport | None:
    """Of the attempt that the last refresh was about, as it was judged."""
    layout = FinetuneLayout(home, settings.name)
    outcome = next((one for one in reversed(about_last_attempt(layout)) if one.evaluation), None)
    decision = read_manifest(StageLayout(layout.path / outcome.attempt / outcome.evaluation)) if outcome else None
    if outcome is None or decision is None:
        return None
    return judged_report(settings, outcome, decision)


def judged_report(settings: FinetuneFile, outcome: Outcome, decision: Manifest) -> FinetuneReport:
    """Of one evaluation."""
    champion = decision.details.get("champion")
    return FinetuneReport(
        name=settings.name,
        kind=settings.kind,
        attempt=outcome.attempt,
        metrics=decision.metrics,
        decision=decision.details["decision"],
        reasons=tuple(decision.details.get("reasons", ())),
        champion=f"version {champion}" if champion is not None else None,
        outcome=outcome.text,
    )


def about_last_attempt(layout: FinetuneLayout) -> list[Outcome]:
    outcomes = [one for one in read_outcomes(layout) if one.attempt]
    return [one for one in outcomes if one.attempt == outcomes[-1].attempt]


def all_versions(config: Config, run: RunLayout) -> list[VersionLine]:
    """The versions that this run registered, each with the aliases it holds now, from the local record of their moves."""
    found = version_lines(run.home, run.pretrain(), config.model_name(run.name))
    for one in config.finetunes(run.name):
        found += candidate_lines(one, run.home)
    return found


def candidate_lines(settings: FinetuneFile, home: Path) -> list[VersionLine]:
    layout = FinetuneLayout(home, settings.name)
    last = about_last_attempt(layout)
    return version_lines(home, AttemptLayout(layout.path / last[-1].attempt).candidate, settings.name) if last else []


def version_lines(home: Path, stage: StageLayout, model: str) -> list[VersionLine]:
    known = read_registration(home, stage)
    held = recorded_holders(history(home, model))
    lines = []
    for label, version in sorted((known.versions.get(model, {}) if known else {}).items(), key=lambda item: item[1]):
        aliases = tuple(sorted(alias for alias, holder in held.items() if holder == version))
        lines.append(VersionLine(model=model, version=version, label=label, aliases=aliases))
    return lines


def text_report(report: Report) -> str:
    """For a terminal: at most as wide as its numbers, nothing that was not measured."""
    lines = [f"Run {report.run}", ""] if report.verdict else []
    if report.verdict:
        lines.append(f"  verdict        {report.verdict}: {report.reason}")
    lines += [f"  {title:<14} {value}" for title, value in pretraining_rows(report)]
    for one in report.finetunes:
        lines += ["", f"Fine-tune {one.name} ({one.kind})", ""] if lines else [f"Fine-tune {one.name} ({one.kind})", ""]
        lines += [f"  {title:<14} {value}" for title, value in finetune_rows(one)]
        lines.append(f"  {'gate':<14} {one.decision} ({compared(one)})")
        lines += [f"  {'':<14} {reason}" for reason in one.reasons]
        lines.append(f"  {'outcome':<14} {one.outcome}")
    if report.versions:
        lines += ["", "Registered versions", ""]
        lines += [f"  {v.model:<20} {v.version:>3}  {v.label:<24} {', '.join(v.aliases)}".rstrip() for v in report.versions]
    if report.sample:
        lines += ["", "Sample", "", *(f"  {line}" for line in report.sample.strip().splitlines())]
    return "\n".join([*lines, "", *next_lines(report)])


def pretraining_rows(report: Report) -> list[tuple[str, str]]:
    numbers = report.pretraining
    rows = [("bits/byte", change(numbers.get("initial_bits_per_byte"), numbers.get("bits_per_byte")))]
    rows.append(("held-out loss", change(numbers.get("initial_heldout_loss"), numbers.get("heldout_loss"))))
    if size := numbers.get("num_parameters"):
        rows.append(("model", f"{size:,.0f} parameters"))
    rows += [("speed", speed_text(report.performance)), ("memory", memory_text(report.performance))]
    rows.append(("time", time_text(report.performance)))
    return [(title, value) for title, value in rows if value]


def speed_text(performance: dict[str, float | int | None]) -> str:
    rate, mfu = performance.get("tokens_per_second"), performance.get("mfu")
    parts = [f"{rate:,.0f} tokens/s in the last steps"] if rate is not None else []
    return ", ".join(parts + ([f"MFU {mfu:.1%}"] if mfu is not None else []))


def memory_text(performance: dict[str, float | int | None]) -> str:
    peak = performance.get("peak_memory_bytes")
    return f"{peak / 2**30:,.2f} GiB at most on a rank" if peak is not None else ""


def time_text(performance: dict[str, float | int | None]) -> str:
    """What became of the wall-clock time."""
    goodput, data, stall = (performance.get(key) for key in ("goodput", "data_loading_share", "checkpoint_stall_seconds"))
    parts = [f"{goodput:.1%} went into steps that count (goodput)"] if goodput is not None else []
    parts += [f"{data:.1%} of a step waited for data"] if data is not None else []
    return ", ".join(parts + ([f"checkpoints took {stall:,.1f} s"] if stall is not None else []))


def change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:.4f} before, {after:.4f} after"


def finetune_rows(one: FinetuneReport) -> list[tuple[str, str]]:
    """The scores of the candidate beside those it must beat."""
    score = "accuracy" if one.kind == "classification" else "answer_loss"
    names = {
        f"candidate_{score}": "fine-tuned",
        "candidate_macro_f1": "macro-F1",
        f"majority_{score}": "majority",
        f"tfidf_{score}": "TF-IDF",
        f"base_{score}": "before tuning",
        f"random_init_{score}": "random init",
        f"champion_{score}": "champion",
    }
    rows = [(title, one.metrics.get(key), key) for key, title in names.items()]
    return [
        (title, f"{key.split('_', 1)[1] if title == 'macro-F1' else score} {v:.4f}") for title, v, key in rows if v is not None
    ]


def compared(one: FinetuneReport) -> str:
    """With what, when it was decided; who is champion now is another matter."""
    return f"against {one.champion}" if one.champion else "there was no champion"


def next_lines(report: Report) -> list[str]:
    """What to type, or open, next."""
    if report.mlflow_url and report.prefect_url:
        return [f"Look at it: {report.mlflow_url}/#/models{MACHINE_LEARNING} and {report.prefect_url}/v2/"]
    return [f"Next: {own_command()} up        # opens the run, its curves and its models in a browser"]


def own_command() -> str:
    """The command as the reader can type it: by the path it was started with, unless the shell finds it by its name."""
    called = Path(sys.argv[0])
    if called.name != "pretune":
        called = Path(sys.executable).with_name("pretune")
    on_path = shutil.which("pretune")
    if on_path and Path(on_path).resolve() == called.resolve():
        return "pretune"
    here = Path.cwd()
    return str(called.absolute().relative_to(here)) if called.absolute().is_relative_to(here) else str(called)


def markdown_report(report: Report) -> str:
    """For a Prefect artifact. Links stand outside of tables, where they do not work."""
    lines = [f"# Run {report.run}", ""]
    if report.verdict:
        lines += [f"**{report.verdict}**: {report.reason}", ""]
    lines += [f"- {title}: {value}" for title, value in pretraining_rows(report)]
    if report.plan is not None and (table := plan_table(report.plan, report)):
        lines += ["", "## Planned and actual", "", table]
    for one in report.finetunes:
        lines += ["", f"## Fine-tune {one.name}: {one.decision}, {compared(one)}", "", "| | |", "|---|---|"]
        lines += [f"| {title} | {value} |" for title, value in finetune_rows(one)]
        lines += ["", *(f"- {reason}" for reason in one.reasons)]
    if report.versions:
        lines += ["", "## Registered versions", "", "| model | version | what | aliases |", "|---|---|---|---|"]
        lines += [f"| {v.model} | {v.version} | {v.label} | {', '.join(v.aliases)} |" for v in report.versions]
    if report.sample:
        lines += ["", "## Sample", "", "```text", report.sample.strip(), "```"]
    if report.mlflow_url:
        models = sorted({version.model for version in report.versions})
        lines += ["", *(f"- [{m} in MLflow]({report.mlflow_url}/#/models/{m}{MACHINE_LEARNING})" for m in models)]
    return "\n".join(lines)


def plan_table(plan: Plan, report: Report) -> str:
    return planned_against_actual(plan, report.performance, report.tokens_seen, report.environment)


def table_report(report: Report) -> list[dict[str, Any]]:
    """One row per number, for a Prefect table artifact."""
    rows = [("pre-training", key, value) for key, value in report.pretraining.items()]
    rows += [("performance", key, value) for key, value in report.performance.items()]
    rows += [(one.name, key, value) for one in report.finetunes for key, value in one.metrics.items()]
    return [{"stage": stage, "metric": key, "value": value} for stage, key, value in rows if value is not None]
