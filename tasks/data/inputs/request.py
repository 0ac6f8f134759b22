"""What a preparation is asked: from a configuration and the content of its inputs to a request, and back. Pure."""

from typing import Any

from tasks.config.config import Config
from tasks.config.data import DataConfig
from tasks.config.examples import ExamplesConfig
from tasks.config.finetuning import FinetuneConfig
from tasks.config.model import TokenizerConfig
from tasks.config.places import places_and
from tasks.data.inputs.sources import located
from tasks.record.manifest import Input, Request

PREPARE_FORMAT = 4
"""Raised whenever the same text would be prepared into other bytes, so that old data sets are not taken for new ones."""
EXAMPLES_FORMAT = 4
"""The same for examples: raised whenever the same rows would become other examples."""
NO_SETTINGS = ("weight", "max_epochs", "huggingface_revision")
"""Of a source: how often it is drawn from is the training's business, and the commit of a hub data set is what it is."""

Identity = dict[str, Any]
"""Content digests and settings."""


def prepare_request(config: Config, identity: Identity, tokenizer: Identity | None, against: dict[str, Input]) -> Request:
    """`identity` and `tokenizer` are content digests (`tasks.data.inputs.sources`); paths are not part of the identity.

    `against` are earlier data sets, whose documents are not taken again.
    """
    data, tokenizer_settings = located(config.data), located(config.tokenizer)
    return Request(
        kind="prepare",
        identity={
            "format": PREPARE_FORMAT,
            "data": data.model_dump(mode="json", exclude=places_and(DataConfig, *NO_SETTINGS)),
            "tokenizer": tokenizer_settings.model_dump(mode="json", exclude=places_and(TokenizerConfig)),
            "source": identity,
            "tokenizer_source": tokenizer,
        },
        inputs=against,
        execution={
            "paths": [source.path for source in data.sources],
            "evaluation_paths": [one.path for one in data.decontamination.evaluations],
            "tokenizer_path": tokenizer_settings.path,
            "preparation": config.preparation.model_dump(mode="json"),
        },
    )


def prepare_settings(request: Request) -> tuple[DataConfig, TokenizerConfig]:
    """The configuration as it was: its identity, and the paths and commits, which are not part of its settings."""
    values, found = dict(request.identity["data"]), request.identity["source"]["sources"]
    given = [
        {"path": path, "huggingface_revision": source.get("revision")}
        for path, source in zip(request.execution["paths"], found, strict=True)
    ]
    values["mixture"] = [s | places for s, places in zip(values["mixture"], given[1:], strict=True)]
    sets = zip(values["decontamination"]["evaluations"], request.execution["evaluation_paths"], strict=True)
    values["decontamination"] = values["decontamination"] | {"evaluations": [e | {"path": path} for e, path in sets]}
    values["duplicates"] = values["duplicates"] | {"against": [i.path for i in request.inputs.values()]}
    return (
        DataConfig(**values, **given[0]),
        TokenizerConfig(path=request.execution["tokenizer_path"], **request.identity["tokenizer"]),
    )


def examples_request(finetune: FinetuneConfig, source: Identity, section: str = "examples") -> Request:
    """`source` are the content digests (`examples_identity`); `section` names the settings in messages, wherever they stand."""
    places = located(finetune.examples)
    return Request(
        kind="examples",
        identity={
            "format": EXAMPLES_FORMAT,
            "kind": finetune.kind,
            "examples": finetune.examples.model_dump(mode="json", exclude=places_and(ExamplesConfig)),
            "source": source,
        },
        execution={"data_path": places.path, "test_path": places.test_path, "section": section, "name": finetune.name},
    )
