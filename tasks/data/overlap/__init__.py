"""Floor 3.2, loads numba, pyarrow: what occurs twice, or in a test set: equal and near-equal documents, paragraphs, n-grams."""
