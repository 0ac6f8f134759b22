"""Who holds an alias of a registered model: moved by compare-and-set under the model's lock, with the history kept.

MLflow's own alias is last-writer-wins and has no memory. Here every change is first written down as an intent, then done, then
confirmed; what a killed process left half done is finished by whoever takes the model's lock next.
"""

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.record.errors import ComparisonNeededError, ConfigError, GateError
from tasks.record.journal import read_journal
from tasks.record.layout import registry_folder
from tasks.record.manifest import Manifest
from tasks.registry.champions import earlier_champions, last_place, rollback_target
from tasks.registry.records import (
    Move,
    history,
    history_file,
    keep_decision,
    renumbered,
    version_records,
    version_text,
    write_history,
)
from tasks.registry.status import CHAMPION
from tasks.registry.store import locked
from tasks.registry.texts import found_version, registered_model, write_texts
from tasks.registry.tracking import answering, connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREVIOUS = "previous"
IN_MLFLOW = "in MLflow itself"
"""Where an alias was moved that nobody moved from here."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")


@contextmanager
def model_locked(home: Path, model_name: str) -> Iterator[None]:
    """One writer of a registered model at a time, over all processes of this home. Not re-entrant."""
    if not MODEL_NAME.fullmatch(model_name):
        raise ConfigError(f"registry.model_name={model_name!r} is no name for a model; use letters, digits and . _ - only")
    with locked(registry_folder(home) / f"{model_name}.lock"):
        yield


@contextmanager
def changing(home: Path, model_name: str, doing: str) -> "Iterator[MlflowClient]":
    """The model's lock, with what was half done finished before, and every text and tag of its versions right after."""
    with model_locked(home, model_name):
        client = connect(home)
        with answering(home, doing):
            settle(client, home, model_name)
            try:
                yield client
            except GateError:
                write_texts(client, home, model_name)
                raise
            write_texts(client, home, model_name)


def refresh(home: Path, model_name: str, decision: Manifest | None = None) -> None:
    """Bring what MLflow says about the model's versions up to date with the records, with a decision that was just made."""
    if not version_records(home, model_name):
        return
    with changing(home, model_name, f"describing the versions of {model_name}"):
        if decision is not None:
            keep_decision(home, model_name, decision)


def holders(client: "MlflowClient", model_name: str) -> dict[str, int]:
    """Alias to version; empty for a model that does not exist."""
    model = registered_model(client, model_name)
    return {alias: int(version) for alias, version in model.aliases.items()} if model else {}


def move_alias(home: Path, model_name: str, alias: str, to_version: int, expected: int | None, reason: str, by: str) -> Move:
    """Give the alias to `to_version` if `expected` holds it now (None: nobody does); otherwise GateError, and nothing moves."""
    with changing(home, model_name, f"moving {alias} of {model_name}") as client:
        current = holders(client, model_name).get(alias)
        if current != expected:
            raise GateError(
                f"{model_name}@{alias} is held by {version_text(current)} and not, as expected, by "
                f"{version_text(expected)}; somebody else moved it, look again before moving it"
            )
        check_version(client, model_name, to_version)
        return apply_moves(client, home, [new_move(model_name, alias, current, to_version, reason, by)])[0]


def promote(
    home: Path, model_name: str, version: int, decision: Manifest, *, reason: str | None = None, by: str = "pretune",
    blessing: str | None = None,
) -> Move:  # fmt: skip
    """Make the version champion, and the champion of now `previous`; returns the champion's move.

    Raises GateError unless the decision is positive, was made about these very weights, and compared them with the version
    that is champion now. A promotion that was already carried out is returned again. The move names its `blessing`, which is
    the digest of the decision's manifest unless another one is given.
    """
    with changing(home, model_name, f"promoting {model_name} version {version}") as client:
        current = holders(client, model_name).get(CHAMPION)
        check_decision(decision, model_name, version, check_version(client, model_name, version))
        if current == version:
            return last_crowning(home, model_name, version)
        check_champion(decision, model_name, current)
        keep_decision(home, model_name, decision)
        why = reason or "; ".join(decision.details.get("reasons", ())) or "positive decision of the gate"
        return crown(client, home, new_move(model_name, CHAMPION, current, version, why, by, blessing or decision.digest))


def force_promotion(home: Path, model_name: str, version: int, *, reason: str, by: str) -> Move:
    """Make the version champion without asking for a decision; recorded as forced, for that reason, by that person."""
    with changing(home, model_name, f"promoting {model_name} version {version}") as client:
        current = holders(client, model_name).get(CHAMPION)
        check_version(client, model_name, version)
        if current == version:
            return last_crowning(home, model_name, version)
        move = new_move(model_name, CHAMPION, current, version, reason, by)
        return crown(client, home, move.model_copy(update={"forced": True}))


def last_crowning(home: Path, model_name: str, version: int) -> Move:
    """The move that made the version champion, which it is now."""
    earlier = [move for move in history(home, model_name) if move.alias == CHAMPION and move.to_version == version]
    return earlier[-1] if earlier else new_move(model_name, CHAMPION, None, version, f"set {IN_MLFLOW}", "unknown")


def crown(client: "MlflowClient", home: Path, move: Move) -> Move:
    """Carry out the champion's move, and make the champion of before `previous`."""
    moves = [move]
    if move.from_version is not None:
        before = holders(client, move.model).get(PREVIOUS)
        why = f"replaced as champion by {version_text(move.to_version)}"
        moves.append(new_move(move.model, PREVIOUS, before, move.from_version, why, move.by))
    return apply_moves(client, home, moves)[0]


