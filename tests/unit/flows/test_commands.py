import json
import subprocess
import sys

import pytest

from flows.__main__ import main
from tasks.config.presets import load_config
from tasks.data.__main__ import main as prepare_data
from tasks.data.inputs.sources import located
from tasks.record.files import file_entries, write_json
from tasks.record.layout import RunLayout
from tasks.record.manifest import Manifest, write_manifest
from tasks.stages.work import examples_work, prepare_work
from tests.kit.datasets import finetuning, pretraining, written_dataset, written_examples
from tests.kit.finished_runs import finish_pretraining, finish_refresh, tiny_values, tuned, write_inputs
from tests.kit.hub import hub_in_place
from tests.kit.registered_stages import finished_training

LIBRARIES = ("prefect", "mlflow", "torch", "transformers", "datasets")


@pytest.fixture
def preset(tmp_path):
    """A preset file as a person would write it, with the tiny configuration."""
    write_inputs(tmp_path / "in")
    values = tiny_values(tmp_path / "in")
    tables = [f"[{name}]\n" + lines(table) for name, table in values.items() if name != "finetune"]
    one = values["finetune"][0]
    inner = {key: one.pop(key) for key in ("examples", "gate")}
    tables.append("[[finetune]]\n" + lines(one))
    tables += [f"[finetune.{name}]\n" + lines(table) for name, table in inner.items()]
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join(tables))
    return str(path)


