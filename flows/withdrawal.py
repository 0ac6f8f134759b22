"""What `pretune lineage --withdrawn` prints, and what `--retrain` starts."""

import logging
from collections.abc import Iterator

from flows.deployed import deployed
from flows.lineage import KINDS, headline
from flows.report import own_command
from tasks.audit.lineage import Lineage
from tasks.audit.withdrawal import CHAMPION, Redo, Withdrawal, hindrance, only_it_is_missing
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import parsed
from tasks.data.inputs.sources import located
from tasks.record.errors import PretuneError
from tasks.record.files import Record, read_json, write_json
from tasks.record.layout import FinetuneLayout, home
from tasks.record.outcomes import read_outcomes
from tasks.stages.work import examples_work

logger = logging.getLogger("pretune")


class Retrained(Record):
    """What `--retrain` did about one fine-tune."""

    name: str
    started: bool
    said: str
    """What came of it, or why nothing was started."""


def text_withdrawal(found: Withdrawal, lineage: Lineage) -> str:
    lines = [headline(lineage)]
    if found.redo:
        lines += ["", "To be made again, in this order:"]
    for number, redo in enumerate(found.redo, 1):
        lines += ["", *redo_lines(number, redo)]
    for name in found.only_measured:
        lines += ["", f"{name} was only measured on it: its weights do not contain it, its numbers come from it."]
    return "\n".join([*lines, *(f"\nNote: {note}" for note in found.notes)])


def redo_lines(number: int, redo: Redo) -> Iterator[str]:
    yield f"{number}. {KINDS[redo.kind]} {redo.name}{'' if redo.done else '  (not finished)'}"
    for reason in redo.why:
        yield f"   {reason}"
    for one in redo.versions:
        held = f"  <- {', '.join(one.aliases)}" if one.aliases else ""
        yield f"   registered: {one.model} version {one.version} ({one.label}){held}"
    yield f"   {how_text(redo)}"


def how_text(redo: Redo) -> str:
    """By which words it is made again."""
    if redo.kind == "finetune":
        return "again: --retrain does it, once its data and its base no longer contain it"
    if redo.kind == "examples":
        return "again: its fine-tune makes them anew, once the file is gone from where they are read"
    if redo.kind == "base":
        return "again: set another base in the file of the fine-tune"
    if redo.kind == "prepare":
        return "again: by the pre-training that is given it, once the file is gone from where it is read"
    if redo.how:
        return f"again, once the file is gone from where it is read: {own_command()} {redo.how}"
    return "again: no preset gives its settings any more; they are in the config.json of its run"


def retrain(found: Withdrawal, lineage: Lineage) -> list[Retrained]:
    """Refresh, one after the other, every fine-tune that contains it and would not contain it again."""
    return [retrained(name, lineage) for name in found.finetunes]


def retrained(name: str, lineage: Lineage) -> Retrained:
    settings = settings_of(name)
    if settings is None:
        return Retrained(name=name, started=False, said="its settings were not kept; refresh it by its file")
    if reason := hindrance(home(), settings, lineage):
        return Retrained(name=name, started=False, said=reason)
    kept = FinetuneLayout(home(), name).settings
    before = read_json(kept) if kept.is_file() else None
    try:
        refresh_now(settings.model_copy(update=allowed(settings, lineage)))
    except PretuneError as error:
        return Retrained(name=name, started=True, said=f"ended without a model: {error}")
    finally:
        if before is not None:
            write_json(kept, before)
    outcomes = read_outcomes(FinetuneLayout(home(), name))
    return Retrained(name=name, started=True, said=outcomes[-1].text)


def allowed(settings: FinetuneFile, lineage: Lineage) -> dict[str, float]:
    """What a refresh may do this once: that examples went away is meant, and no reason to wait for more."""
    fewer = {"max_shrinkage": 1.0} if only_it_is_missing(home(), settings, lineage) else {}
    return {"min_new_examples": 0} | fewer


def settings_of(name: str) -> FinetuneFile | None:
    """Those that are deployed, else those of its last refresh."""
    kept = FinetuneLayout(home(), name).settings
    settings = deployed(home()).get(name) or (parsed(FinetuneFile, read_json(kept)) if kept.is_file() else None)
    return located(settings) if settings else None


def refresh_now(settings: FinetuneFile) -> None:
    from flows.commands import follow

    def call() -> None:
        from flows.refresh import refresh

        refresh(settings)

    follow(call, settings.name, lambda: examples_work(home(), settings))


def text_retrained(done: list[Retrained], now: Withdrawal) -> str:
    """What was done, and which champions still contain it: a new candidate does not take the place of one by itself."""
    lines = [f"{one.name}: {one.said if one.started else f'nothing was started: {one.said}'}" for one in done]
    if not done:
        lines.append("No fine-tune contains it.")
    for version in champions(now):
        lines.append(f"{version} is still the champion and contains it")
    return "\n".join(lines)


def champions(now: Withdrawal) -> list[str]:
    held = [one for redo in now.redo for one in redo.versions if CHAMPION in one.aliases]
    return [f"{one.model} version {one.version}" for one in held]
