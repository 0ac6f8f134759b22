"""What a classifier must be better than: what each baseline names for the test examples."""

from collections import Counter

import numpy as np


def majority_label(train_labels: list[str]) -> str:
    """The most frequent training label (the first in the alphabet among equals)."""
    names, counts = np.unique(train_labels, return_counts=True)
    return str(names[counts.argmax()])


def tfidf_labels(train: list[tuple[str, str]], test: list[str]) -> list[str] | None:
    """What logistic regression on TF-IDF of words and word pairs, fitted to (text, label) pairs, names for each test text.

    None where the training texts have no word in common, or one label only, and there is nothing to fit.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = zip(*train, strict=True)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=50_000)
    num_texts = Counter(word for words in map(vectors.build_analyzer(), texts) for word in set(words))
    if len(set(labels)) < 2 or max(num_texts.values(), default=0) < vectors.min_df:
        return None
    model = LogisticRegression(max_iter=200, C=10.0).fit(vectors.fit_transform(texts), labels)
    return [str(label) for label in model.predict(vectors.transform(test))]
