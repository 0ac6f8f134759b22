"""Floor 3.1, loads pyarrow: a document: its text, made clean, its digest, its words as hashed n-grams."""
