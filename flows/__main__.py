"""The `pretune` command: its words, and how it ends. Starts fast: what a word does is imported when it is used."""

import argparse
import importlib
import logging
import os
import sys
import traceback
from typing import TypeAlias

from tasks.record.children import INTERRUPTED_EXIT_CODE, USER_ERROR_EXIT_CODE
from tasks.record.errors import PretuneError, TrackingError
from tasks.record.layout import home

Words: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
AWAY_EXIT_CODE = 3
"""A service did not answer: the same command may succeed later, without a change."""


def main(arguments: list[str] | None = None) -> int:
    """Run one word; returns 0, 2 for a user's mistake, 3 for a service that is away, 1 for what broke, 130 after Ctrl-C."""
    asked = parser().parse_args(arguments)
    show_log(asked.verbose)
    try:
        return getattr(importlib.import_module(asked.module), asked.word.replace("-", "_"))(asked)
    except PretuneError as error:
        if asked.verbose:
            traceback.print_exc()
        print(f"pretune: {error}", file=sys.stderr)
        return AWAY_EXIT_CODE if isinstance(error, TrackingError) else USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        print("pretune: interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def show_log(verbose: bool) -> None:
    """Progress lines of pretune go to standard error; other libraries are heard from warnings on, with -v."""
    logger = logging.getLogger("pretune")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="pretune", description="From text to a language model in use.",
        epilog=f"Everything lies in {home()}, or in $PRETUNE_HOME where that is set.".replace("%", "%%"),
    )  # fmt: skip
    top.add_argument("-v", "--verbose", action="store_true", help="show the libraries' own messages and tracebacks")
    top.set_defaults(module="flows.commands")
    words = top.add_subparsers(dest="word", required=True, metavar="WORD")
    add_preset_words(words)
    add_finetune_words(words)
    add_service_words(words)
    add_model_words(words)
    add_use_words(words)
    words.add_parser("presets", help="the presets that come with pretune")
    words.add_parser("doctor", help="say in one line each what is wrong with this installation")
    return top


def add_preset_words(words: Words) -> None:
    """What is done with presets."""
    run = words.add_parser("run", help="prepare, pre-train, fine-tune, evaluate, promote; skips what is done")
    run.add_argument("presets", nargs="+", metavar="PRESET", help="names (see `pretune presets`) or TOML files, later ones win")
    run.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="assignments", help="change one setting")
    run.add_argument("--name", help="name of the run; default: the presets' names joined by '-'")
    run.add_argument("--dry-run", action="store_true", help="check the settings and show what would be done")
    run.add_argument(
        "--profile",
        metavar="STEP",
        type="launch.profile_step={}".format,
        action="append",
        dest="assignments",
        help="write a trace of this training step on every rank; the same as --set launch.profile_step=STEP",
    )
    run.add_argument("--json", action="store_true", help="print the report as JSON")

    prepare = words.add_parser("prepare", help="only the data sets of a run, which finds them done")
    prepare.add_argument("presets", nargs="+", metavar="PRESET", help="as for `run`")
    prepare.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="assignments", help="change one setting")
    prepare.add_argument("--name", help="name of the run; default: the presets' names joined by '-'")
    prepare.add_argument("--json", action="store_true", help="print the numbers as JSON")

    plan = words.add_parser("plan", help="which layout to train on, and the memory, time, cost and disk that it takes")
    plan.add_argument("presets", nargs="+", metavar="PRESET", help="as for `run`")
    plan.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="assignments", help="change one setting")
    plan.add_argument("--world-size", type=int, help="devices to plan for; default: launch.num_processes")
    plan.add_argument("--gpu", help="h200, h100, a100, b200, l40s, 4090 or cpu; default: what this machine has")
    plan.add_argument("--nodes", type=int, help="machines, instead of --world-size")
    plan.add_argument("--gpus-per-node", type=int, help="devices of a machine; default: 8")
    plan.add_argument("--watts", type=float, metavar="W", help="power limit of a GPU; default: its data sheet's")
    plan.add_argument("--fp8", action="store_true", help="rates of fp8 products, to compare: training in fp8 is not supported")
    plan.add_argument("--price-per-gpu-hour", type=float, metavar="X", help="adds the price of the whole training")
    plan.add_argument("--no-simulation", action="store_false", dest="simulation", help="do not check the memory by simulation")
    plan.add_argument("--json", action="store_true", help="print it as JSON")


