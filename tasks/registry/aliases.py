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

from tasks.record.errors import ConfigError, GateError
from tasks.record.journal import Journal, read_journal
from tasks.record.manifest import Manifest, Record
from tasks.registry.store import locked, make_private
from tasks.registry.tracking import answering, connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
MIRRORED_MOVES, MIRRORED_CHARACTERS = 20, 4900


class Move(Record):
    """One alias passed from one version to another."""

    model: str
    alias: str
    from_version: int | None
    to_version: int
    reason: str
    by: str
    time: str


@contextmanager
def model_locked(home: Path, model_name: str) -> Iterator[None]:
    """One writer of a registered model at a time, over all processes of this home. Not re-entrant."""
    if not MODEL_NAME.fullmatch(model_name):
        raise ConfigError(f"registry.model_name={model_name!r} is no name for a model; use letters, digits and . _ - only")
    with locked(home / "registry" / f"{model_name}.lock"):
        yield


def history_file(home: Path) -> Path:
    return home / "registry" / "aliases.jsonl"


def history(home: Path, model_name: str) -> list[Move]:
    """Every finished move of the model's aliases, oldest first. Reads only the local record."""
    lines, _ = read_journal(history_file(home))
    return [
        Move.model_validate(move)
        for line in lines
        if line["kind"] == "done"
        for move in line["moves"]
        if move["model"] == model_name
    ]


def holders(client: "MlflowClient", model_name: str) -> dict[str, int]:
    """Alias to version; empty for a model that does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: int(version) for alias, version in client.get_registered_model(model_name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def move_alias(home: Path, model_name: str, alias: str, to_version: int, expected: int | None, reason: str, by: str) -> Move:
    """Give the alias to `to_version` if `expected` holds it now (None: nobody does); otherwise GateError, and nothing moves."""
    with model_locked(home, model_name):
        client = connect(home)
        with answering(home, f"moving {alias} of {model_name}"):
            settle(client, home, model_name)
            current = holders(client, model_name).get(alias)
            if current != expected:
                raise GateError(
                    f"{model_name}@{alias} is held by {version_text(current)} and not, as expected, by "
                    f"{version_text(expected)}; somebody else moved it, look again before moving it"
                )
            check_version(client, model_name, to_version)
            return apply_moves(client, home, [new_move(model_name, alias, current, to_version, reason, by)])[0]


def promote(
    home: Path, model_name: str, version: int, decision: Manifest, *, reason: str | None = None, by: str = "pretune"
) -> Move:
    """Make the version champion, and the champion of now `previous`; returns the champion's move.

    Raises GateError unless the decision is positive, was made about these very weights, and compared them with the version
    that is champion now. A promotion that was already carried out is returned again.
    """
    with model_locked(home, model_name):
        client = connect(home)
        with answering(home, f"promoting {model_name} version {version}"):
            settle(client, home, model_name)
            current = holders(client, model_name).get(CHAMPION)
            check_decision(decision, model_name, version, check_version(client, model_name, version))
            if current == version:
                earlier = [m for m in history(home, model_name) if m.alias == CHAMPION and m.to_version == version]
                return (
                    earlier[-1] if earlier else new_move(model_name, CHAMPION, None, version, "set in MLflow itself", "unknown")
                )
            check_champion(decision, model_name, current)
            why = reason or "; ".join(decision.details.get("reasons", ())) or "positive decision of the gate"
            moves = [new_move(model_name, CHAMPION, current, version, why, by)]
            if current is not None:
                before = holders(client, model_name).get(PREVIOUS)
                moves.append(new_move(model_name, PREVIOUS, before, current, f"replaced as champion by version {version}", by))
            return apply_moves(client, home, moves)[0]


def rollback(home: Path, model_name: str, *, reason: str = "rollback", by: str = "pretune") -> Move:
    """Give `champion` back to the version that `previous` names, in one move; GateError if there is none to go back to."""
    with model_locked(home, model_name):
        client = connect(home)
        with answering(home, f"rolling {model_name} back"):
            settle(client, home, model_name)
            held = holders(client, model_name)
            if PREVIOUS not in held:
                raise GateError(
                    f"{model_name}@{PREVIOUS} is held by no version; there is nothing to roll back to, promote a version"
                )
            if held.get(CHAMPION) == held[PREVIOUS]:
                raise GateError(
                    f"{model_name}@{CHAMPION} is version {held[PREVIOUS]} and so is {PREVIOUS}; it was rolled back already, "
                    "promote another version"
                )
            return apply_moves(client, home, [new_move(model_name, CHAMPION, held.get(CHAMPION), held[PREVIOUS], reason, by)])[
                0
            ]


def advance(client: "MlflowClient", home: Path, model_name: str, alias: str, version: int, reason: str, by: str) -> None:
    """Give the alias to a newer version; one that is held by this or a later version stays. The caller holds the lock."""
    current = holders(client, model_name).get(alias)
    if current is None or current < version:
        apply_moves(client, home, [new_move(model_name, alias, current, version, reason, by)])


def new_move(model: str, alias: str, current: int | None, version: int, reason: str, by: str) -> Move:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Move(model=model, alias=alias, from_version=current, to_version=version, reason=reason, by=by, time=now)


def apply_moves(client: "MlflowClient", home: Path, moves: list[Move]) -> list[Move]:
    """Carry out moves that belong together: intent on disk, aliases, mirror, confirmation. The caller holds the lock."""
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
        if held.get(move.alias) != move.to_version:
            client.set_registered_model_alias(move.model, move.alias, str(move.to_version))
    mirror(client, home, moves)
    write_history(home, "done", identity, moves)
    return True


def settle(client: "MlflowClient", home: Path, model_name: str) -> None:
    """Finish what a killed process began. The caller holds the model's lock, so every open intent is an orphan."""
    lines, _ = read_journal(history_file(home))
    closed = {line["id"] for line in lines if line["kind"] != "intent"}
    for line in lines:
        if line["kind"] == "intent" and line["id"] not in closed and line["moves"][0]["model"] == model_name:
            carry_out(client, home, line["id"], [Move.model_validate(move) for move in line["moves"]])


