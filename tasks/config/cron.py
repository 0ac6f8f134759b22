"""Cron expressions of five fields: refused where a scheduler would not understand them, or would never fire."""

import re

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
UNITS = {"minute": (0, 59), "hour": (0, 23), "day of month": (1, 31), "month": (1, 12), "day of week": (0, 7)}
"""The fields in their order, with the smallest and the largest number; 0 and 7 are both Sunday."""
NAMES = {"month": dict(zip(MONTHS, range(1, 13), strict=True)), "day of week": dict(zip(WEEKDAYS, range(7), strict=True))}
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of each month in a leap year."""
ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?")


def check_cron(field: str, cron: str) -> None:
    """Raises ValueError unless `cron` is minute, hour, day of month, month, day of week, and there is a day that it means."""
    parts = cron.lower().split()
    if len(parts) != len(UNITS):
        raise ValueError(
            f"{field}={cron!r} has {len(parts)} fields and needs five: {', '.join(UNITS)}; `0 3 * * 1` is Mondays at 3:00"
        )
    try:
        meant = {unit: values(unit, part) for unit, part in zip(UNITS, parts, strict=True)}
    except ValueError as error:
        raise ValueError(f"{field}={cron!r}: {error}") from None
    longest = max(LONGEST[month - 1] for month in meant["month"])
    if (first := min(meant["day of month"])) > longest:
        raise ValueError(
            f"{field}={cron!r} never fires, since no month in it has a day {first}; name a day up to {longest}, or other months"
        )


def values(unit: str, part: str) -> set[int]:
    """What one field stands for: `*`, numbers, names, ranges a-b, steps /n, and lists of these. Raises ValueError."""
    low, high = UNITS[unit]
    found: set[int] = set()
    for item in part.split(","):
        match = ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{unit} {item!r} is none of *, a number, a range such as 1-5 and a step such as */15; write one")
        first = low if match["first"] is None else number(unit, match["first"])
        alone = match["first"] is not None and match["last"] is None and match["step"] is None
        last = number(unit, match["last"]) if match["last"] else first if alone else high
        step = int(match["step"] or 1)
        if first > last or step == 0:
            raise ValueError(f"{unit} {item!r} is empty; a range goes upwards, and a step is 1 or more")
        found |= set(range(first, last + 1, step))
    return found


def number(unit: str, word: str) -> int:
    """A number, or the English name of a month or day. Raises ValueError."""
    low, high = UNITS[unit]
    value = int(word) if word.isascii() and word.isdigit() else NAMES.get(unit, {}).get(word, -1)
    if not low <= value <= high:
        names = f" or {'|'.join(NAMES[unit])}" if unit in NAMES else ""
        raise ValueError(f"{unit} {word!r} is not one; use {low} to {high}{names}")
    return value