def add_finetune_words(words: Words) -> None:
    """What is done with fine-tunes that have a file of their own, and with the versions they make."""
    finetune = words.add_parser("finetune", help="fine-tune, evaluate, promote; skips what is done")
    finetune.set_defaults(module="flows.tuning")
    finetune.add_argument("file", metavar="FILE", help="TOML file of the fine-tune")
    finetune.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="assignments", help="change one setting")
    finetune.add_argument("--dry-run", action="store_true", help="check the settings and show what would be done")
    finetune.add_argument("--json", action="store_true", help="print the report as JSON")

    deploy = words.add_parser("deploy", help="make a fine-tune recur, and show it in the browser")
    deploy.set_defaults(module="flows.tuning")
    deploy.add_argument("files", nargs="*", metavar="FILE", help="TOML files of fine-tunes; for --remove, or their names")
    what = deploy.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what is deployed")
    what.add_argument("--remove", action="store_true", help="take deployments away; what they made is kept")

    evaluate = words.add_parser("evaluate", help="compare a version with the champion; nothing is promoted")
    evaluate.set_defaults(module="flows.tuning")
    evaluate.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    evaluate.add_argument("version", metavar="VERSION", type=int)
    evaluate.add_argument("--against", metavar="VERSION", type=int, help="compare with this version instead")

    promote = words.add_parser("promote", help="compare a version with the champion, and make it champion where it passes")
    promote.set_defaults(module="flows.tuning")
    promote.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    promote.add_argument("version", metavar="VERSION", type=int)
    promote.add_argument("--force", action="store_true", help="without a positive decision; needs --reason, and is recorded")
    promote.add_argument("--reason", metavar="TEXT", help="why it is forced")

    for word, help in (("approve", "promote a version that waits for it"), ("refuse", "do not promote a version that waits")):
        answer = words.add_parser(word, help=help)
        answer.set_defaults(module="flows.answering")
        answer.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
        answer.add_argument("version", metavar="VERSION", type=int)
        answer.add_argument("--by", metavar="NAME", help="who decides; default: the name of your account")
        answer.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the decision")


def add_service_words(words: Words) -> None:
    """Services and what runs there."""
    up = words.add_parser("up", help="start Prefect, MLflow and a worker on this machine")
    up.add_argument("--prefect-port", type=int, help="default: 4200, or any free port if that is taken")
    up.add_argument("--mlflow-port", type=int, help="default: 5000, or any free port if that is taken")
    up.add_argument("--no-worker", action="store_true", help="only the two servers")

    down = words.add_parser("down", help="stop trainings at a step boundary, then all that `up` started")
    down.add_argument("--keep-training", action="store_true", help="let trainings go on")

    alerts = words.add_parser("alerts", help="where messages go when a flow run fails, hangs, waits for a person")
    alerts.set_defaults(module="flows.alerting")
    alerts.add_argument("--webhook", metavar="URL", help="is sent JSON with text, what, flow_run, state, message and url")
    alerts.add_argument("--slack", metavar="URL", help="incoming webhook of Slack")
    alerts.add_argument("--email", metavar="URL", help="mailtos://USER:PASSWORD@SMTP-HOST?from=ADDRESS&to=ADDRESS")
    alerts.add_argument("--off", action="store_true", help="send nothing any more")
    alerts.add_argument("--test", action="store_true", help="send a message now")

    status = words.add_parser("status", help="services and runs of this home")
    status.add_argument("--json", action="store_true", help="print it as JSON")

    stop = words.add_parser("stop", help="stop a run's training at a step boundary")
    stop.add_argument("name", metavar="NAME", help="name of the run")