def lines(table):
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def refusal(capsys, *arguments):
    """What a refused command says, after checking how it says it."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert 1 <= len(said.strip().splitlines()) <= 3
    assert "Traceback" not in said
    assert said.startswith("pretune: ")
    return said


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("pretrain.sead=4", "pretrain.sead is not a known setting; did you mean 'seed'?"),
        ("pretrain.learning_rate=7", "pretrain.learning_rate=7 is not valid: input should be less than or equal to 1"),
        ("pretrain.sequence_length=512", "pretrain.sequence_length=512 is longer than model.max_position_embeddings=64"),
        ("pretrain.global_batch_tokens=100", "pretrain.global_batch_tokens=100 is not a multiple of"),
        ("model.vocab_size=299", "model.vocab_size=299"),
        ("data.path=nowhere.txt", "nowhere.txt"),
        ("finetune.animals.examples.path=nowhere.jsonl", "finetune[animals].examples.path='"),
        ("finetune.animals.examples.test_path=nowhere.jsonl", "finetune[animals].examples.test_path='"),
        ("finetune.animals.examples.text_column=txt", "; set finetune[animals].examples.text_column to one of them"),
        ("finetune.cats.epochs=2", "no element is named 'cats'; there are: animals"),
        ("seed", "is not of the form section.field=value"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence_and_leaves_nothing(home, preset, capsys, assignment, sentence):
    assert sentence in refusal(capsys, "run", preset, "--set", assignment)
    assert not (home / "runs").exists()
    assert not (home / "datasets").exists()


def test_an_empty_text_is_refused(home, preset, tmp_path, capsys):
    (tmp_path / "in" / "text.jsonl").write_text("")

    assert "text.jsonl" in refusal(capsys, "run", preset)


def test_names_that_do_not_exist_are_refused_with_those_that_do(home, preset, capsys):
    assert "did you mean 'demo'?" in refusal(capsys, "run", "demmo")
    assert "--name='Big Run' is not a name" in refusal(capsys, "run", preset, "--name", "Big Run")
    assert "run 'nobody' does not exist; there are: none" in refusal(capsys, "stop", "nobody")
    assert "run 'nobody' has no pre-trained model" in refusal(capsys, "generate", "nobody", "Once")


def test_a_damaged_model_is_not_asked(home, capsys):
    stage = RunLayout(home, "told").pretrain()
    stage.export.mkdir(parents=True)
    weights = stage.export / "model.safetensors"
    weights.write_bytes(b"weights")
    write_manifest(stage.path, Manifest(kind="pretrain", request_digest="", files=file_entries(stage.path, [weights])))
    weights.write_bytes(b"wEights")

    assert "model.safetensors has SHA-256" in refusal(capsys, "generate", "told", "Once")


def test_a_dry_run_shows_the_stages_and_starts_nothing(home, preset, capsys):
    assert main(["run", preset, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "pre-train " in said and "to do" in said
    assert not (home / "runs").exists()
    wrong = ("--set", "finetune.animals.examples.label_column=topic")
    assert "column 'topic' is not in" in refusal(capsys, "run", preset, "--dry-run", *wrong), "which the first row shows"

    assert main(["run", preset, "--dry-run", "--json", "--set", "pretrain.seed=7"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"] == "tiny"
    assert shown["config"]["pretrain"]["seed"] == 7
    assert {stage["state"] for stage in shown["stages"]} == {"to do"}


def test_a_step_to_profile_is_a_setting_of_the_launch(home, preset, capsys):
    assert main(["run", preset, "--dry-run", "--json", "--profile", "6"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["launch"]["profile_step"] == 6
    assert "launch.profile_step=0 is not valid" in refusal(capsys, "run", preset, "--profile", "0")


def test_relative_paths_mean_the_folder_of_the_command(home, preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path / "in")

    assert main(["run", preset, "--dry-run", "--json", "--set", "data.path=text.jsonl"]) == 0

    assert json.loads(capsys.readouterr().out)["config"]["data"]["path"] == str(tmp_path / "in" / "text.jsonl")


def finished_run(home, tmp_path):
    from tasks.config.presets import parse_config

    config = parse_config(tiny_values(tmp_path / "in"))
    _, base = finish_pretraining(home, config, "tiny")
    finish_refresh(home, tuned(config, "tiny"), base)
    write_json(RunLayout(home, "tiny").config, config)


def test_a_finished_run_is_reported_without_starting_or_importing_anything_heavy(home, preset, tmp_path):
    finished_run(home, tmp_path)
    program = (
        "import sys; from flows.__main__ import main; code = main(sys.argv[1:]); "
        f"print([m for m in {LIBRARIES} if m in sys.modules]); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", program, "run", preset], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    assert "verdict        converged" in done.stdout
    assert sum("skipped: done" in line for line in done.stderr.splitlines()) == 7
    assert not (home / "prefect").exists()


def test_the_report_of_a_finished_run_can_be_read_by_programs(home, preset, tmp_path, capsys):
    finished_run(home, tmp_path)

    assert main(["run", preset, "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["finetunes"][0]["metrics"]["candidate_accuracy"] == 0.81
    assert {"model": "tiny", "version": 2, "label": "pretrained", "aliases": []} in report["versions"]


def test_status_shows_services_and_runs(home, preset, tmp_path, capsys):
    finished_run(home, tmp_path)

    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "prefect   not running" in said
    assert "Run tiny\n" in said and "02-pretrain" in said
    assert "Fine-tune tiny-animals\n" in said
    assert "last refresh                 Promoted v1: accuracy 0.8100, the first champion (" in said

    assert main(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["services"] == {}
    for stages in (shown["runs"]["tiny"], shown["finetunes"]["tiny-animals"]):
        assert {stage["state"] for stage in stages} == {"done"}
    assert shown["outcomes"]["tiny-animals"]["came"] == "Promoted"


def test_stopping_and_ending_what_does_not_run_says_so(home, preset, tmp_path, capsys):
    finished_run(home, tmp_path)

    assert main(["stop", "tiny"]) == 0
    assert main(["down"]) == 0
    assert capsys.readouterr().out.splitlines() == ["nothing of run 'tiny' is running", "nothing was running"]


def test_presets_are_listed_with_what_they_are_for(home, capsys):
    assert main(["presets"]) == 0
    assert any(line.startswith("demo ") and len(line.split()) > 3 for line in capsys.readouterr().out.splitlines())


def test_flows_never_import_a_library_of_machine_learning():
    program = (
        "import sys, flows.pipeline, flows.deployments, flows.commands, flows.local_run; "
        f"print([m for m in {LIBRARIES[1:]} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--prefect-port", "99999"], "--prefect-port=99999 is not a port; give a number from 1 to 65535"),
        (["--mlflow-port", "0"], "--mlflow-port=0 is not a port"),
        (["--prefect-port", "14501", "--mlflow-port", "14501"], "are both 14501; give two different ports"),
    ],
)
def test_ports_that_cannot_be_are_refused_before_anything_starts(home, capsys, flags, sentence):
    assert main(["up", *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not (home / "services").exists() or not list((home / "services").glob("prefect*.json"))


@pytest.fixture
def traced(home, tmp_path):
    """A file, a data set made from it, a model trained on that, and a fine-tune that is not finished."""
    file = tmp_path / "zoo.txt"
    file.write_text("the zoo")
    base = pretraining(home, "run", written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": file}))
    (tmp_path / "pages.jsonl").write_text("other")
    examples = written_examples(home, "pages", ["A page."], ["Another page."], tmp_path / "pages.jsonl")
    finetuning(home, "run", finished_training(base).as_input(base.path), examples)
    return file


def test_lineage_is_a_tree_from_the_file_to_the_models(home, traced, capsys):
    assert main(["lineage", "--source", str(traced)]) == 0

    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"File {traced} (SHA-256 ") and said[0].endswith(") is in 1 of the 2 finished data sets.")
    assert said[2].startswith("data set animals-") and "(split train and heldout, digest " in said[2]
    assert said[3:] == [
        "  as zoo: zoo.txt",
        "  pre-training runs/run/02-pretrain: trained on it, done at step 10, 1,000 tokens",
        "    checkpoints: step_00000010, step_00000020",
        "    milestones: step_00000020",
        "    model: runs/run/02-pretrain/export",
        "    fine-tune finetunes/run-topic/000000000000/finetune: starts from it, not finished",
        "      checkpoints: step_00000010, step_00000020",
        "      milestones: step_00000020",
    ]


def test_lineage_can_be_read_by_programs(home, traced, tmp_path, capsys):
    (tmp_path / "document").write_text("An owl.")

    assert main(["lineage", "--document", str(tmp_path / "document"), "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["datasets"][0]["splits"] == ["heldout"]
    assert shown["datasets"][0]["stages"][0]["use"] == "measured on it"


def test_lineage_of_what_is_nowhere_is_one_sentence_and_no_failure(home, traced, capsys):
    assert main(["lineage", "--source", "0" * 64]) == 0
    assert capsys.readouterr().out == f"File {'0' * 64} is in none of the 2 finished data sets.\n"


def test_lineage_refuses_what_is_no_question(home, capsys):
    assert "--source='nowhere' does not exist, and is no SHA-256" in refusal(capsys, "lineage", "--source", "nowhere")
    assert "--dataset='plants' is no finished data set" in refusal(capsys, "lineage", "--dataset", "plants")
    with pytest.raises(SystemExit) as ended:
        main(["lineage", "--source", "a", "--document", "b"])
    assert ended.value.code == 2


def test_lineage_imports_nothing_heavy_where_nothing_is_registered(home, traced):
    program = (
        "import sys; from flows.__main__ import main; code = main(sys.argv[1:]); "
        f"print([m for m in {LIBRARIES} if m in sys.modules]); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", program, "lineage", "--source", str(traced)], capture_output=True, text=True)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_prepare_says_what_is_prepared_and_starts_nothing_where_it_is_done(home, preset, tmp_path, capsys):
    config = located(load_config([preset]))
    for work in (prepare_work(home, config), examples_work(home, tuned(config, "tiny"))):
        write_json(work.stage.request, work.request)
        assert prepare_data([str(work.stage.path)]) == 0
    assert main(["prepare", preset, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"]["read_documents"] == 120
    assert answer["dataset"] == str(prepare_work(home, config).stage.path)
    assert main(["prepare", preset]) == 0
    said = capsys.readouterr().out
    assert "kept documents" in said
    assert "data_card.md" in said


def test_a_revision_that_the_hub_does_not_have_is_refused_and_leaves_nothing(home, preset, capsys, monkeypatch):
    hub_in_place(monkeypatch)
    on_the_hub = ["--set", "data.source=huggingface", "--set", "data.path=someone/texts"]
    said = refusal(capsys, "run", preset, *on_the_hub, "--set", "data.huggingface_revision=v9")
    assert "data.huggingface_revision='v9' is no commit, tag or branch of 'someone/texts' on the hub; mend it" in said
    assert main(["run", preset, *on_the_hub, "--set", "data.huggingface_revision=v1", "--dry-run"]) == 0
    assert not (home / "runs").exists(), "nor does a dry run"
