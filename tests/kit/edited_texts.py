"""Texts with known degrees of likeness, and the answer that comparing every pair with every other gives."""

import hashlib

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from tasks.data.documents.document import Document, DocumentWriter
from tasks.data.documents.ngrams import ngram_hashes, text_buffers


def edited(text, share, rng, vocabulary):
    """`text` with this share of its words replaced, dropped or doubled."""
    words = text.split(" ")
    out = []
    for word, dice, kind in zip(words, rng.random(len(words)), rng.integers(0, 3, len(words)), strict=True):
        if dice >= share:
            out.append(word)
        elif kind == 0:
            out.append(vocabulary[rng.integers(len(vocabulary))])
        elif kind == 1:
            out += [word, vocabulary[rng.integers(len(vocabulary))]]
    return " ".join(out)


def edited_collection(texts, num_documents, seed=0):
    """A third originals, then edits of them (some of edits) from none to a tenth of their words, in a shuffled order."""
    rng = np.random.default_rng(seed)
    vocabulary = sorted({word for text in texts[:300] for word in text.split(" ")})
    found = list(texts[: num_documents // 3])
    while len(found) < num_documents:
        source = found[rng.integers(len(found))]
        share = rng.choice([0.0, 0.004, 0.01, 0.02, 0.03, 0.05, 0.1])
        found.append(edited(source, share, rng, vocabulary))
    return [found[index] for index in rng.permutation(num_documents)]


def all_similarities(texts, n):
    """Jaccard similarity of every pair of documents, (documents, documents), from one sparse matrix product."""
    hashes, starts = ngram_hashes(*text_buffers(pa.array(texts, pa.large_string())), n)
    _, columns = np.unique(hashes, return_inverse=True)
    rows = np.repeat(np.arange(len(texts)), np.diff(starts))
    sets = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), columns.max() + 1))
    sets.data[:] = 1
    shared = (sets @ sets.T).toarray().astype(np.float64)
    sizes = np.diff(sets.indptr)
    union = sizes[:, None] + sizes[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def dropped_by_leader_rule(alike, num_references=0):
    """Which documents have an earlier kept one that they are alike to, from the whole matrix."""
    kept = np.zeros(len(alike), dtype=bool)
    for number in range(len(alike)):
        kept[number] = number < num_references or not (alike[number, :number] & kept[:number]).any()
    return ~kept


def write_documents(path, texts, name="page"):
    writer = DocumentWriter(path)
    for number, text in enumerate(texts):
        writer.add(Document(text, f"{name} {number}", "en", hashlib.sha256(text.encode()).digest()))
    writer.close()
    return path
