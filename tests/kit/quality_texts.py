"""Short texts that the published rules keep or drop, and what datatrove 0.10.1 with spaCy 3.8.18 says of them.

datatrove's filters had C4's published 3 sentences and 5 words a line, FineWeb's published 0.1 for repeated lines, and their own
defaults else.
"""

STORY = (
    "The old lighthouse stood at the end of a long stone pier, and nobody had lit its lamp for thirty years. "
    "Every evening a girl from the village walked out to it with her brother, to look at the ships that passed. "
    "They knew most of them by their sails. One night, when the wind came from the north, they saw a small boat "
    "that they had never seen before. It carried no light, and it was making straight for the rocks. "
    "So they climbed the stairs, found a box of dry matches, and lit the lamp themselves.\n\n"
    "The boat turned away in time. In the morning its owner came to thank them, with a basket of oranges."
)
WORDS = [
    "apple", "river", "stone", "cloud", "garden", "window", "lantern", "mountain", "bridge", "forest", "candle",
    "mirror", "silver", "orange", "meadow", "thunder", "paper", "ocean", "valley", "whisper", "shadow", "feather",
    "marble", "copper", "velvet", "hollow", "timber", "granite", "amber", "willow",
]  # fmt: skip


def numbered(count: int) -> str:
    """Sentences that differ from one another."""
    return "\n".join(
        f"The {WORDS[n % 30]} and the {WORDS[(n * 7 + n // 30) % 30]} have to be with that {WORDS[(n * 11 + 3) % 30]} of ours."
        for n in range(count)
    )


TEXTS = {
    "story": STORY,
    "numbered": numbered(12),
    "long": numbered(300),
    "short": "Only a few words stand here, and that is all there is to say.",
    "forty_nine_words": " ".join(STORY.split()[:49]),
    "fifty_words": " ".join(STORY.split()[:50]),
    "tiny_words": "I am at it to go up as he is in of my we do so or be by an " * 4,
    "huge_words": "the internationalization of counterrevolutionaries have characteristically deinstitutionalized a " * 8,
    "hashes": " ".join(f"#{word} the and of" for word in WORDS) + " #more #of #them.",
    "ellipses": "... ".join(STORY.split()),
    "dots": "… ".join(STORY.split()),
    "bullets": "\n".join(f"- the {a} and the {b} of {c}" for a, b, c in zip(WORDS, WORDS[7:], WORDS[13:], strict=False)),
    "ellipsis_lines": "\n".join(line + "..." for line in numbered(9).splitlines()),
    "no_stop_words": STORY.replace("the ", "a ").replace(" to ", " for ").replace(" of ", " in ").replace(" and ", " but ")
    .replace(" that ", " which ").replace(" with ", " by ").replace("The ", "A "),
    "numbers": " ".join(f"{n} of {n * n} and the {n + 1}," for n in range(60)),
    "repeated_lines": STORY + "\n" + "\n".join(["A line of this page that comes again and again."] * 12),
    "repeated_paragraphs": "\n\n".join([STORY.split("\n\n")[1]] * 4),
    "repeated_pair": "big sale " * 30 + STORY,
    "repeated_three": "buy it now " * 25 + STORY,
    "repeated_sentence": STORY.replace("\n\n", " ") + " They knew most of them by their sails, as they say." * 8,
    "curly": STORY + "\nThe function starts with a { that is never closed here.",
    "lorem": STORY + "\nThis is where the Lorem Ipsum of the designer still stands.",
    "javascript": "\n".join(f"You need JavaScript to read the page number {n} of it." for n in range(60)),
    "policies": "\n".join(f"This is the privacy policy for visitor number {n} of the site." for n in range(60)),
    "no_ends": STORY.replace(".", ","),
    "poem": "\n".join(f"The {a} of the {b}," for a, b in zip(WORDS, WORDS[5:], strict=False)) * 2,
    "menu": "\n".join(word.title() for word in WORDS * 2),
    "list": "\n".join(f"{word.title()} and {WORDS[-n]}." for n, word in enumerate(WORDS)) * 2,
    "one_line_twice": numbered(10) + "\n" + numbered(1),
    "half_twice": numbered(6) + "\n" + numbered(6),
    "cited": "\n".join(line + "[12]" for line in numbered(8).splitlines()),
    "french": "Le phare se trouvait au bout d'une longue jetée de pierre, et personne n'avait allumé sa lampe. " * 2
    + "Chaque soir une fille du village y allait avec son frère pour regarder passer les bateaux. Ils les connaissaient "
    + "presque tous par leurs voiles. Une nuit, ils virent un petit bateau qu'ils n'avaient jamais vu.",
}  # fmt: skip
VERDICTS = {
    "story": (None, None, None, None),
    "numbered": (None, "top_4_gram", None, None),
    "long": (None, "top_4_gram", None, None),
    "short": ("gopher_short_doc", "top_4_gram", "too_few_sentences", None),
    "forty_nine_words": ("gopher_short_doc", None, "too_few_sentences", "line_punct_ratio"),
    "fifty_words": (None, None, None, None),
    "tiny_words": ("gopher_below_avg_threshold", "top_4_gram", "too_few_sentences", "line_punct_ratio"),
    "huge_words": ("gopher_above_avg_threshold", "top_2_gram", "too_few_sentences", "line_punct_ratio"),
    "hashes": ("gopher_too_many_hashes", "top_2_gram", "too_few_sentences", None),
    "ellipses": ("gopher_too_many_ellipsis", None, "too_few_sentences", None),
    "dots": ("gopher_too_many_ellipsis", None, None, None),
    "bullets": ("gopher_too_many_bullets", None, "too_few_sentences", "line_punct_ratio"),
    "ellipsis_lines": ("gopher_too_many_end_ellipsis", "top_4_gram", "too_few_sentences", None),
    "no_stop_words": ("gopher_enough_stop_words", None, None, None),
    "numbers": ("gopher_below_avg_threshold", "top_2_gram", "too_few_sentences", "line_punct_ratio"),
    "repeated_lines": (None, "dup_line_frac", None, "char_dup_ratio"),
    "repeated_paragraphs": (None, "dup_para_frac", None, "char_dup_ratio"),
    "repeated_pair": (None, "top_2_gram", None, None),
    "repeated_three": (None, "top_3_gram", None, None),
    "repeated_sentence": (None, "duplicated_5_n_grams", None, None),
    "curly": (None, None, "curly_bracket", None),
    "lorem": (None, None, "lorem_ipsum", None),
    "javascript": (None, "top_3_gram", "too_few_sentences", None),
    "policies": (None, "top_4_gram", "too_few_sentences", None),
    "no_ends": (None, None, "too_few_sentences", "line_punct_ratio"),
    "poem": (None, "dup_line_frac", "too_few_sentences", "line_punct_ratio"),
    "menu": ("gopher_enough_stop_words", "dup_line_frac", "too_few_sentences", "line_punct_ratio"),
    "list": ("gopher_below_alpha_threshold", "dup_line_frac", "too_few_sentences", "short_line_ratio"),
    "one_line_twice": (None, "top_4_gram", None, None),
    "half_twice": (None, "dup_line_frac", None, "char_dup_ratio"),
    "cited": (None, "top_4_gram", None, "line_punct_ratio"),
    "french": ("gopher_enough_stop_words", "duplicated_5_n_grams", None, None),
}
"""For gopher_quality, gopher_repetition, c4 and fineweb: the reason to drop it, or None."""
