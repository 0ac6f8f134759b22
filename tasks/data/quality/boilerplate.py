"""Lines that are no text: cookie notices, navigation, sharing buttons, separators; beside that, C4's choice of lines."""

import re

import numpy as np

from tasks.data.quality.lines import KEEP, C4Limits, c4_verdicts, line_tables
from tasks.data.quality.phrases import PhraseTable, phrase_table, phrases_in
from tasks.data.quality.rules import C4

NOTICE_WORDS = 25
"""A line with a notice is removed if it has no more words: an article about cookies has longer ones."""
NOTICES = (
    "cookie policy", "cookie settings", "uses cookies", "use of cookies", "use cookies", "accept cookies", "accept all cookies",
    "privacy policy", "terms of use", "terms of service", "terms and conditions", "all rights reserved",
    "enable javascript", "javascript is disabled", "javascript is not enabled", "requires javascript", "javascript is required",
)  # fmt: skip
"""C4's policy phrases (TensorFlow Datasets, `c4_utils`) and others of their kind."""
BUTTON_WORDS = 10
"""A longer line is no button (Penedo et al. 2023, "The RefinedWeb Dataset", appendix G.2)."""
BUTTON_STARTS = (
    "sign in", "sign-in", "sign up", "log in", "login", "register now", "skip to", "jump to navigation", "toggle navigation",
    "back to top", "share on", "share this", "share via", "share to", "tweet this", "follow us", "like us on", "find us on",
    "click here", "add to cart", "view cart", "subscribe to", "leave a comment", "leave a reply", "post a comment",
    "previous post", "next post", "print this page", "powered by", "filed under", "posted in", "copyright ©", "© copyright",
)  # fmt: skip
BUTTON_ENDS = (
    "read more",
    "continue reading",
    "click to enlarge",
    "view all comments",
    "sign up for our newsletter",
    "report abuse",
)
BUTTON_PARTS = (
    "items in cart",
    "item in cart",
    "shopping cart",
    "share on facebook",
    "share on twitter",
    "on facebook on twitter",
)
"""Where the words stand in a line decides, as in RefinedWeb's appendix G.2."""
WORDLESS = re.compile(
    r"""^[ \t]*(?:
        ([^\w\s`])(?:[ \t]*\1){2,}                                # "* * *", but not the "```" of code
        | \(?\d[\d.,]*[kKmM]?\+? [ ] (?i:likes?|shares?|comments?|views?|followers|repl(?:y|ies)|votes?)\)?
    )[ \t]*$""",
    re.MULTILINE | re.VERBOSE,
)
"""A line of three or more of the same symbol, or a counter such as "12 comments" (RefinedWeb, appendix G.2)."""
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
"""What C4 takes out of the lines that it keeps."""
NOTICE, BUTTON = 1, 2
PHRASES: PhraseTable = phrase_table(
    dict.fromkeys(NOTICES, NOTICE) | dict.fromkeys((*BUTTON_STARTS, *BUTTON_ENDS, *BUTTON_PARTS), BUTTON)
)


def remove_boilerplate(text: str) -> tuple[str, int]:
    """`text` without the lines of boilerplate, and how many those were; for cleaned text, which stays clean."""
    if not bits_of(text) and not WORDLESS.search(text):
        return text, 0
    lines = text.split("\n")
    kept = [line for line in lines if not is_boilerplate(line)]
    if len(kept) == len(lines):
        return text, 0
    return re.sub("\n{4,}", "\n\n\n", "\n".join(kept)).strip(), len(lines) - len(kept)


def is_boilerplate(line: str) -> bool:
    bits = bits_of(line)
    if not bits:
        return WORDLESS.fullmatch(line) is not None
    words = len(line.split())
    if bits & NOTICE and words <= NOTICE_WORDS:
        return True
    bare = line.strip(" \t-–—•|»«›‹>*:.…!").lower()
    return words <= BUTTON_WORDS and (
        bare.startswith(BUTTON_STARTS) or bare.endswith(BUTTON_ENDS) or any(part in bare for part in BUTTON_PARTS)
    )


def bits_of(text: str) -> int:
    """Which kinds of PHRASES occur in `text`."""
    return phrases_in(np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8), PHRASES)


def keep_c4_lines(
    text: str, min_words: int = C4.min_words_per_line, max_characters: int = C4.max_characters_per_word
) -> tuple[str, int]:
    """`text` with only the lines that C4 keeps (see `C4`), without their citations, and how many characters that cut.

    Blank lines go too, and so do headings and verse: this is for web pages.
    """
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    verdicts = c4_verdicts(data, line_tables(), C4Limits(min_words, max_characters))
    lines = zip(text.split("\n"), verdicts.tolist(), strict=True)
    kept = CITATION.sub("", "\n".join([line.strip() for line, verdict in lines if verdict == KEEP]))
    return kept, len(text) - len(kept)
