"""Floor 6, loads no library: questions after the fact: who made what from what, and whether it is so."""
