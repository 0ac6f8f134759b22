"""Formulas as plain text: `\\frac{a}{b^2} \\leq \\alpha` becomes `a/b^2 ≤ α`. What is not understood as a whole is left out.

Beyond the characters of Unicode nothing is laid out: powers and indices keep `^` and `_`, and parentheses say what they hold.
"""

import html
import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

FORMULA = re.compile(r"<math\b[^<>]*+(?<!/)>([^<]*+(?:<(?!/?math)[^<]*+)*+)</math\s*>")
"""It ends where another one begins, so that a text full of `<math>` is not searched to its end for each of them."""
LONGEST = 2000
"""Characters; a longer one is a block of its own."""


class Commands(NamedTuple):
    symbols: dict[str, str]
    """What they stand for."""
    names: frozenset[str]
    unseen: frozenset[str]
    of_text: frozenset[str]
    accents: dict[str, str]


@cache
def commands() -> Commands:
    """The commands of TeX that are understood, from `formulas.toml`."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    words = listed["symbols"].split()
    symbols = dict(zip(words[::2], words[1::2], strict=True)) | listed["spaces"]
    names, unseen, of_text = (frozenset(listed[name].split()) for name in ("names", "unseen", "of_text"))
    return Commands(symbols, names, unseen, of_text, listed["accents"])


TOKEN = re.compile(r"\\([a-zA-Z]+|.)|([{}^_&~])|(\s+)|([^\\{}^_&~\s]+)", re.DOTALL)
ATOM = re.compile(r"[+−-]?(?:\d[\d.]*|[^\W\d][\u0300-\u036f]?(?:_\w)?′*|∞|)|\*|\([^()]*\)")
ALONE = re.compile(r"(^|[=+−(,;≤≥<>≈-])(\s*)\(([\w.]+/[\w.]+)\)(?=\s*(?:[=+−),;:≤≥<>≈-]|\.\s|\.?$))")
"""A fraction with nothing beside it that it could be taken to go on with: it needs no parentheses."""


class NotUnderstood(Exception):
    """The formula has a command that is none of those above."""


def read_formulas(wikitext: str) -> str:
    """The wikitext with its formulas as plain text, where they are understood; the others stay, to be dropped as others are."""
    return FORMULA.sub(plain_or_same, wikitext)


def plain_or_same(found: re.Match[str]) -> str:
    text = "" if len(found[1]) > LONGEST or "\\begin" in found[1] else escaped(found[1])
    return f"<nowiki>{text}</nowiki>" if text else found[0]


@lru_cache(maxsize=1 << 12)
def escaped(tex: str) -> str:
    """The formula as wikitext, nothing if it is not understood; remembered, since many are a letter."""
    try:
        return html.escape(plain(html.unescape(tex)), quote=False)
    except (NotUnderstood, RecursionError):
        return ""


def plain(tex: str) -> str:
    """The formula as text; raises NotUnderstood."""
    tokens = [match.group() for match in TOKEN.finditer(re.sub(r"(?<!\\)%.*", "", tex)) if match.group()]
    text, at = read_until(tokens, 0, None)
    if at != len(tokens):
        raise NotUnderstood
    return ALONE.sub(r"\1\2\3", re.sub(r" (?=[\^_])", "", " ".join(text.split())))


def read_until(tokens: list[str], at: int, end: str | None) -> tuple[str, int]:
    """The text up to the token `end`, and the place after it."""
    parts: list[str] = []
    while at < len(tokens) and tokens[at] != end:
        if tokens[at] == "}":
            raise NotUnderstood
        if tokens[at] == "\\over":
            below, at = read_until(tokens, at + 1, end)
            return fraction("".join(parts), below), at
        text, at = read_one(tokens, at)
        if text.startswith("(") and parts and parts[-1][-1:].isalnum():
            text = " " + text  # A fraction after a number would make it another one.
        parts.append(text)
    if end is not None and at == len(tokens):
        raise NotUnderstood
    return "".join(parts), at + (end is not None)


def argument(tokens: list[str], at: int) -> tuple[str, int]:
    """A group, a command, or the first character of a word, which loses it."""
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    if at == len(tokens) or tokens[at] == "}":
        raise NotUnderstood
    if len(tokens[at]) > 1 and tokens[at][0] != "\\":
        tokens[at : at + 1] = [tokens[at][0], tokens[at][1:]]
    return read_one(tokens, at)


def read_one(tokens: list[str], at: int) -> tuple[str, int]:
    """The text of the token, with its arguments, and the place after it."""
    token = tokens[at]
    if token == "{":
        return read_until(tokens, at + 1, "}")
    if token in ("^", "_"):
        text, at = argument(tokens, at + 1)
        text = text.strip()
        return ("°" if text == "∘" and token == "^" else text if text == "′" else token + grouped(text)), at
    if token[0] != "\\":
        return (" " if token in ("~", "&") or token.isspace() else token), at + 1
    return read_command(token[1:], tokens, at + 1)


def read_command(name: str, tokens: list[str], at: int) -> tuple[str, int]:
    known = commands()
    if name in known.symbols:
        return known.symbols[name], at
    if name in known.names:
        return f" {name} ", at
    if name in known.unseen:
        return ("", at + 1) if name in ("left", "right") and at < len(tokens) and tokens[at] == "." else ("", at)
    if name in known.of_text or name in known.accents:
        text, at = argument(tokens, at)
        return (text + known.accents[name] if name in known.accents and len(text) == 1 else text), at
    if name in ("frac", "dfrac", "tfrac", "cfrac"):
        above, at = argument(tokens, at)
        below, at = argument(tokens, at)
        return fraction(above, below), at
    if name in ("binom", "tbinom", "dbinom"):
        above, at = argument(tokens, at)
        below, at = argument(tokens, at)
        return f"C({above}, {below})", at
    if name == "sqrt":
        degree = ""
        if at < len(tokens) and tokens[at].startswith("["):
            degree, closed, rest = tokens[at][1:].partition("]")
            if not closed or not degree.isalnum():
                raise NotUnderstood
            tokens[at : at + 1] = [rest] if rest else []
        text, at = argument(tokens, at)
        return f"{'^' + degree if degree else ''}√{grouped(text)}", at
    if name in ("pmod", "pod"):
        text, at = argument(tokens, at)
        return f" (mod {text})", at
    if name == "not" and at < len(tokens) and tokens[at] in ("=", "\\in"):
        return ("≠" if tokens[at] == "=" else "∉"), at + 1
    raise NotUnderstood


def fraction(above: str, below: str) -> str:
    return f"({grouped(above)}/{grouped(below)})"


def grouped(text: str) -> str:
    """In parentheses if it is more than one name or number."""
    text = text.strip()
    return text if ATOM.fullmatch(text) else f"({text})"
