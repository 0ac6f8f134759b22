"""How many test examples occur in the training examples, measured on the data."""

from collections.abc import Sequence

import numpy as np

from tasks.data.documents.cleaning import clean, text_digest
from tasks.data.documents.ngrams import text_buffers
from tasks.data.overlap.decontamination import ContaminationIndex, batches_of
from tasks.data.tokens.examples import Example


def leaked(train: Sequence[Example], test: Sequence[Example]) -> tuple[int, int]:
    """Test examples whose text, or prompt, is in training too once both are normalised; and others that nearly are.

    Near is what decontamination of pre-training text calls so: 13 words in a row in common, whatever case and punctuation.
    """
    trained = {text_digest(clean(asked(example))) for example in train}
    exact = np.array([text_digest(clean(asked(example))) in trained for example in test], dtype=np.bool_)
    index = ContaminationIndex.build({"test": [whole(example) for example in test]})
    near = np.zeros(len(test), dtype=np.bool_)
    for texts in batches_of(whole(example) for example in train):
        near |= index.check(*text_buffers(texts)).touched
    return int(exact.sum()), int((near & ~exact).sum())


def asked(example: Example) -> str:
    """What the model is given."""
    return example["text"] if "text" in example else example["prompt"]


def whole(example: Example) -> str:
    """All text of an example, what is given and what is wanted, but for a label."""
    return example["text"] if "text" in example else f"{example['prompt']}\n{example['answer']}"
