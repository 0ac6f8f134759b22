"""The card of a model version, as Markdown: what it is, why it may be called so, what made it, how to load it. Pure.

MLflow keeps a description of at most 5000 characters, in which a picture of a curve (tens of kilobytes as a data: URI) has no
room. So the whole card lies as README.md beside the model's files, and the description is the card without its picture.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.card.card import source_lines
from tasks.record.manifest import Manifest

MAX_DESCRIPTION = 5000
NOTE_ROOM = 200
EXPENDABLE = ("\n## Training", "\n## Made with")
BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 60
PICTURE = "![Loss curve](data:image/png;base64,"
MEANINGS = {
    "pretraining": "A milestone of a pre-training that goes on.",
    "converged": "The model at the step where further training was judged not to be worth it.",
    "pretrained": "A pre-trained model: converged, and its learning rate decayed.",
    "candidate": "A fine-tuned model that waits for the decision of the gate.",
}
LOADING = {
    "classification": ("AutoModelForSequenceClassification", "a text to classify"),
    "causal": ("AutoModelForCausalLM", "a text to continue"),
}


def model_card(
    *,
    name: str,
    label: str,
    manifest: Manifest,
    dataset_manifest: Manifest | None,
    verdict: Mapping[str, Any] | None,
    curve_png: bytes | None,
    lineage: Sequence[str],
    links: Mapping[str, str],
    settings: Mapping[str, Any] | None = None,
    curve: Sequence[float | None] = (),
) -> str:
    """The whole card.

    `verdict` has `verdict` and `reason`; `lineage` is one line per ancestor, nearest first; `links` is title to address;
    `settings` are the training settings, flat; `curve` holds the measured losses in order, drawn as text.
    """
    sections = [
        f"# {name}: {label}\n\n{MEANINGS.get(label, 'A model version.')}\n\n" + summary(manifest, verdict),
        section("Verdict", verdict_text(verdict)),
        section("Metrics", table(("metric", "value"), [(k, number(v)) for k, v in sorted(manifest.metrics.items())])),
        section("Loss", curve_text(curve)),
        section("Data", data_text(dataset_manifest)),
        section("Training", table(("setting", "value"), [(k, cell(v)) for k, v in sorted((settings or {}).items())])),
        section("Lineage", "\n".join(f"- {line}" for line in lineage) or "Trained from scratch; it has no parent."),
        section("How to load it", loading(manifest)),
        section("Links", "\n".join(link(title, address) for title, address in links.items())),
        section("Made with", made_with(manifest)),
    ]
    if curve_png:
        sections.append(section("Loss curve", f"{PICTURE}{base64.b64encode(curve_png).decode()})"))
    return "\n".join(text for text in sections if text)


def card_description(card: str, limit: int = MAX_DESCRIPTION) -> str:
    """The card without its picture and, if it is still too long, without whole sections, the training settings first."""
    parts = [part if number == 0 else f"\n## {part}" for number, part in enumerate(card.split("\n## "))]
    room = limit - NOTE_ROOM
    kept: set[int] = set()
    for number in sorted(range(len(parts)), key=lambda n: parts[n].startswith(EXPENDABLE)):
        if PICTURE not in parts[number] and len(parts[number]) <= room:
            kept.add(number)
            room -= len(parts[number])
    left_out = [part.split("\n")[1].removeprefix("## ") for number, part in enumerate(parts) if number not in kept]
    note = f"\n\n*In README.md beside the model's files: {', '.join(left_out)}.*" if left_out else ""
    return ("".join(part for number, part in enumerate(parts) if number in kept).strip() + note)[:limit]


def summary(manifest: Manifest, verdict: Mapping[str, Any] | None) -> str:
    """The table at the top: the numbers a person looks for first."""
    heldout = manifest.metrics.get("heldout_loss")
    bits = manifest.metrics.get("bits_per_byte")
    rows = [
        ("digest", f"`{manifest.digest}`"),
        ("step", count(manifest.step)),
        ("tokens seen", count(manifest.tokens_seen)),
        ("parameters", count(manifest.metrics.get("num_parameters"))),
        ("held-out loss (nats/token)", number(heldout)),
        ("bits per byte", number(bits)),
        ("verdict", cell((verdict or {}).get("verdict"))),
        ("made at", manifest.created_at),
    ]
    return table(("", ""), [row for row in rows if row[1]])


def verdict_text(verdict: Mapping[str, Any] | None) -> str:
    if not verdict:
        return ""
    return f"**{verdict.get('verdict', 'none')}**: {verdict.get('reason', 'no reason was recorded')}"


def curve_text(curve: Sequence[float | None]) -> str:
    known = [value for value in curve if value is not None]
    if not known:
        return ""
    return f"`{sparkline(curve)}`\n\nfrom {number(known[0])} to {number(known[-1])}, lowest {number(min(known))}"


def data_text(dataset: Manifest | None) -> str:
    """Sources, licences and sizes from the data set's manifest."""
    if dataset is None:
        return ""
    identity = dataset.details.get("source") or {}
    sources = identity.get("sources", [identity] if identity else [])
    names = [f"`{source['name']}`: " for source in dataset.details.get("sources", ())]
    texts = [" ".join(source_lines(kind_of(one), one, "cleaned and tokenised")[2:]) for one in sources]
    if len(texts) > 1:
        texts = [f"- {name}{text}" for name, text in zip(names + [""] * (len(texts) - len(names)), texts, strict=True)]
    numbers = [(key, count(value)) for key, value in sorted(dataset.metrics.items()) if value is not None]
    text = "\n".join(texts)
    return f"{text}\n\n".lstrip() + table(("", ""), [("digest", f"`{dataset.digest}`"), *numbers])


