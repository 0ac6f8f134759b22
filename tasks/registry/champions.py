"""Who was champion before whom, from the moves of the alias: what a rollback goes back to. Pure."""

from collections.abc import Mapping, Sequence

from tasks.record.errors import GateError
from tasks.registry.records import Move, version_text
from tasks.registry.status import CHAMPION


def earlier_champions(moves: Sequence[Move], numbers: Mapping[int, int], current: int | None) -> list[int]:
    """The champions before the current one, oldest first. `numbers` leads from a number that a version had to its number now.

    A promotion has a blessing or was forced. A move without either, to a version that was champion before, went back to it, and
    those after it are champions no more.
    """
    line: list[int] = []
    for move in moves:
        if move.alias != CHAMPION or move.to_version is None:
            continue
        version = numbers.get(move.to_version, move.to_version)
        if version in line and move.blessing is None and not move.forced:
            del line[last_place(line, version) + 1 :]
        elif line[-1:] != [version]:
            line.append(version)
    return line[: last_place(line, current)] if current in line else line


def last_place(line: Sequence[int], version: int | None) -> int:
    """Index of the last one that is the version; there is one."""
    return max(place for place, one in enumerate(line) if one == version)


def rollback_target(model_name: str, current: int | None, line: Sequence[int], there: Sequence[int], to: int | None) -> int:
    """Which version becomes champion again: the last earlier one that is still there, or `to`, if it is one of them.

    `line` are all earlier champions, `there` those that MLflow still has. Raises GateError where there is none such.
    """
    before = f"before {version_text(current)}" if current is not None else "so far"
    if to is not None and to == current:
        raise GateError(f"{model_name} version {to} is the champion already; name an earlier one, or leave --to out")
    if to is not None and to in there:
        return to
    if to is None and there:
        return there[-1]
    gone = [version_text(version) for version in dict.fromkeys(line) if version not in there]
    deleted = f" that is still there: {', '.join(gone)} was deleted in MLflow" if gone else ""
    if to is None:
        raise GateError(f"{model_name} had no champion {before}{deleted}; there is nothing to roll back to, promote a version")
    known = ", ".join(str(version) for version in dict.fromkeys(there)) or "none"
    raise GateError(f"{model_name} version {to} is no champion {before}{deleted}; there are: {known}")
