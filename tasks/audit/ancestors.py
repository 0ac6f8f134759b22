"""What there is to say of one ancestor of a version, from its manifest and its request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.audit.inventory import Thing, relative, trouble_with_file, trouble_with_request
from tasks.audit.lineage_search import base_files
from tasks.data.card.card import licence
from tasks.data.inputs.sources import EXAMPLES_SOURCE, SAMPLE_SHA256, SOURCES_FILE, TEST_SOURCE
from tasks.record.files import Record, read_json
from tasks.record.manifest import Request, flatten

Stated = Literal["verified", "copy", "changed", "gone"]
"""Of a link: a manifest has the digest that was named; only the registry's copy has it; another lies there; nothing has it."""
NUMBERS = {
    "prepare": (
        "read_documents", "kept_documents", "dropped_documents", "quarantined_documents", "train_documents",
        "heldout_documents", "train_tokens", "heldout_tokens", "vocab_size",
    ),
    "examples": ("read_examples", "kept_examples", "train_examples", "test_examples"),
    "pretrain": ("num_parameters", "heldout_loss", "bits_per_byte"),
    "milestone": ("heldout_loss", "bits_per_byte"),
    "finetune": ("accuracy", "macro_f1", "heldout_loss", "answer_loss"),
    "base": ("num_parameters", "loss", "vocab_size"),
}  # fmt: skip
RECIPES = {"pretrain": ("model", "pretrain", "convergence", "mixture"), "finetune": ("finetune", "init")}
"""Sections of a request that are the recipe."""


class SourceFile(Record):
    """A file that something was made from."""

    source: str
    """Name of the source that it is a part of; empty where there is one."""
    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    """None where the file lay elsewhere and was not read for this."""
    version: str | None = None
    """Of a file elsewhere: its checksum, ETag, time, or commit."""
    kept: bool = True
    """Whether any document of its source was kept."""
    licence: str = ""
    """What is known of the licence, with the attribution that it asks for; Markdown."""


class EvaluationSet(Record):
    """What something was measured on, or compared with, but not made from."""

    name: str
    digest: str
    sha256: str | None = None
    """Of the file with the frozen examples."""
    num_items: int | None = None
    stated: Stated | None = None
    """None for a set that is no stage of a home: it was read from files."""


class Ancestor(Record):
    """A stage's result that weights were made from, and what that was made from."""

    role: str
    """What it was to the one below: `model`, `base`, `dataset` or `examples`."""
    kind: str
    name: str
    """Its folder, relative to the home."""
    digest: str
    stated: Stated
    said: str = ""
    """What is wrong, or uncertain, in sentences."""
    made_at: str = ""
    commit: str | None = None
    """Of the code."""
    libraries: dict[str, str | None] = Field(default_factory=dict)
    numbers: dict[str, float | int | None] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    """Documents or examples, by reason."""
    verdict: str | None = None
    reason: str | None = None
    """Of the verdict."""
    licence: str | None = None
    taken_from: str | None = None
    """Of a base that was taken in: what was given, such as an id on the hub with its revision."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Settings that decide what it became, flat."""
    sources: tuple[SourceFile, ...] = ()
    evaluated_on: tuple[EvaluationSet, ...] = ()
    compared_with: tuple[EvaluationSet, ...] = ()
    """Earlier data sets, whose documents were not taken again."""
    made_from: tuple["Ancestor", ...] = ()


def described(home: Path, thing: Thing) -> dict[str, Any]:
    """Fields of an `Ancestor`, with everything that is to be said of it as `said`."""
    manifest, kind = thing.manifest, thing.manifest.kind
    wrong = trouble_with_request(thing)
    request = None if wrong else thing.request
    sources, trouble = sources_of(thing, request)
    verdict = manifest.details.get("verdict") or {}
    return {
        "kind": kind,
        "name": relative(thing.folder, home),
        "made_at": manifest.created_at,
        "commit": manifest.environment.get("commit"),
        "libraries": manifest.environment.get("versions") or {},
        "numbers": numbers_of(thing),
        "dropped": manifest.details.get("dropped") or {},
        "verdict": verdict.get("verdict") if isinstance(verdict, dict) else verdict,
        "reason": verdict.get("reason") if isinstance(verdict, dict) else None,
        "licence": manifest.details.get("licence"),
        "taken_from": manifest.details.get("source") if kind == "base" else None,
        "recipe": recipe_of(request),
        "sources": sources,
        "evaluated_on": tuple(evaluated_on(request, manifest.details)),
        "said": " ".join(text for text in (wrong if thing.request else "", trouble) if text),
    }


