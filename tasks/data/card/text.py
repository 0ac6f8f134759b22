"""Markdown for cards: tables, reports of any shape, and foreign text that stays text."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

EXAMPLE_CHARACTERS = 160
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&:@$]|(?<=www)\.)")
"""What Markdown, HTML and the recognition of addresses could take for more than text."""
NAME = re.compile(r"[\w.:/+-]+")
UNPRINTABLE = re.compile("[\x00-\x20\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\u3000\ufeff\ud800-\udfff]+")
"""Space, control characters, and marks that turn the direction of the text around them."""


def escaped(text: str) -> str:
    """Foreign text on one line in which nothing is markup, an address or the end of a table's cell."""
    return SPECIAL.sub(r"\\\1", UNPRINTABLE.sub(" ", text)).strip()


def excerpt(text: str) -> str:
    """The first EXAMPLE_CHARACTERS of a foreign text, escaped; a text of so many is taken for the beginning of a longer one."""
    return escaped(text[:EXAMPLE_CHARACTERS]) + ("…" if len(text) >= EXAMPLE_CHARACTERS else "")


def code(name: str) -> str:
    """A name as code where it can be that, else escaped."""
    return f"`{name}`" if NAME.fullmatch(name) else escaped(name)


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


def cell(value: Any) -> str:
    """A value of a report: counts with separators, shares and rates with four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escaped(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def report_blocks(report: Mapping[str, Any], title: str) -> Iterator[str]:
    """A report as tables: numbers first, then one table for each part that has parts itself."""
    numbers = {key: value for key, value in report.items() if not isinstance(value, Mapping)}
    if numbers:
        yield table([title, ""], [[code(key), cell(value)] for key, value in numbers.items()])
    for key, part in report.items():
        if isinstance(part, Mapping) and part:
            name = key.replace("_", " ")
            if all(isinstance(value, Mapping) for value in part.values()):
                yield table_of(name, part)
            else:
                yield from report_blocks(part, name)


def table_of(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each key, one column for each key of its values."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[code(name), *(cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    return table([title, *(column.replace("_", " ") for column in columns)], cells)


def share_lines(title: str, numbers: Mapping[str, int], noun: str = "documents") -> list[str]:
    """A table with the share of each; empty for none."""
    total = sum(numbers.values())
    rows = [[code(name), f"{number:,}", f"{number / max(1, total):.2%}"] for name, number in numbers.items()]
    return [table([title, noun, "share"], rows)] if rows else []


def most_first(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