def rollback(home: Path, model_name: str, *, to: int | None = None, reason: str = "rollback", by: str = "pretune") -> Move:
    """Give `champion` back to the version that held it before, or to the one of its earlier holders that is named.

    Asked again it goes one champion further back. `previous` is then where the next one would go. Raises GateError where there
    is no earlier champion, or the named one is none of them or is gone.
    """
    with changing(home, model_name, f"rolling {model_name} back") as client:
        held = holders(client, model_name)
        current = held.get(CHAMPION)
        numbers = renumbered(version_records(home, model_name))
        line = earlier_champions(history(home, model_name), numbers, current)
        there = [version for version in line if found_version(client, model_name, version) is not None]
        target = rollback_target(model_name, current, line, there, to)
        moves = [new_move(model_name, CHAMPION, current, target, reason, by)]
        further = there[: last_place(there, target)]
        if (next_one := further[-1] if further else None) != held.get(PREVIOUS):
            why = "the champion before" if next_one else "there was no champion before"
            moves.append(new_move(model_name, PREVIOUS, held.get(PREVIOUS), next_one, f"{why} version {target}", by))
        return apply_moves(client, home, moves)[0]


def advance(client: "MlflowClient", home: Path, model_name: str, alias: str, version: int, reason: str, by: str) -> None:
    """Give the alias to a newer version; one that is held by this or a later version stays. The caller holds the lock."""
    current = holders(client, model_name).get(alias)
    if current is None or current < version:
        apply_moves(client, home, [new_move(model_name, alias, current, version, reason, by)])


def new_move(
    model: str, alias: str, current: int | None, version: int | None, reason: str, by: str, blessing: str | None = None
) -> Move:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Move(
        model=model, alias=alias, from_version=current, to_version=version, reason=reason, by=by, time=now, blessing=blessing
    )


def apply_moves(client: "MlflowClient", home: Path, moves: list[Move]) -> list[Move]:
    """Carry out moves that belong together: intent on disk, aliases, confirmation. The caller holds the lock."""
    identity = uuid.uuid4().hex
    write_history(home, "intent", identity, moves)
    if not carry_out(client, home, identity, moves):
        raise GateError(f"an alias of {moves[0].model} was moved in MLflow at the same moment; look again before moving it")
    return moves


def carry_out(client: "MlflowClient", home: Path, identity: str, moves: Sequence[Move]) -> bool:
    """Set each alias that is not set yet; False if somebody without the lock moved one elsewhere: all are given up."""
    held = holders(client, moves[0].model)
    if any(held.get(move.alias) not in (move.from_version, move.to_version) for move in moves):
        write_history(home, "abandoned", identity, moves)
        return False
    for move in moves:
        if held.get(move.alias) == move.to_version:
            continue
        if move.to_version is None:
            client.delete_registered_model_alias(move.model, move.alias)
        else:
            client.set_registered_model_alias(move.model, move.alias, str(move.to_version))
    write_history(home, "done", identity, moves)
    return True


def settle(client: "MlflowClient", home: Path, model_name: str) -> None:
    """Finish what a killed process began. The caller holds the model's lock, so every open intent is an orphan."""
    lines, _ = read_journal(history_file(home))
    closed = {line["id"] for line in lines if line["kind"] != "intent"}
    for line in lines:
        if line["kind"] == "intent" and line["id"] not in closed and line["moves"][0]["model"] == model_name:
            moves = [Move.model_validate(move) for move in line["moves"]]
            targets = [move.to_version for move in moves if move.to_version is not None]
            if all(found_version(client, model_name, version) for version in targets):
                carry_out(client, home, line["id"], moves)
            else:  # deleted in MLflow meanwhile: nobody can hold an alias there
                write_history(home, "abandoned", line["id"], moves)


def check_version(client: "MlflowClient", model_name: str, version: int) -> dict[str, str]:
    """The tags of the version; GateError if it does not exist."""
    if (found := found_version(client, model_name, version)) is None:
        raise GateError(f"{model_name} has no version {version}; name one that is registered")
    return dict(found.tags)


def check_decision(decision: Manifest, model_name: str, version: int, tags: dict[str, str]) -> None:
    """Raises GateError unless the decision is positive and was made about the files of this version."""
    verdict = decision.details.get("decision")
    if decision.kind != "evaluate" or verdict != "promote":
        reason = "; ".join(decision.details.get("reasons", ())) or "no reason is recorded"
        raise GateError(
            f"{model_name} version {version} has decision={verdict!r} and only 'promote' can be promoted ({reason}); "
            "train a better candidate"
        )
    candidate = decision.inputs["candidate"].digest if "candidate" in decision.inputs else "none"
    if candidate != tags.get("digest"):
        raise GateError(
            f"the decision is about candidate {candidate[:12]} and {model_name} version {version} has digest "
            f"{tags.get('digest', 'none')[:12]}; evaluate that version and promote it by its own decision"
        )


def check_champion(decision: Manifest, model_name: str, current: int | None) -> None:
    """Raises ComparisonNeededError unless the candidate was compared with the version that is champion now."""
    if "champion" not in decision.details:
        raise GateError(f"the decision does not say which champion of {model_name} it was compared with; evaluate again")
    compared = champion_version(decision.details["champion"])
    if compared != current:
        raise ComparisonNeededError(
            f"the candidate was compared with {version_text(compared)} and {model_name}@{CHAMPION} is held by "
            f"{version_text(current)} now; evaluate it again, against that one"
        )


def champion_version(champion: Any) -> int | None:
    """The version in `details["champion"]`: a number, or the request's record of name, version, path and digest."""
    return champion["version"] if isinstance(champion, dict) else champion
