"""The card of a model version, as Markdown: why it may be called what it is, what made it, how to load it. Pure.

What can still change about a version (`tasks.registry.status`) is put before these sections, and the links after them.
MLflow keeps a description of at most 5000 characters, in which a picture of a curve (tens of kilobytes as a data: URI) has no
room. So the whole card lies as README.md beside the model's files, and the description is the card without its picture.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.card.card import example_changes, source_lines
from tasks.record.manifest import Manifest, Request

MAX_DESCRIPTION = 5000
NOTE_ROOM = 200
EXPENDABLE = ("\n## Training", "\n## Made with")
BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 60
PICTURE = "![Loss curve](data:image/png;base64,"
LINKS = {
    "prefect_url": "Prefect flow run",
    "data_card": "Data card in MLflow",
    "data_card.pretraining": "Data card of the base model in MLflow",
}
"""Tags of a version that lead somewhere, with the titles that they have in the card."""
LOADING = {
    "classification": ("AutoModelForSequenceClassification", "a text to classify"),
    "causal": ("AutoModelForCausalLM", "a text to continue"),
}


def card_body(
    *,
    manifest: Manifest,
    data: str,
    lineage: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    curve: Sequence[float | None] = (),
    rollback: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """What is true of the model for ever: the table at the top, then the sections that are not empty.

    `data` is `data_text`; `lineage` is one line per ancestor, nearest first; `settings` are the training settings, flat;
    `curve` holds the measured losses in order, drawn as text; `rollback` is the journal's line about the last one.
    """
    verdict = manifest.details.get("verdict")
    sections = [
        summary(manifest, verdict),
        section("Verdict", verdict_text(verdict, rollback)),
        section("Metrics", table(("metric", "value"), [(k, number(v)) for k, v in sorted(manifest.metrics.items())])),
        section("Loss", curve_text(curve)),
        section("Data", data),
        section("Training", table(("setting", "value"), [(k, cell(v)) for k, v in sorted((settings or {}).items())])),
        section("Lineage", "\n".join(f"- {line}" for line in lineage)),
        section("How to load it", loading(manifest)),
        section("Made with", made_with(manifest)),
    ]
    return tuple(text for text in sections if text)


def with_picture(card: str, curve_png: bytes | None) -> str:
    if curve_png is None:
        return card
    return card + section("Loss curve", f"{PICTURE}{base64.b64encode(curve_png).decode()})")


def card_links(tags: Mapping[str, str]) -> str:
    """A list of the places that the tags name; a flow run without a page is named by its id."""
    places = [link(title, tags[key]) for key, title in LINKS.items() if key in tags]
    if "prefect_url" not in tags and "prefect_flow_run_id" in tags:
        places.insert(0, link(LINKS["prefect_url"], tags["prefect_flow_run_id"]))
    return "\n".join(places)


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
        ("step", number(manifest.step)),
        ("tokens seen", number(manifest.tokens_seen)),
        ("parameters", number(manifest.metrics.get("num_parameters"))),
        (f"held-out loss (nats/{'example' if classifies(manifest) else 'token'})", number(heldout)),
        ("bits per byte", number(bits)),
        ("verdict", cell((verdict or {}).get("verdict"))),
        ("made at", manifest.created_at),
    ]
    return table(("", ""), [row for row in rows if row[1]])


def verdict_text(verdict: Mapping[str, Any] | None, rollback: Mapping[str, Any] | None) -> str:
    if not verdict:
        return ""
    text = f"**{verdict.get('verdict', 'none')}**: {verdict.get('reason', 'no reason was recorded')}"
    if rollback is None:
        return text
    return f"{text}\n\nTraining went back from step {rollback['from_step']} to the checkpoint of step {rollback['step']}."


def curve_text(curve: Sequence[float | None]) -> str:
    known = [value for value in curve if value is not None]
    if not known:
        return ""
    return f"`{sparkline(curve)}`\n\nfrom {number(known[0])} to {number(known[-1])}, lowest {number(min(known))}"


def data_text(dataset: Manifest, request: Request) -> str:
    """Sources, licences and sizes of a data set, from its manifest and what it was asked for."""
    identity = dataset.details.get("source") or {}
    sources = identity.get("sources", [identity] if identity else [])
    named, changes = named_sources(request)
    texts = [" ".join(source_lines(kind, one, changes)[2:]) for (_, kind), one in zip(named, sources, strict=False)]
    if len(texts) > 1:
        texts = [f"- `{name}`: {text}" for (name, _), text in zip(named, texts, strict=True)]
    numbers = [(key, number(value)) for key, value in sorted(dataset.metrics.items()) if value is not None]
    text = "\n".join(texts)
    return f"{text}\n\n".lstrip() + table(("", ""), [("digest", f"`{dataset.digest}`"), *numbers])


def named_sources(request: Request) -> tuple[list[tuple[str, str]], str]:
    """Name and kind of each source of the data, and what was done to the text."""
    if request.kind == "examples":
        return [("", request.identity["examples"]["source"])], example_changes(request.identity["kind"])
    data = request.identity["data"]
    return [(one["name"], one["source"]) for one in (data, *data["mixture"])], "cleaned and tokenised"


def classifies(manifest: Manifest) -> bool:
    return manifest.details.get("kind") == "classification" or "labels" in manifest.details


def loading(manifest: Manifest) -> str:
    """Python that loads the model with transformers alone."""
    model_class, text = LOADING["classification" if classifies(manifest) else "causal"]
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
    """Whole numbers in full, others to five digits; empty for None."""
    if value is None:
        return ""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.5g}"
