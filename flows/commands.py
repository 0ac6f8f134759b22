"""What each word of the `pretune` command does. Prefect is imported only where a flow is run or deployments are registered."""

import argparse
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from flows.report import own_command, read_report, text_report
from flows.states import StageState, complete, finetune_names, observed_states, plan_run, run_names, stages_in
from tasks.config.config import Config
from tasks.config.presets import load_config, preset_names, read_preset
from tasks.config.section import NAME_PATTERN, Section
from tasks.data.inputs.commits import keep_commits, pinned
from tasks.data.inputs.sources import located
from tasks.record.children import INTERRUPTED_EXIT_CODE
from tasks.record.errors import ConfigError
from tasks.record.layout import REPOSITORY, FinetuneLayout, RunLayout, home
from tasks.record.manifest import Manifest
from tasks.record.manifest import verify as verify_files
from tasks.record.outcomes import read_outcomes
from tasks.services.records import SERVICES, ServiceName, alive, credentials, credentials_file, services_lock
from tasks.stages.work import Work, examples_work, prepare_work

logger = logging.getLogger("pretune")


def run(asked: argparse.Namespace) -> int:
    """Fast where everything is done: no server is started and no library of machine learning is imported."""
    config = located(load_config(asked.presets, asked.assignments))
    name = asked.name or "-".join(Path(preset).stem for preset in asked.presets)
    check_name(name)
    layout = RunLayout(home(), name)
    settled = pinned(layout, config)
    states = plan_run(settled, name, home())
    if asked.dry_run:
        show_states(config, f"Run {name} in {layout.path}", name, states, asked.json)
        return 0
    if complete(states):
        for state in states:
            logger.info("%-28s skipped: %s %s", state.name, state.state, state.detail)
    else:
        keep_commits(layout, config, settled)
        run_pipeline(config, name)
    report = read_report(config, name, home())
    print(report.model_dump_json(indent=1) if asked.json else "\n" + text_report(report))
    if asked.presets[-1] == f"{name}.toml" or asked.presets[-1].endswith(f"/{name}.toml"):
        from flows.tuning import say_undeployed

        say_undeployed(config.finetunes(name), asked.presets[-1])
    return 0


def prepare(asked: argparse.Namespace) -> int:
    """The data sets of a configuration and nothing else; a run of the same configuration finds them done."""
    config = located(load_config(asked.presets, asked.assignments))
    name = asked.name or "-".join(Path(preset).stem for preset in asked.presets)
    check_name(name)
    layout = RunLayout(home(), name)
    settled = pinned(layout, config)
    plan_run(settled, name, home())
    settled = keep_commits(layout, config, settled)
    work = prepare_work(home(), settled)
    if work.result() is None or any(examples_work(home(), one).result() is None for one in config.finetunes(name)):
        run_pipeline(config, name, "prepare")
    stage = work.stage.path
    numbers = {key: value for key, value in Manifest.read(work.stage.manifest).metrics.items() if isinstance(value, int)}
    if asked.json:
        print(json.dumps({"dataset": str(stage), "metrics": numbers}, indent=1))
        return 0
    print(f"\nData set {stage}\n")
    for key in (
        "read_documents",
        "kept_documents",
        "dropped_documents",
        "quarantined_documents",
        "train_tokens",
        "heldout_tokens",
    ):
        print(f"  {key.replace('_', ' '):<22} {numbers[key]:>16,}")
    print(f"\n  its card: {stage / 'data_card.md'}")
    return 0


def run_pipeline(config: Config, name: str, flow: Literal["pipeline", "prepare"] = "pipeline") -> None:
    """Run the flow in this process, at the server of `pretune up` or at one of its own."""
    from flows.local_run import first_of_run

    def call() -> None:
        from flows.pipeline import pipeline
        from flows.preparation import prepare

        pipeline(config, name) if flow == "pipeline" else prepare(config, name)

    follow(call, name, lambda: first_of_run(config, name))


def follow(call: Callable[[], object], name: str, first: Callable[[], Work | None] = lambda: None) -> None:
    """Run a flow; Ctrl-C leaves what it started at work, and says how to come back."""
    from flows.local_run import run_flow

    try:
        run_flow(call, first)
    except KeyboardInterrupt:
        print(
            f"\npretune: no longer following; training goes on by itself, and text in many parts when you come back.\n"
            f"To follow it again, type the same command. To stop it: {own_command()} stop {name}",
            file=sys.stderr,
        )
        raise SystemExit(INTERRUPTED_EXIT_CODE) from None