def numbers_of(thing: Thing) -> dict[str, float | int | None]:
    manifest = thing.manifest
    own = {"step": manifest.step, "tokens_seen": manifest.tokens_seen}
    numbers: dict[str, float | int | None] = {key: value for key, value in own.items() if value is not None}
    return numbers | {key: manifest.metrics[key] for key in NUMBERS.get(manifest.kind, ()) if key in manifest.metrics}


def recipe_of(request: Request | None) -> dict[str, Any]:
    sections = RECIPES.get(request.kind, ()) if request is not None else ()
    found = {key: request.identity[key] for key in sections if key in request.identity} if request is not None else {}
    return flatten(found) if found else {}


def evaluated_on(request: Request | None, details: dict[str, Any]) -> Iterator[EvaluationSet]:
    """The evaluation sets that were kept out of a data set."""
    if request is None or request.kind != "prepare":
        return
    named = request.identity["data"].get("decontamination", {}).get("evaluations", [])
    digests = request.identity.get("source", {}).get("evaluations", [])
    for one, identity in zip(named, digests, strict=False):
        digest = str(identity.get("sha256") or identity.get("versions_sha256") or "")
        found = details.get("contamination", {}).get(one["name"], {})
        yield EvaluationSet(name=one["name"], digest=digest, num_items=found.get("items"))


def sources_of(thing: Thing, request: Request | None) -> tuple[tuple[SourceFile, ...], str]:
    """The files that it was made from, and why they are not known, or not believed."""
    kind = thing.manifest.kind
    if kind == "base" and request is not None:
        return tuple(base_sources(request, str(thing.manifest.details.get("licence") or ""))), ""
    if kind not in ("prepare", "examples"):
        return (), ""
    if not (thing.folder / SOURCES_FILE).exists() and kind == "examples":
        return tuple(only_source(thing, request)), ""
    if trouble := trouble_with_file(thing, SOURCES_FILE):
        return (), f"{trouble}; its source files are not shown."
    terms_of = dict(licences(thing, request))
    unused = {one["name"] for one in thing.manifest.details.get("sources", ()) if not one["documents"]}
    return tuple(
        SourceFile(
            source=one["name"],
            name=file["name"],
            size_bytes=file["size_bytes"],
            sha256=file.get("sha256"),
            version=str(file["version"]) if file.get("version") is not None else None,
            kept=one["name"] not in unused,
            licence=terms_of.get(one["name"], ""),
        )
        for one in read_json(thing.folder / SOURCES_FILE)
        for file in one["files"]
    ), ""


def base_sources(request: Request, terms: str) -> Iterator[SourceFile]:
    """The files that a base was taken in from; of one on the hub its name and commit."""
    for name, sha256 in base_files(request):
        yield SourceFile(source="", name=name, sha256=sha256, licence=terms)
    source = request.identity.get("source", {})
    if "commit" in source:
        yield SourceFile(source="", name=source["name"], version=source["commit"], licence=terms)


def only_source(thing: Thing, request: Request | None) -> Iterator[SourceFile]:
    """Of examples without a list of files: one digest over all of them."""
    source = thing.manifest.details.get("source", {})
    if "sample" in source:
        terms = dict(licences(thing, request)).get("examples", "")
        yield SourceFile(source="examples", name=source["sample"], sha256=SAMPLE_SHA256, licence=terms)
    elif "sha256" in source:
        name = f"{source.get('files', 1)} files, of which only one digest over all was kept"
        yield SourceFile(source="examples", name=name, size_bytes=source.get("bytes"), version=source["sha256"])


def licences(thing: Thing, request: Request | None) -> Iterator[tuple[str, str]]:
    """Source to what is known of its licence."""
    if request is None:
        return
    if request.kind == "examples":
        kind = request.identity.get("examples", {}).get("source", "")
        for name in (EXAMPLES_SOURCE, TEST_SOURCE):
            yield name, licence(kind, request.identity.get("source", {}), "made into labelled examples")
        return
    data = request.identity["data"]
    identities = request.identity.get("source", {}).get("sources", [])
    for one, identity in zip((data, *data.get("mixture", [])), identities, strict=False):
        yield one["name"], licence(one["source"], identity)