def write_history(home: Path, kind: str, identity: str, moves: Sequence[Move]) -> None:
    make_private(history_file(home).parent)
    journal = Journal(history_file(home), attempt=0)
    try:
        journal.append(kind, durable=True, id=identity, moves=[move.model_dump(mode="json") for move in moves])
    finally:
        journal.close()


def mirror(client: "MlflowClient", home: Path, moves: Sequence[Move]) -> None:
    """Show the last moves of each alias as a tag of the registered model, newest first."""
    for move in moves:
        earlier = [m for m in history(home, move.model) if m.alias == move.alias]
        lines = [describe(m) for m in reversed([*earlier, move][-MIRRORED_MOVES:])]
        client.set_registered_model_tag(move.model, f"history.{move.alias}", "\n".join(lines)[:MIRRORED_CHARACTERS])


def describe(move: Move) -> str:
    """`2030-01-31T12:00:00+00:00 champion: version 1 -> version 2 by pretune: reason`."""
    return (
        f"{move.time} {move.alias}: {version_text(move.from_version)} -> version {move.to_version} by {move.by}: {move.reason}"
    )


def version_text(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"


def check_version(client: "MlflowClient", model_name: str, version: int) -> dict[str, str]:
    """The tags of the version; GateError if it does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_model_version(model_name, str(version)).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise GateError(f"{model_name} has no version {version}; name one that is registered") from None


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
    """Raises GateError unless the candidate was compared with the version that is champion now."""
    if "champion" not in decision.details:
        raise GateError(f"the decision does not say which champion of {model_name} it was compared with; evaluate again")
    compared = champion_version(decision.details["champion"])
    if compared != current:
        raise GateError(
            f"the candidate was compared with {version_text(compared)} and {model_name}@{CHAMPION} is held by "
            f"{version_text(current)} now; evaluate it again, against that one"
        )


def champion_version(champion: Any) -> int | None:
    """The version in `details["champion"]`: a number, or the request's record of name, version, path and digest."""
    return champion["version"] if isinstance(champion, dict) else champion
