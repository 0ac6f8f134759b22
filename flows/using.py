"""What the words do that use a registered model: each finds and verifies it here, and starts a process that loads it."""

import argparse
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.registry import quiet_mlflow
from tasks.data.inputs.files import is_url
from tasks.data.sources.texts import STANDARD_INPUT, TextFormat, text_units
from tasks.record.children import start_child
from tasks.record.errors import ConfigError, DataError
from tasks.record.layout import REPOSITORY, home
from tasks.record.manifest import Manifest
from tasks.registry.use import (
    check_empty,
    export_version,
    find_version,
    is_classifier,
    trained_length,
    verify_version,
    was_taught_to_answer,
)
from tasks.registry.versions import Version
from tasks.services.processes import free_port, log_file, wait_until_it_answers

logger = logging.getLogger("pretune")

SERVE_PORT = 8000
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Of a process that is given a folder and needs nothing else."""


@dataclass(frozen=True)
class Model:
    """A registered version whose files were read and are what its manifest says."""

    version: Version
    manifest: Manifest

    @property
    def name(self) -> str:
        return f"{self.version.name}/{self.version.version}"

    @property
    def folder(self) -> str:
        return self.version.path


def named_model(text: str) -> Model:
    """Raises ConfigError for what is not registered, IntegrityError for damaged files, TrackingError where MLflow is away."""
    with quiet_mlflow():
        version = find_version(home(), text)
    return Model(version, verify_version(version))


def predict(asked: argparse.Namespace) -> int:
    check_numbers(asked)
    source = absolute(asked.input)
    text_units(source, asked.format, "FILE")
    output = Path(asked.output).absolute() if asked.output else None
    if output is not None and output.is_dir():
        raise DataError(f"--output={asked.output!r} is a folder; name a file")
    model = named_model(asked.model)
    options = {name: getattr(asked, name) for name in ("top", "max_new_tokens", "temperature", "seed")}
    return wait_for(prediction_command(model, source, asked.format, asked.column, output, options))


def check_numbers(asked: argparse.Namespace) -> None:
    """Raises ConfigError for a number that can have no meaning."""
    for name, least in (("top", 1), ("max_new_tokens", 1), ("temperature", 0), ("seed", 0)):
        value = getattr(asked, name, None)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')}={value} is less than {least}; give {least} or more, or leave it out")


def prediction_command(
    model: Model, source: str, kind: TextFormat | None, column: str | None, output: Path | None, options: dict[str, Any]
) -> list[str]:
    """How the child is asked. Raises ConfigError for an option that has no effect on this kind of model."""
    classifier = is_classifier(model.manifest)
    useless = {"max_new_tokens", "temperature", "seed"} if classifier else {"top"}
    for name, value in options.items():
        if value is not None and name in useless:
            does = "gives labels" if classifier else "answers prompts"
            raise ConfigError(f"--{name.replace('_', '-')}={value} has no effect on {model.name}, which {does}; leave it out")
    given: dict[str, Any] = {"format": kind, "column": column or ("text" if classifier else "prompt"), "output": output}
    given |= options | {"max_length": trained_length(model.version) if classifier else None}
    given["chat"] = was_taught_to_answer(model.manifest)
    return child("predict", model.folder, source, **given)


def child(module: str, *places: str, **options: Any) -> list[str]:
    """A command of `tasks.training`; options that are None or False are left out."""
    command = [sys.executable, "-m", f"tasks.training.{module}"]
    for name, value in options.items():
        if value is not None and value is not False:
            flag = f"--{name.replace('_', '-')}"
            command.append(flag if value is True else f"{flag}={value}")
    return [*command, "--", *places]


def absolute(path: str) -> str:
    """A path that means the same in a process with another working directory."""
    return path if path == STANDARD_INPUT or is_url(path) else str(Path(path).expanduser().absolute())


def wait_for(command: list[str]) -> int:
    """The child has this terminal, Ctrl-C included; returns its exit code."""
    running = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | OFFLINE)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return running.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def chat(asked: argparse.Namespace) -> int:
    check_numbers(asked)
    model = named_model(asked.model)
    if is_classifier(model.manifest):
        raise ConfigError(f"MODEL={asked.model!r} ({model.name}) is a classifier; use `pretune predict {asked.model} FILE`")
    if not was_taught_to_answer(model.manifest):
        logger.info("%s was only pre-trained: it continues what it reads, and was not taught to answer", model.name)
    options = {name: getattr(asked, name) for name in ("system", "temperature", "max_new_tokens", "seed")}
    return wait_for(child("chat", model.folder, **options))


def export(asked: argparse.Namespace) -> int:
    folder = Path(asked.folder).absolute()
    check_empty(folder)
    with quiet_mlflow():
        version = find_version(home(), asked.model)
    manifest = export_version(version, folder)
    print(f"{version.name} version {version.version} ({manifest.digest[:12]}) is in {folder}")
    return 0


def serve(asked: argparse.Namespace) -> int:
    """Until Ctrl-C. What the server says goes to a log, since this terminal shows where it is."""
    if asked.port is not None and not 1 <= asked.port <= 65535:
        raise ConfigError(f"--port={asked.port} is not a port; give a number from 1 to 65535, or leave it out")
    model = named_model(asked.model)
    classifier = is_classifier(model.manifest)
    if not classifier:
        check_serving()
    port = free_port(asked.port, SERVE_PORT, "--port")
    command = child("serve", model.folder, port=port, max_length=trained_length(model.version) if classifier else None)
    log = log_file(home(), f"serve-{port}")
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("wb") as file:
        running = start_child(command, file, signal.SIGTERM, cwd=REPOSITORY, env=os.environ | OFFLINE)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{address}/health", lambda: running.poll() is None, log)
        print(f"{model.name} is at {address}, until Ctrl-C; its log: {log}\n\n{example(address, classifier)}", flush=True)
        return running.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        running.terminate()
        running.wait()


def check_serving() -> None:
    """Raises ConfigError where what `transformers serve` needs is not installed."""
    from importlib.util import find_spec

    if find_spec("openai") is None:
        raise ConfigError(
            "`pretune serve` of a model that answers needs openai, which is missing; `pip install 'pretune[serve]'`"
        )


def example(address: str, classifier: bool) -> str:
    """A line for a shell that asks the server."""
    if classifier:
        route, body = "predict", '{"texts": ["Once upon a time"]}'
    else:
        route, body = "v1/chat/completions", '{"messages": [{"role": "user", "content": "What is a river?"}], "max_tokens": 60}'
    return f"curl -s {address}/{route} -H 'Content-Type: application/json' -d '{body}'"
