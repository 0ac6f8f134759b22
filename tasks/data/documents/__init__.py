"""Floor 3, loads numba, pyarrow: a document: its text, made clean, its digest, its words as hashed n-grams."""
