"""The `pretune` command: its words, and how it ends. Starts fast: what a word does is imported when it is used."""

import argparse
import logging
import os
import sys
import traceback
from typing import TypeAlias

from tasks.record.children import INTERRUPTED_EXIT_CODE, USER_ERROR_EXIT_CODE
from tasks.record.errors import PretuneError
from tasks.record.layout import home

Words: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: list[str] | None = None) -> int:
    """Run one word; returns 0, 2 for a mistake of the user's, 1 for what broke, 130 after Ctrl-C."""
    asked = parser().parse_args(arguments)
    show_log(asked.verbose)
    from flows import commands

    try:
        return getattr(commands, asked.word.replace("-", "_"))(asked)
    except PretuneError as error:
        if asked.verbose:
            traceback.print_exc()
        print(f"pretune: {error}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
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
    words = top.add_subparsers(dest="word", required=True, metavar="WORD")
    add_preset_words(words)
    add_finetune_words(words)
    add_service_words(words)
    add_model_words(words)
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
    plan.add_argument("--price-per-gpu-hour", type=float, metavar="X", help="adds the price of the whole training")
    plan.add_argument("--no-simulation", action="store_false", dest="simulation", help="do not check the memory by simulation")
    plan.add_argument("--json", action="store_true", help="print it as JSON")


def add_finetune_words(words: Words) -> None:
    """What is done with fine-tunes that have a file of their own, and with the versions they make."""
    finetune = words.add_parser("finetune", help="fine-tune, evaluate, promote; skips what is done")
    finetune.add_argument("file", metavar="FILE", help="TOML file of the fine-tune")
    finetune.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="assignments", help="change one setting")
    finetune.add_argument("--dry-run", action="store_true", help="check the settings and show what would be done")
    finetune.add_argument("--json", action="store_true", help="print the report as JSON")

    deploy = words.add_parser("deploy", help="make a fine-tune recur, and show it in the browser")
    deploy.add_argument("files", nargs="*", metavar="FILE", help="TOML files of fine-tunes; for --remove, or their names")
    what = deploy.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what is deployed")
    what.add_argument("--remove", action="store_true", help="take deployments away; what they made is kept")

    evaluate = words.add_parser("evaluate", help="compare a version with the champion; nothing is promoted")
    evaluate.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    evaluate.add_argument("version", metavar="VERSION", type=int)
    evaluate.add_argument("--against", metavar="VERSION", type=int, help="compare with this version instead")

    promote = words.add_parser("promote", help="compare a version with the champion, and make it champion where it passes")
    promote.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")
    promote.add_argument("version", metavar="VERSION", type=int)

    for word, help in (("approve", "promote a version that waits for it"), ("refuse", "do not promote a version that waits")):
        answer = words.add_parser(word, help=help)
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
    rollback = words.add_parser("rollback", help="give the champion's place back to the version before")
    rollback.add_argument("model", metavar="MODEL", help="registered model, such as demo-topic")

    lineage = words.add_parser("lineage", help="which data sets, checkpoints and served models contain this file or document")
    what = lineage.add_mutually_exclusive_group(required=True)
    what.add_argument("--source", metavar="FILE", help="a file that data sets were made from, or its SHA-256")
    what.add_argument(
        "--document", metavar="FILE", help="a file with the text of one document, or the SHA-256 of its cleaned text"
    )
    what.add_argument("--dataset", metavar="NAME", help="a data set: its folder's name, or the name before the digest")
    lineage.add_argument("--json", action="store_true", help="print it as JSON; `datasets` is empty where nothing contains it")

    verify = words.add_parser("verify", help="prove which samples a run's trainings consumed, and that its files are intact")
    verify.add_argument("name", metavar="RUN", help="name of the run")
    verify.add_argument("--json", action="store_true", help="print it as JSON")

    generate = words.add_parser("generate", help="continue a text with the run's pre-trained model")
    generate.add_argument("name", metavar="NAME", help="name of the run")
    generate.add_argument("prompt", metavar="PROMPT")


if __name__ == "__main__":
    sys.exit(main())