def add_model_words(words: Words) -> None:
    """What has been made: which model is in use, where it comes from, whether it is intact, what it says."""
    add_registry_words(words)

    lineage = words.add_parser("lineage", help="what a model was made from; or which models contain a file or document")
    what = lineage.add_mutually_exclusive_group()
    what.add_argument(
        "model", nargs="?", metavar="MODEL", help="a version: MODEL@ALIAS, MODEL/VERSION, or MODEL, which means its champion"
    )
    what.add_argument("--source", metavar="FILE", help="a file that data sets were made from, or its SHA-256")
    what.add_argument(
        "--document", metavar="FILE", help="a file with the text of one document, or the SHA-256 of its cleaned text"
    )
    what.add_argument("--dataset", metavar="NAME", help="a data set: its folder's name, or the name before the digest")
    lineage.add_argument(
        "--withdrawn", nargs="?", const=True, metavar="FILE",
        help="what must be made again where this file, or that of --source, --document or --dataset, may not be used any more",
    )  # fmt: skip
    lineage.add_argument("--retrain", action="store_true", help="with --withdrawn: refresh the fine-tunes that can do without")
    lineage.add_argument("--html", metavar="FILE", help="of a model: write a page with its graph and tables")
    lineage.add_argument("--json", action="store_true", help="print it as JSON; `datasets` is empty where nothing contains it")

    verify = words.add_parser("verify", help="prove which samples a run's trainings consumed, and that its files are intact")
    verify.add_argument("name", metavar="RUN", help="name of the run")
    verify.add_argument("--json", action="store_true", help="print it as JSON")

    generate = words.add_parser("generate", help="continue a text with the run's pre-trained model")
    generate.add_argument("name", metavar="NAME", help="name of the run")
    generate.add_argument("prompt", metavar="PROMPT")


def add_use_words(words: Words) -> None:
    """What a registered model is used for."""
    model = argparse.ArgumentParser(add_help=False)
    model.set_defaults(module="flows.using")
    model.add_argument("model", metavar="MODEL", help="NAME@ALIAS, NAME/VERSION, or NAME for its champion")

    predict = words.add_parser("predict", parents=[model], help="labels of texts, or answers to prompts, as lines of JSON")
    predict.add_argument("input", metavar="FILE", nargs="?", default="-", help="texts; -, the default, is standard input")
    formats = ("text", "jsonl", "csv", "parquet")
    predict.add_argument("--format", choices=formats, help="default: by the ending of FILE; text, a text a line, for -")
    predict.add_argument("--column", help="where the text is in a row; default: text, or prompt for a model that answers")
    predict.add_argument("--output", metavar="FILE", help="write there, all at once when it is done; default: standard output")
    predict.add_argument("--top", type=int, metavar="K", help="only the K most probable labels; default: all")
    predict.add_argument("--max-new-tokens", type=int, metavar="N", help="length of an answer in tokens; default: 60")
    predict.add_argument("--temperature", type=float, metavar="T", help="default: 0, the most probable token each time")
    predict.add_argument("--seed", type=int, help="of what is sampled at a temperature above 0; default: 0")

    chat = words.add_parser("chat", parents=[model], help="talk with a model; a line is a turn, also through a pipe")
    chat.add_argument("--system", metavar="TEXT", help="what the model is told before the conversation")
    chat.add_argument("--temperature", type=float, metavar="T", help="default: 0.8; 0 takes the most probable token each time")
    chat.add_argument("--max-new-tokens", type=int, metavar="N", help="length of an answer in tokens; default: 200")
    chat.add_argument("--seed", type=int, help="of what is sampled; default: 0")

    serve = words.add_parser("serve", parents=[model], help="answer over HTTP on this machine until Ctrl-C")
    serve.add_argument("--port", type=int, help="default: 8000, or any free port if that is taken")

    export = words.add_parser("export", parents=[model], help="copy a model's verified files to a folder of their own")
    export.add_argument("folder", metavar="DIR", help="new or empty")


def add_registry_words(words: Words) -> None:
    """Who is champion, who was, and what MLflow knows of it."""
    rollback = words.add_parser("rollback", help="give the champion's place back to the one before; again, one further back")
    rollback.set_defaults(module="flows.registry")
    rollback.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    rollback.add_argument("--to", metavar="VERSION", type=int, help="one of the earlier champions; default: the last one")
    rollback.add_argument("--reason", metavar="TEXT", help="why, for the history; default: rollback")

    history = words.add_parser("history", help="who held which alias of a model, when, why, and by which blessing")
    history.set_defaults(module="flows.registry")
    history.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    history.add_argument("--json", action="store_true", help="print it as JSON")

    registry = words.add_parser("registry", help="what MLflow has against what the records of this home have")
    registry.set_defaults(module="flows.registry")
    repair = registry.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "repair", help="say what was deleted or moved in MLflow itself; with --apply, put it right"
    )
    repair.add_argument("--model", metavar="MODEL", help="only this registered model")
    repair.add_argument("--apply", action="store_true", help="put it right; without it nothing is changed")


if __name__ == "__main__":
    sys.exit(main())
