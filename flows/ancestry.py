"""What `pretune lineage MODEL` prints: from a registered version up to its source files, as an indented tree."""

import textwrap
from collections.abc import Iterator
from typing import Any

from tasks.audit.ancestors import Ancestor, EvaluationSet, SourceFile
from tasks.audit.ancestry import Ancestry, Registered

KINDS = {
    "prepare": "data set",
    "examples": "examples",
    "base": "base that was taken in",
    "pretrain": "pre-training",
    "milestone": "milestone of a pre-training",
    "finetune": "fine-tune",
    "unknown": "something",
}
STATES = {
    "verified": "verified",
    "copy": "verified by the registry's copy of its manifest",
    "changed": "GONE: another lies there now",
    "gone": "GONE",
}
MAX_FILES = 8
"""Files of a data set that are listed; the rest is counted."""
WIDTH = 118


def text_ancestry(ancestry: Ancestry) -> str:
    lines = [*version_lines(ancestry.version)]
    lines += [f"  evaluated on: {set_text(one)}" for one in ancestry.evaluated_on]
    lines += ancestor_lines(ancestry.made_by, "  ")
    return "\n".join([*lines, *(f"\nNote: {note}" for note in ancestry.notes)])


def version_lines(version: Registered) -> Iterator[str]:
    held = f"  <- {', '.join(version.aliases)}" if version.aliases else ""
    yield f"{version.model} version {version.version} ({version.label}){held}"
    if version.in_mlflow != "registered":
        yield f"  {mlflow_text(version)}"
    if version.score:
        yield f"  score: {pairs(version.score)}"
    yield f"  {decision_text(version)}"
    for reason in version.reasons:
        yield f"    {reason}"
    if version.answer:
        yield f"  {version.answer.text}, at {when(version.answer.time)}"
    if version.promoted_at:
        yield f"  {promotion_text(version)}"
    for move in version.moves:
        if move.alias != "champion" or move.to_version != version.version:
            passed = f"from {move.from_version or 'nobody'} to {move.to_version or 'nobody'}"
            yield f"  {when(move.time)}: {move.alias} {passed}, by {move.by}"


def mlflow_text(version: Registered) -> str:
    if version.in_mlflow == "deleted":
        return "deleted in MLflow; what follows is from the records of this home"
    return "MLflow cannot be asked whether it is still there"


def decision_text(version: Registered) -> str:
    return (
        f"decision: {version.decision}, at {when(version.decided_at)}" if version.decision else "no gate has decided about it"
    )


def promotion_text(version: Registered) -> str:
    forced = f", without a positive decision: {version.forced_because}" if version.forced_because else ""
    return f"made champion at {when(version.promoted_at)}, by {version.approved_by}{forced}"


def ancestor_lines(one: Ancestor, indent: str) -> Iterator[str]:
    role = f"{one.role}: " if one.role not in (KINDS[one.kind], "model") else "made by " if one.role == "model" else ""
    yield f"{indent}{role}{KINDS[one.kind]} {one.name}  ({STATES[one.stated]}, digest {one.digest[:12]})"
    inner = indent + "  "
    if one.said:
        yield from wrapped(f"! {one.said}", inner)
    if one.taken_from:
        yield f"{inner}taken in from {one.taken_from}, licence {one.licence or 'unknown'}"
    if one.verdict:
        yield from wrapped(f"verdict {one.verdict}: {one.reason}" if one.reason else f"verdict {one.verdict}", inner)
    if one.numbers:
        yield from wrapped(pairs(one.numbers), inner)
    if one.dropped:
        yield from wrapped(f"dropped: {pairs(one.dropped)}", inner)
    if one.recipe:
        yield from wrapped(f"recipe: {pairs(one.recipe)}", inner)
    if one.made_at:
        yield f"{inner}made at {when(one.made_at)}, code {one.commit or 'unknown'}"
    if one.libraries:
        yield from wrapped(
            "with " + ", ".join(f"{name} {version}" for name, version in one.libraries.items() if version), inner
        )
    yield from file_lines(one.sources, inner)
    for title, sets in (("kept out", one.evaluated_on), ("compared with", one.compared_with)):
        yield from (f"{inner}{title}: {set_text(other)}" for other in sets)
    for parent in one.made_from:
        yield from ancestor_lines(parent, inner)


def file_lines(sources: tuple[SourceFile, ...], indent: str) -> Iterator[str]:
    """The files, and each licence once, below the first file that has it."""
    said: set[str] = set()
    for file in sources[:MAX_FILES]:
        yield f"{indent}file {file_text(file)}"
        if file.licence and file.licence not in said:
            said.add(file.licence)
            yield from wrapped(f"licence: {file.licence}", indent + "  ")
    if len(sources) > MAX_FILES:
        yield f"{indent}and {len(sources) - MAX_FILES:,} more files; --json lists them all"


def file_text(file: SourceFile) -> str:
    size = f", {file.size_bytes:,} bytes" if file.size_bytes is not None else ""
    known = f", SHA-256 {file.sha256}" if file.sha256 else f", {file.version}" if file.version else ""
    return f"{file.source + ': ' if file.source else ''}{file.name}{size}{known}{'' if file.kept else ', nothing of it kept'}"


def set_text(one: EvaluationSet) -> str:
    items = f", {one.num_items:,} items" if one.num_items is not None else ""
    state = f", {STATES[one.stated]}" if one.stated else ""
    return f"{one.name} (digest {one.digest[:12]}{items}{state})"


def pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {shown(value)}" for key, value in values.items())


def shown(value: Any) -> str:
    """Counts with separators, other numbers with four digits, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"


def when(time: str | None) -> str:
    """`2026-11-27 11:25:24 UTC` for `2026-11-27T11:25:24+00:00`."""
    return (time or "unknown time").replace("T", " ").replace("+00:00", " UTC")


def wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False)
