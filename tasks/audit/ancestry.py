"""From a registered version up to its source files: what it was made from, and what that was made from, by digest.

A link holds where the manifest that lies there has the digest that was named by whoever was given it. What is gone or has
changed is said to be, and the way up goes on as far as records lead: the registry keeps a copy of each version's manifest.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tasks.audit.ancestors import Ancestor, EvaluationSet, Stated, described
from tasks.audit.inventory import Inventory, Thing, recorded_inputs, relative, trouble_with_request
from tasks.record.approvals import Approval, read_approval
from tasks.record.errors import ConfigError, IntegrityError
from tasks.record.files import Record
from tasks.record.layout import StageLayout, attempt_of
from tasks.record.manifest import Input, Manifest
from tasks.registry.records import Move, VersionRecord, history, newest_decision
from tasks.registry.store import check_store

CHAMPION = "champion"
FIRST = ("accuracy", "macro_f1", "answer_loss", "heldout_loss", "bits_per_byte")
"""Metrics that a version is judged by, in the order in which they are shown."""
ASKED = re.compile(r"(?:models:/)?(?P<model>[\w.-]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[1-9]\d*))?", re.ASCII)
COMPARED = "against-"
"""How the roles of earlier data sets begin, whose documents were not taken again."""
OF_WEIGHTS = ("base", "dataset", "examples")
"""Roles of what weights are made from; what a preparation was only compared with is not among them."""


class Registered(Record):
    """A registered model version, as the records of this home and MLflow have it."""

    model: str
    version: int
    label: str
    digest: str
    """Of the manifest that it was registered with."""
    in_mlflow: Literal["registered", "deleted", "unknown"]
    """Unknown where MLflow cannot be asked."""
    aliases: tuple[str, ...]
    """Those that it holds now."""
    score: dict[str, float | int | None]
    """What was measured of it, on the frozen examples for a fine-tune."""
    decision: str | None
    """Of the gate."""
    decided_at: str | None
    reasons: tuple[str, ...]
    moves: tuple[Move, ...]
    """Those by which it got or lost an alias, oldest first."""
    approved_by: str | None
    """Who approved it, or moved the alias champion to it."""
    promoted_at: str | None
    answer: Approval | None = None
    """What a person said when asked for approval; None where nobody was asked."""
    forced_because: str | None = None
    """Why a person promoted it without a positive decision."""


class Ancestry(Record):
    """The answer."""

    asked: str
    version: Registered
    evaluated_on: tuple[EvaluationSet, ...]
    made_by: Ancestor
    """The stage that made it, with what that was made from, and so on up to files."""
    notes: tuple[str, ...]
    """What could not be looked at, so that the answer may lack something."""


def ancestry_of(home: Path, asked: str) -> Ancestry:
    """Where a version comes from; `asked` is MODEL@ALIAS, MODEL/VERSION, or MODEL for its champion.

    Raises ConfigError, which names what there is, for one that was never registered here.
    """
    inventory = Inventory(home)
    record = record_asked_for(inventory, asked)
    decision = decision_of(inventory, record)
    made_by = Walk(inventory).ancestor("model", Input(path=str(Path(record.folder).parent), digest=record.tags["digest"]))
    return Ancestry(
        asked=asked,
        version=registered(inventory, record, decision),
        evaluated_on=tuple(evaluation_sets(inventory, record, decision)),
        made_by=made_by,
        notes=tuple(dict.fromkeys(inventory.notes)),
    )


def record_asked_for(inventory: Inventory, asked: str) -> VersionRecord:
    found = ASKED.fullmatch(asked)
    if found is None:
        raise ConfigError(
            f"lineage of {asked!r}: it is no version; write MODEL@ALIAS, MODEL/VERSION, or MODEL for its champion"
        )
    model, alias = found["model"], found["alias"]
    own = [one for one in inventory.records if one.model == model and one.version is not None]
    known = {number: one for one in own for number in one.earlier_versions} | {one.version: one for one in own}
    if not known:
        check_store(inventory.home)
        there = ", ".join(sorted({one.model for one in inventory.records})) or "none"
        raise ConfigError(f"lineage of {asked!r}: no model {model!r} is registered in this home; there are: {there}")
    if found["version"] is not None:
        number = int(found["version"])
    else:
        held = {alias: v for v, aliases in inventory.holders(model).items() for alias in aliases}
        if (alias := alias or CHAMPION) not in held:
            there = ", ".join(f"{name} (version {v})" for name, v in sorted(held.items())) or "none"
            raise ConfigError(f"lineage of {asked!r}: {model} has no alias {alias!r}; there are: {there}")
        number = held[alias]
    if number not in known:
        there = ", ".join(str(v) for v in sorted(v for v in known if v is not None))
        raise ConfigError(f"lineage of {asked!r}: {model} has no version {number} of pretune's; there are: {there}")
    return known[number]


def decision_of(inventory: Inventory, record: VersionRecord) -> Manifest | None:
    try:
        return newest_decision(inventory.home, record)
    except IntegrityError as error:
        inventory.notes.append(str(error))
        return record.decision


def registered(inventory: Inventory, record: VersionRecord, decision: Manifest | None) -> Registered:
    assert record.version is not None
    in_mlflow = inventory.aliases(record.model)
    here = "unknown" if in_mlflow is None else "registered" if record.version in in_mlflow else "deleted"
    numbers = {record.version, *record.earlier_versions}
    mine = [m for m in history(inventory.home, record.model) if numbers & {m.from_version, m.to_version}]
    promoted = next((m for m in reversed(mine) if m.alias == CHAMPION and m.to_version in numbers), None)
    answer = answer_about(record, decision)
    approved = answer.by if answer and answer.decision == "approved" else None
    return Registered(
        model=record.model,
        version=record.version,
        label=record.label,
        digest=record.tags["digest"],
        in_mlflow=here,
        aliases=inventory.holders(record.model).get(record.version, ()) if here != "deleted" else (),
        score=score_of(inventory, record, decision),
        decision=str(decision.details["decision"]) if decision and "decision" in decision.details else None,
        decided_at=decision.created_at if decision else None,
        reasons=tuple(decision.details.get("reasons", ())) if decision else (),
        moves=tuple(mine),
        approved_by=approved or (promoted.by if promoted else None),
        promoted_at=promoted.time if promoted else None,
        answer=answer,
        forced_because=promoted.reason if promoted and promoted.forced else None,
    )


def answer_about(record: VersionRecord, decision: Manifest | None) -> Approval | None:
    """Beside the evaluation that the decision is of."""
    for stage in attempt_of(StageLayout(Path(record.stage))).evaluations:
        answer = read_approval(stage)
        if answer is not None and decision is not None and Manifest.read(stage.manifest).digest == decision.digest:
            return answer
    return None


def score_of(inventory: Inventory, record: VersionRecord, decision: Manifest | None) -> dict[str, float | int | None]:
    if decision is not None:
        own = {key: value for key, value in decision.metrics.items() if key.startswith(("candidate_", "difference"))}
        found = {key.removeprefix("candidate_"): value for key, value in own.items()}
        first = {key: found[key] for key in FIRST if key in found}
        return first | found
    thing = inventory.things.get(record.tags["digest"])
    return {name: thing.manifest.metrics[name] for name in FIRST if name in thing.manifest.metrics} if thing else {}


def evaluation_sets(inventory: Inventory, record: VersionRecord, last: Manifest | None) -> Iterator[EvaluationSet]:
    """Every set that the version was measured on by an evaluation, also where the evaluation is the registry's own copy."""
    decisions = [last] if last is not None else []
    for stage in attempt_of(StageLayout(Path(record.stage))).evaluations:
        try:
            decisions.append(Manifest.read(stage.manifest))
        except IntegrityError as error:
            inventory.notes.append(str(error))
    seen = set()
    for decision in decisions:
        candidate, examples = decision.inputs.get("candidate"), decision.inputs.get("examples")
        if candidate is None or examples is None or candidate.digest != record.tags["digest"] or examples.digest in seen:
            continue
        seen.add(examples.digest)
        yield EvaluationSet(
            name=f"{Path(examples.path).name} (test)",
            digest=examples.digest,
            sha256=decision.details.get("examples_sha256"),
            num_items=int(decision.metrics.get("num_examples") or 0) or None,
            stated=state_of(inventory, examples)[0],
        )