def check_name(name: str) -> None:
    """Raises ConfigError for a name that cannot be a folder's everywhere."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(
            f"--name={name!r} is not a name; use small letters, digits and . _ -, at most 63, a letter or digit first"
        )


def show_states(config: Section, title: str, name: str, states: list[StageState], as_json: bool) -> None:
    if as_json:
        stages = [{"stage": s.name, "state": s.state, "detail": s.detail} for s in states]
        print(json.dumps({"run": name, "stages": stages, "config": config.model_dump(mode="json")}, indent=1))
        return
    print(f"{title}\n")
    for state in states:
        print(f"  {state.line}")


def up(asked: argparse.Namespace) -> int:
    from tasks.registry.moved import settle_home
    from tasks.services.servers import start_servers, start_worker, use_running_server

    check_ports(asked.prefect_port, asked.mlflow_port)
    with services_lock(home()):
        running = all(alive(home(), name) for name in SERVICES if name != "worker" or not asked.no_worker)
        if not running:
            settle_home(home())
            start_servers(home(), asked.prefect_port, asked.mlflow_port)
            use_running_server(home())
            from flows.deployments import register_deployments

            names = register_deployments(home())
            logger.info("%d deployments are registered, such as %s", len(names), names[0])
            if not asked.no_worker:
                start_worker(home())
    print("pretune is up already\n" if running else "pretune is up\n")
    for line in addresses():
        print(line)
    return 0


def check_ports(prefect: int | None, mlflow: int | None) -> None:
    """Raises ConfigError for a port that is none, and for one that is asked for twice."""
    for flag, port in (("--prefect-port", prefect), ("--mlflow-port", mlflow)):
        if port is not None and not 1 <= port <= 65535:
            raise ConfigError(f"{flag}={port} is not a port; give a number from 1 to 65535, or leave it out")
    if prefect is not None and prefect == mlflow:
        raise ConfigError(f"--prefect-port and --mlflow-port are both {prefect}; give two different ports, or leave one out")


def addresses() -> Iterator[str]:
    """Where to look, and with which password; the passwords themselves stay in their file."""
    user, file = credentials(home()).user, credentials_file(home())
    pages: tuple[tuple[ServiceName, str, str], ...] = (
        ("prefect", "/v2/", "Prefect"),
        ("mlflow", "/?workflowType=machine_learning", "MLflow"),
    )
    for name, path, title in pages:
        record = alive(home(), name)
        if record is not None:
            yield f"  {title:<8} {record.url}{path}   user {user}, password: {name}_password in {file}"
    yield f"\nThe Prefect page asks for user:password in one field. To end it all: {own_command()} down"


def down(asked: argparse.Namespace) -> int:
    from tasks.services.servers import stop_services

    with services_lock(home()):
        ended = stop_services(home(), asked.keep_training)
    print(f"ended: {', '.join(ended)}" if ended else "nothing was running")
    return 0


def status(asked: argparse.Namespace) -> int:
    services = {name: record.url or f"process {record.pid}" for name in SERVICES if (record := alive(home(), name))}
    runs = {name: observed_states(stages_in(RunLayout(home(), name).path)) for name in run_names(home())}
    tunings = {name: FinetuneLayout(home(), name) for name in finetune_names(home())}
    tuned = {
        name: observed_states([stage for one in layout.attempts for stage in stages_in(one.path)])
        for name, layout in tunings.items()
    }
    outcomes = {name: read_outcomes(layout) for name, layout in tunings.items()}
    if asked.json:
        stages = {
            kind: {n: [{"stage": s.name, "state": s.state, "detail": s.detail} for s in states] for n, states in of.items()}
            for kind, of in (("runs", runs), ("finetunes", tuned))
        }
        last = {name: found[-1].model_dump(mode="json") for name, found in outcomes.items() if found}
        print(json.dumps({"home": str(home()), "services": services} | stages | {"outcomes": last}, indent=1))
        return 0
    print(f"Home      {home()}")
    for service in SERVICES:
        print(f"{service:<9} {services.get(service, 'not running')}")
    for kind, of in (("Run", runs), ("Fine-tune", tuned)):
        for name, states in of.items():
            print(f"\n{kind} {name}")
            for state in states:
                print(f"  {state.line}")
            if found := outcomes.get(name) if kind == "Fine-tune" else None:
                print(f"  last refresh                 {found[-1].text} ({found[-1].time})")
    return 0


def stop(asked: argparse.Namespace) -> int:
    from tasks.services.servers import stages_of, stop_stages

    known = [*run_names(home()), *finetune_names(home())]
    if asked.name not in known:
        raise ConfigError(f"run {asked.name!r} does not exist; there are: {', '.join(known) or 'none'}")
    stages = stages_of(home(), asked.name)
    stop_stages(stages)
    print(
        f"stopped: {', '.join(stage.path.name for stage in stages)}" if stages else f"nothing of run {asked.name!r} is running"
    )
    return 0


def lineage(asked: argparse.Namespace) -> int:
    from flows.lineage import lineage
    from flows.registry import quiet_mlflow

    with quiet_mlflow():
        return lineage(asked)


def plan(asked: argparse.Namespace) -> int:
    from flows.plan import plan

    return plan(asked)


def verify(asked: argparse.Namespace) -> int:
    from flows.verify import verify

    return verify(asked)


def generate(asked: argparse.Namespace) -> int:
    stage = RunLayout(home(), asked.name).pretrain()
    folder = stage.export
    if not folder.is_dir():
        raise ConfigError(
            f"run {asked.name!r} has no pre-trained model; there are runs: {', '.join(run_names(home())) or 'none'}"
        )
    if stage.manifest.exists():
        manifest = Manifest.read(stage.manifest)
        exported = tuple(entry for entry in manifest.files if entry.path.startswith(f"{folder.name}/"))
        verify_files(stage.path, manifest.model_copy(update={"files": exported}))
    command = [sys.executable, "-m", "tasks.training.generate", str(folder), "--prompt", asked.prompt]
    return subprocess.run(command, cwd=REPOSITORY).returncode


def presets(asked: argparse.Namespace) -> int:
    for name in preset_names():
        print(f"{name:<12} {read_preset(name).get('description', '')}".rstrip())
    return 0


def doctor(asked: argparse.Namespace) -> int:
    from tasks.services.doctor import problems

    found = problems(home())
    for problem in found:
        print(f"pretune: {problem}")
    print(f"{len(found)} problem{'s' if len(found) != 1 else ''} found" if found else "nothing is wrong with this installation")
    return 1 if found else 0
