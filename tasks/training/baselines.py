"""What a classifier must be better than."""

import numpy as np


def majority_accuracy(train_labels: list[str], test_labels: list[str]) -> float:
    """Accuracy of always naming the most frequent training label (the first in the alphabet among equals)."""
    names, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(np.array(test_labels) == names[counts.argmax()]))


def tfidf_accuracy(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> float:
    """Test accuracy of logistic regression on TF-IDF of words and word pairs; (text, label) pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=50_000)
    model = make_pipeline(vectors, LogisticRegression(max_iter=200, C=10.0))
    model.fit([text for text, _ in train], [label for _, label in train])
    return float(model.score([text for text, _ in test], [label for _, label in test]))
