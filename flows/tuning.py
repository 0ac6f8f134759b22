"""What the words about fine-tunes do: `finetune`, `evaluate`, `promote` and `deploy`."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from flows.commands import follow, show_states
from flows.deployed import deployed, forget_deployed, keep_deployed
from flows.registry import quiet_mlflow, user
from flows.report import own_command, read_finetune_report, text_report
from flows.states import complete, plan_finetune
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import finetunes_in, load_finetune
from tasks.data.inputs.sources import located
from tasks.record.errors import ComparisonNeededError, ConfigError, MissingBaseError
from tasks.record.layout import FinetuneLayout, home
from tasks.registry.compared import candidate_of, made_with
from tasks.registry.find_base import find_base
from tasks.registry.promotion import promote_version
from tasks.services.servers import use_running_server
from tasks.stages.work import examples_work

logger = logging.getLogger("pretune")


def finetune(asked: argparse.Namespace) -> int:
    """A fine-tune by its file, from its base to its champion; fast where nothing has changed."""
    settings = located(load_finetune(asked.file, asked.assignments))
    find_base(home(), settings)
    states = plan_finetune(settings, home())
    layout = FinetuneLayout(home(), settings.name)
    if asked.dry_run:
        show_states(settings, f"Fine-tune {settings.name} in {layout.path}", settings.name, states, asked.json)
        return 0
    if complete(states):
        for state in states:
            logger.info("%-28s skipped: %s %s", state.name, state.state, state.detail)
    else:

        def call() -> None:
            from flows.refresh import refresh

            refresh(settings)

        follow(call, settings.name, lambda: examples_work(home(), settings))
    report = read_finetune_report(settings, home())
    print(report.model_dump_json(indent=1) if asked.json else "\n" + text_report(report))
    say_undeployed((settings,), asked.file)
    return 0


def evaluate(asked: argparse.Namespace) -> int:
    """A new blessing, or refusal, of a version."""
    made_with(candidate_of(home(), asked.model, asked.version))  # before a server is started for it

    def call() -> str:
        from flows.judging import evaluate

        state = evaluate(asked.model, asked.version, asked.against, return_state=True)
        state.result()
        return f"{state.name} {state.message}"

    return told(call, asked.model)


def promote(asked: argparse.Namespace) -> int:
    """Promote what passed the gate; what was not compared with the champion of now is compared first."""
    if asked.force and not (asked.reason or "").strip():
        raise ConfigError("--force is given without --reason; say with --reason TEXT why no decision is waited for")
    if asked.reason and not asked.force:
        raise ConfigError("--reason is given without --force; the reason of a promotion is the gate's decision, leave it out")
    try:
        with quiet_mlflow():
            print(promote_version(home(), asked.model, asked.version, by=user(), forced_because=asked.reason))
        return 0
    except ComparisonNeededError as error:
        made_with(candidate_of(home(), asked.model, asked.version))  # before a server is started for it
        logger.info("%s: it is compared now", error)

    def call() -> str:
        from flows.judging import promote

        state = promote(asked.model, asked.version, return_state=True)
        state.result()
        return f"{state.name} {state.message}"

    return told(call, asked.model)


def told(call: Callable[[], str], name: str) -> int:
    """Run a flow, and print what it says at its end."""
    said: list[str] = []
    with quiet_mlflow():
        follow(lambda: said.append(call()), name)
    print("\n".join(said))
    return 0


def deploy(asked: argparse.Namespace) -> int:
    """Make, list or remove the deployments of fine-tunes. They are kept for the next `up`, where no server runs now."""
    if asked.list:
        for name, settings in deployed(home()).items():
            print(f"{name:<28} {'; '.join(words(settings)) or 'no schedule'}")
        return 0
    running = use_running_server(home())
    if asked.remove:
        return undeploy(asked.files, running)
    if not asked.files:
        raise ConfigError("deploy was given no file; name the TOML files of fine-tunes, or --list")
    found = [checked(located(one)) for file in asked.files for one in finetunes_in(file)]
    for settings in found:
        keep_deployed(home(), settings)
    for settings in found:
        if running:
            from flows.deployments import deploy_finetune

            deploy_finetune(settings)
        schedules = "; ".join(words(settings)) or "no schedule: it is started by hand"
        print(f"deployed refresh/{settings.name}: {schedules}")
    if not running:
        print(f"no server runs here: it takes effect with `{own_command()} up`")
    return 0


def undeploy(names: list[str], running: bool) -> int:
    known = deployed(home())
    for given in names:
        name = Path(given).stem if given not in known else given
        if name not in known:
            raise ConfigError(f"{given!r} is not deployed; deployed are: {', '.join(known) or 'none'}")
        forget_deployed(home(), name)
        if running:
            from flows.deployments import remove_finetune

            remove_finetune(name)
        print(f"removed refresh/{name}; what it made is kept")
    return 0


def say_undeployed(finetunes: tuple[FinetuneFile, ...], file: str) -> None:
    """A schedule that stands in a file does nothing by itself: say so, and how."""
    for one in finetunes:
        if one.schedule and one.name not in deployed(home()):
            logger.info("%s recurs only once its schedule is deployed: %s deploy %s", one.name, own_command(), file)


def checked(settings: FinetuneFile) -> FinetuneFile:
    """The settings, if base and data are there; raises the errors that its first refresh would end with."""
    try:
        find_base(home(), settings)
    except MissingBaseError as error:
        logger.warning("%s; until it is there, each refresh ends as skipped", error)
    examples_work(home(), settings)
    return settings


def words(settings: FinetuneFile) -> list[str]:
    """Each schedule as a person reads it."""
    return [
        (f"cron {one.cron}" if one.cron else f"every {one.every_minutes} minutes")
        + f" ({one.timezone})"
        + (f" with {', '.join(one.settings)}" if one.settings else "")
        for one in settings.schedule
    ]
