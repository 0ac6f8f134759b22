"""Every text and tag of a registered version, from the records: what it is, what was decided, who held which alias. Pure.

What can change about a version (a decision, an alias, the end of its training) is said here and nowhere else, so that writing
it anew is all that a change needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.record.manifest import Input, Manifest
from tasks.registry.card import card_links, section
from tasks.registry.flow_links import FLOW_TAGS
from tasks.registry.records import Move, VersionRecord, describe

CHAMPION = "champion"
SHOWN_MOVES = 12
CHAMPION_LINE = "Champion:"
SCORES = ("accuracy", "answer_loss", "bits_per_byte", "heldout_loss")
"""Metrics by which a model is judged, the first that was measured."""
CHANGING_TAGS = ("status", "decision", *FLOW_TAGS)
"""Those that may be taken away again; all others are true of a version for ever."""
PRETRAINED = {
    "converged": "A pre-trained model: its held-out loss had converged, and then its learning rate was decayed.",
    "improving": "A pre-trained model that was not found to have converged: the cap on its tokens ended the training. Before "
    "that its learning rate was decayed.",
    "overfitting": "A pre-trained model that had begun to over-fit; then its learning rate was decayed.",
}
"""Of a finished pre-training, by its verdict."""


@dataclass(frozen=True)
class Ending:
    """What became of the training that a milestone is of, as far as its folder says."""

    step: int | None = None
    """At which it was finished; None for one that diverged."""
    verdict: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Texts:
    tags: dict[str, str]
    card: str


def version_texts(
    record: VersionRecord, moves: Sequence[Move], held: Mapping[str, int], flow_link: Mapping[str, str], ending: Ending | None
) -> Texts:
    """The tags and the whole card of the record's version, but for its picture.

    `moves` are all of the model's, oldest first; `held` is alias to version now; `flow_link` are the tags that lead to its
    flow run; `ending` is for a milestone whose training has come to its end.
    """
    status, standing = standing_of(record, moves, held)
    tags = record.tags | dict(flow_link) | ({"status": status} if status else {})
    if record.decision is not None:
        tags["decision"] = str(record.decision.details.get("decision"))
        if measured := score_text(record.decision.metrics, "candidate_"):
            tags["score"] = measured
    headline = " ".join(text for text in (meaning(record, ending), standing) if text)
    title = f"# {record.model}: {record.label.partition(' ')[0]}"
    summary, *sections = record.body or ("",)
    parts = [
        f"{title}\n\n{headline}\n\n{summary}",
        section("Decision of the gate", decision_text(record.decision)),
        section("Aliases", aliases_text(record, moves, held)),
        *sections,
        section("Links", card_links(tags)),
    ]
    return Texts(tags, "\n".join(part for part in parts if part))


def score_text(metrics: Mapping[str, float | int | None], prefix: str = "") -> str | None:
    """The number by which a model is judged, with its name, such as `accuracy 0.7619`; None where none was measured."""
    for name in SCORES:
        if (value := metrics.get(prefix + name)) is not None:
            return f"{name.replace('_', ' ')} {value:.4f}"
    return None


def short_tags(manifest: Manifest, inputs: Mapping[str, Input], parent: str | None) -> dict[str, str | None]:
    """What a list of versions shows, which has tags and no metrics: how good it is, what it was made from."""
    base, data = inputs.get("base"), inputs.get("examples") or inputs.get("dataset")
    return {
        "score": score_text(manifest.metrics),
        "base": parent or (base.digest[:12] if base else None),
        "data": f"{Path(data.path).name.rpartition('-')[0]} {data.digest[:12]}".strip() if data else None,
    }


def champion_line(records: Sequence[VersionRecord], moves: Sequence[Move], held: Mapping[str, int]) -> str | None:
    """For the page of the registered model; None where it never had a champion."""
    gained = [move for move in moves if move.alias == CHAMPION]
    if (version := held.get(CHAMPION)) is None:
        return f"{CHAMPION_LINE} nobody." if gained else None
    record = next((one for one in records if one.version == version), None)
    score = record and ((record.decision and score_text(record.decision.metrics, "candidate_")) or record.tags.get("score"))
    since = f"since {gained[-1].time}" if gained and gained[-1].to_version == version else "set in MLflow itself"
    return f"{CHAMPION_LINE} {', '.join(part for part in (f'version {version}', score, since) if part)}."


def meaning(record: VersionRecord, ending: Ending | None) -> str:
    """What the version is, by its label and the verdict at its step."""
    kind, verdict, step = record.label.partition(" ")[0], record.tags.get("verdict"), record.tags.get("step", "?")
    if kind == "candidate":
        return "A fine-tuned model."
    if kind == "pretrained":
        other = f"A pre-trained model with the verdict {verdict}." if verdict else "A pre-trained model without a verdict."
        return PRETRAINED.get(verdict or "", other)
    if kind == "converged":
        what = f"The model at step {step}, where its held-out loss was judged to have converged, without the decay."
    else:
        what = f"A milestone of a pre-training, at step {step}" + (f", with the verdict {verdict}." if verdict else ".")
    return f"{what} {ending_text(ending)}".strip()


def ending_text(ending: Ending | None) -> str:
    if ending is None:
        return ""
    if ending.error is not None:
        return f"The training ended without a model: {ending.error}."
    verdict = f" with the verdict {ending.verdict}" if ending.verdict else ""
    return f"The training was finished at step {ending.step}{verdict}."


def standing_of(record: VersionRecord, moves: Sequence[Move], held: Mapping[str, int]) -> tuple[str, str]:
    """One word, and a sentence: whether it is or was the champion, else what the gate decided; empty for a base model."""
    passed = [m for m in moves if m.alias == CHAMPION]
    mine = [m for m in passed if record.version in (m.from_version, m.to_version)]
    gained = next((m for m in reversed(mine) if m.to_version == record.version), None)
    lost = mine[-1] if mine and mine[-1].from_version == record.version else None
    if held.get(CHAMPION) == record.version:
        if gained is not None and gained is passed[-1]:
            return "champion", f"The champion since {gained.time}."
        return "champion", "The champion; the alias was set in MLflow itself."
    if lost is not None:
        chosen = lost.blessing is not None or lost.forced
        back = not chosen and any(m.to_version == lost.to_version for m in passed[: passed.index(lost)])
        since = f" from {gained.time}" if gained else ""
        if lost.to_version is None:
            return "replaced", f"It was the champion{since} to {lost.time}, then the alias was taken away: {lost.reason}."
        what = f"rolled back to version {lost.to_version}" if back else f"replaced by version {lost.to_version}"
        return "rolled back" if back else "replaced", f"It was the champion{since} to {lost.time}, then {what}."
    if gained is not None:
        return "replaced", f"It was made the champion at {gained.time}; since then the alias was moved in MLflow itself."
    if record.label != "candidate":
        return "", ""
    if record.decision is None:
        return "undecided", "No gate has decided about it."
    if record.decision.details.get("decision") == "promote":
        return "passed", f"The gate passed it at {record.decision.created_at}; it has not been made the champion."
    return "rejected", f"The gate rejected it at {record.decision.created_at}."


def decision_text(decision: Manifest | None) -> str:
    if decision is None:
        return ""
    details = decision.details
    champion = details.get("champion")
    version = champion["version"] if isinstance(champion, dict) else champion
    against = f"compared with version {version}" if version is not None else "there was no champion to compare with"
    reasons = "\n".join(f"- {reason}" for reason in details.get("reasons", ()))
    return f"**{details.get('decision')}**, at {decision.created_at}, {against}.\n\n{reasons}".strip()


def aliases_text(record: VersionRecord, moves: Sequence[Move], held: Mapping[str, int]) -> str:
    """The aliases that the version holds, and the last moves by which it got or lost one, newest first."""
    now = sorted(alias for alias, version in held.items() if version == record.version)
    mine = [m for m in moves if record.version in (m.from_version, m.to_version)]
    if not now and not mine:
        return ""
    holds = ", ".join(f"`{alias}`" for alias in now) or "none"
    return "\n".join([f"Holds now: {holds}.", "", *(f"- {describe(m)}" for m in reversed(mine[-SHOWN_MOVES:]))]).strip()
