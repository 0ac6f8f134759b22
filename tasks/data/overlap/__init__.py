"""Floor 3.3, loads pyarrow: what occurs twice, or in a test set: equal and near-equal documents, paragraphs, n-grams."""
