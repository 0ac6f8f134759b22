"""What a finished preparation hands to its card: two sources, one of everything that can be dropped."""

import copy
from typing import Any

from tasks.config.config import Config
from tasks.data.inputs.request import prepare_request
from tasks.record.manifest import Input, Request

DATA = {
    "name": "mixed",
    "source": "mediawiki",
    "path": "dump.xml",
    "heldout_fraction": 0.1,
    "min_characters": 20,
    "mixture": [{"name": "novels", "source": "text", "path": "novels"}],
    "quality": {"filters": ["gopher_quality"], "thresholds": {"gopher_quality.min_words": 10}, "languages": ["en"]},
    "duplicates": {"against": ["earlier"], "paragraphs": True},
    "decontamination": {"evaluations": [{"name": "quiz", "path": "quiz.jsonl"}]},
}
SOURCE = {
    "sources": [{"files": 2, "bytes": 4096, "sha256": "a" * 64}, {"files": 90, "bytes": 123456, "sha256": "b" * 64}],
    "evaluations": [{"files": 1, "bytes": 77, "sha256": "e" * 64}],
}
METRICS = {
    "vocab_size": 300, "read_documents": 1015, "kept_documents": 1000, "dropped_documents": 12, "quarantined_documents": 3,
    "bytes_per_token": 3.9, "token_bytes_error": 0.0, "heldout_overlap": 0.0125,
    "train_documents": 900, "train_characters": 90_000, "train_bytes": 91_000, "train_tokens": 23_000,
    "heldout_documents": 100, "heldout_characters": 10_000, "heldout_bytes": 10_100, "heldout_tokens": 2_600,
}  # fmt: skip
DETAILS = {
    "dtype": "uint16", "end_of_text_id": 0, "end_of_text": "<|endoftext|>", "token_bytes": "exact",
    "sources": [
        {"name": "mixed", "documents": 700, "tokens": 20_000, "shards": {}},
        {"name": "novels", "documents": 300, "tokens": 5_600, "shards": {}},
    ],
    "dropped": {"contaminated.quiz": 1, "duplicate": 4, "empty": 1, "gopher_quality.min_words": 4, "near_duplicate": 2},
    "quarantined": {"invalid_utf8": 3},
    "changes": {"boilerplate_lines": 7},
    "templates": {"number": 1200, "inside": 30, "names": {"foo": [31, 30], "infobox": [1000, 0]}},
    "contamination": {"quiz": {"documents": 1, "ngrams": 2}},
    "languages": {"": 936, "en": 60, "und": 4},
    "lengths": {"5": 100, "10": 900},
    "duplicates": {
        "documents": 1007, "exact": 5, "near": 2, "of_references": 1, "unsettled": 0, "cluster_sizes": {"2": 5, "3-4": 1},
        "examples": [], "first_numbers": [0, 500],
    },
    "source": SOURCE,
    "passed_over": {
        "mixed": [],
        "novels": [
            {"reason": "hidden", "number": 1, "names": [".git/"]},
            {"reason": "its ending | is none", "number": 23, "names": ["notes on `b`.doc", "c.doc"]},
        ],
    },
}  # fmt: skip
EXAMPLES = {
    "gopher_quality.min_words": [
        {"where": "a.xml page '[[Stub]]'", "beginning": "Too short | `by` far."},
        *({"where": f"a.xml page {n}", "beginning": n} for n in ("two", "three", "four")),
    ],
    "empty": [{"where": "b.txt", "beginning": "<script>"}],
    "near_duplicate": [{"where": "c.txt", "duplicate_of": "b.txt line 2", "jaccard": 0.95}],
}
REPORT = {"bytes_per_token": 3.9, "language": {"en": {"tokens_per_word": 1.31, "documents": 990}}}


def described(**data: Any) -> Request:
    config = Config.model_validate({"data": DATA | data, "tokenizer": {"vocab_size": 300}})
    earlier = {"against-00": Input(path="/elsewhere/datasets/earlier-1", digest="f" * 64)}
    return prepare_request(config, SOURCE, None, earlier)


def details(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(DETAILS) | changes
