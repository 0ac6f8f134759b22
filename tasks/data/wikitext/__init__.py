"""Floor 3.1, loads numba: from a page's wikitext to prose; the one door is `convert.wikitext_to_text`."""