def state_of(inventory: Inventory, entry: Input) -> tuple[Stated, str, Thing | None]:
    """Whether the link holds, a sentence where there is something to say, and what it leads to."""
    thing = inventory.things.get(entry.digest)
    place = Path(entry.path) if entry.path else None
    if thing is not None and thing.request is None:
        return "copy", trouble_with_request(thing), thing
    if thing is not None:
        moved = place is not None and place.resolve() != thing.folder.resolve()
        return "verified", f"it was {place} when it was used, and lies in {thing.folder} now" if moved else "", thing
    if place is not None and (place / "manifest.json").is_file():
        return "changed", other_in_place(place), None
    where = f"{place} is gone" if place else "it is gone"
    return "gone", f"{where}: nothing in this home has the digest {entry.digest[:12]}", None


def other_in_place(place: Path) -> str:
    try:
        found = Manifest.read(place / "manifest.json").digest[:12]
    except IntegrityError as error:
        return str(error)
    return f"{place} holds another result by now ({found}): what was used is gone"


class Walk:
    """From one thing up to everything that it was made from. A digest names what it was made from, so there is no circle."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def ancestor(self, role: str, entry: Input) -> Ancestor:
        stated, said, thing = state_of(self.inventory, entry)
        if thing is None:
            return self.gone(role, entry, stated, said)
        made_from = {key: one for key, one in thing.inputs.items() if key in self.roles(thing)}
        beside = [one for key, one in thing.inputs.items() if key.startswith(COMPARED)]
        facts: dict[str, Any] = described(self.inventory.home, thing)
        return Ancestor(
            role=role,
            digest=entry.digest,
            stated=stated,
            said=" ".join(text for text in (said, facts.pop("said")) if text),
            made_from=tuple(self.ancestor(key, one) for key, one in made_from.items()),
            compared_with=tuple(self.beside(one) for one in beside),
            **facts,
        )

    def gone(self, role: str, entry: Input, stated: Stated, said: str) -> Ancestor:
        """Only its digest is known, and where it is that of a version, what that was made from."""
        record = next((one for one in self.inventory.records if one.tags["digest"] == entry.digest), None)
        inputs = recorded_inputs(record) if record else {}
        name = relative(Path(entry.path), self.inventory.home) if entry.path else entry.digest[:12]
        return Ancestor(
            role=role,
            kind=kind_of_role(role) if record is None else "finetune" if "base" in inputs else "pretrain",
            name=name,
            digest=entry.digest,
            stated=stated,
            said=said,
            made_from=tuple(self.ancestor(key, one) for key, one in inputs.items() if key in OF_WEIGHTS),
        )

    def roles(self, thing: Thing) -> tuple[str, ...]:
        """From random weights nothing but the shape of the base is taken."""
        random = thing.request is not None and thing.request.identity.get("init") == "random"
        return tuple(role for role in OF_WEIGHTS if not (random and role == "base"))

    def beside(self, entry: Input) -> EvaluationSet:
        """An earlier data set, whose documents were not taken again."""
        stated, _, thing = state_of(self.inventory, entry)
        number = thing.manifest.metrics.get("kept_documents") if thing else None
        return EvaluationSet(
            name=Path(entry.path).name, digest=entry.digest, num_items=int(number) if number else None, stated=stated
        )


def kind_of_role(role: str) -> str:
    return {"dataset": "prepare", "examples": "examples"}.get(role, "unknown")