def kind_of(identity: Mapping[str, Any]) -> str:
    return "sample" if "sample" in identity else "local"


def loading(manifest: Manifest) -> str:
    """Python that loads the model with transformers alone."""
    kind = "classification" if manifest.details.get("kind") == "classification" or "labels" in manifest.details else "causal"
    model_class, text = LOADING[kind]
    return (
        "```python\n"
        f"from transformers import AutoTokenizer, {model_class}\n\n"
        'folder = "..."  # the tag `path` of this version\n'
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f"model = {model_class}.from_pretrained(folder)\n"
        f'output = model(**tokenizer("{text}", return_tensors="pt"))\n'
        "```"
    )


def made_with(manifest: Manifest) -> str:
    environment = manifest.environment
    hardware = ", ".join(f"{key} {value}" for key, value in environment.get("hardware", {}).items() if value is not None)
    rows = [
        ("commit", cell(environment.get("commit"))),
        ("python", cell(environment.get("python"))),
        ("hardware", cell(hardware)),
    ]
    rows += [(library, cell(version)) for library, version in environment.get("versions", {}).items()]
    return table(("", ""), [row for row in rows if row[1]])


def sparkline(values: Sequence[float | None], width: int = SPARKLINE_WIDTH) -> str:
    """The values as a line of bars, lowest to highest; averaged to at most `width` bars, a space where none is known."""
    size = max(1, -(-len(values) // width))
    groups = [[v for v in values[i : i + size] if v is not None] for i in range(0, len(values), size)]
    means = [sum(group) / len(group) if group else None for group in groups]
    known = [mean for mean in means if mean is not None]
    if not known:
        return " " * len(means)
    low, span = min(known), max(known) - min(known)
    top = len(BARS) - 1
    return "".join(" " if mean is None else BARS[round((mean - low) / span * top) if span else 0] for mean in means)


def section(title: str, body: str) -> str:
    return f"\n## {title}\n\n{body}\n" if body else ""


def table(header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join([f"| {header[0]} | {header[1]} |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])


def link(title: str, address: str) -> str:
    """A list item: a link for an address, plain text for anything else."""
    return f"- [{title}]({address})" if address.startswith(("http://", "https://")) else f"- {title}: {address}"


def cell(value: Any) -> str:
    """Text for a table cell: one line, no bar that would end the cell; empty for None."""
    return "" if value is None else str(value).replace("\n", " ").replace("|", "\\|")


def number(value: float | None) -> str:
    if value is None:
        return ""
    return count(value) if isinstance(value, int) else f"{value:.5g}"


def count(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
