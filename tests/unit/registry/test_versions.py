"""A model is registered by reference, once, whatever happens on the way."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.record.errors import ConfigError, IntegrityError
from tasks.registry import versions as registry
from tasks.registry.store import read_registration
from tasks.registry.tracking import connect
from tests.kit.registered_stages import (
    begun_stage,
    die,
    export_tiny_llama,
    finished_training,
    forget,
    new_version,
    run_in_child,
)

STEPS = ("check_files", "write_intent", "find_run", "find_logged_model", "place_files", "finish_logged_model", "find_version",
         "read_back", "write_done")  # fmt: skip


def before(step: Callable[..., Any], *arguments: Any) -> Any:
    return die()


def after(step: Callable[..., Any], *arguments: Any) -> Any:
    step(*arguments)
    return die()


@pytest.fixture
def stage(home):
    return begun_stage(home)


def test_registers_by_reference_and_reads_back(home, stage):
    manifest = finished_training(stage)
    version = registry.register(home, new_version(stage, manifest))
    assert (version.name, version.version, version.digest) == ("demo-base", 1, manifest.digest)
    assert version.aliases == ("pretrained",)
    assert version.tags["data_card"] == "runs:/r-1/data_card.md"
    assert version.tags["step"] == "10"
    assert version.tags["tokens_seen"] == "1000"
    assert version.tags["verdict"] == "converged"
    assert version.tags["input.dataset"] == "d" * 64
    assert version.tags["label"] == "pretrained"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        linked = Path(version.path) / name
        assert linked.samefile(stage.export / name)
        assert linked.stat().st_nlink == (3 if name == "tokenizer.json" else 2), (
            "the tokenizer lies where MLflow looks for it too"
        )
    assert registry.versions(home, "demo-base") == [version]
    assert registry.version_by_alias(home, "demo-base", "pretrained") == version
    assert registry.version_by_alias(home, "demo-base", "champion") is None
    assert registry.version_by_alias(home, "nothing", "champion") is None
    assert registry.models(home) == ["demo-base"]
    assert registry.versions(home, "nothing") == []


def test_mlflow_shows_files_card_metrics_and_run(home, stage):
    import mlflow

    manifest = finished_training(stage)
    (stage.path / "curve.png").write_bytes(b"png")
    version = registry.register(home, new_version(stage, manifest))
    client = connect(home)
    listed = {entry.path: entry.file_size for entry in client.list_logged_model_artifacts(version.model_id)}
    sizes = {Path(entry.path).name: entry.size_bytes for entry in manifest.files}
    assert listed.items() >= sizes.items()
    assert {"README.md", "curve.png", "manifest.json"} <= listed.keys()
    assert mlflow.artifacts.download_artifacts("models:/demo-base/1").rstrip("/") == version.path
    model = client.get_logged_model(version.model_id)
    assert str(model.status) == "READY"
    assert {metric.key: metric.value for metric in model.metrics} == {"heldout_loss": 3.5, "parameters": 12345.0}
    assert client.get_model_version("demo-base", "1").description.startswith("# demo-base: pretrained\n\nA pre-trained model")
    run = client.get_run(version.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [version.model_id]


def test_registered_model_loads_with_plain_transformers(home, stage, tmp_path):
    export_tiny_llama(stage.export)
    version = registry.register(home, new_version(stage, finished_training(stage)))
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M; assert 'tasks' not in sys.modules\n"
        "print(sum(p.numel() for p in M.from_pretrained(sys.argv[1]).parameters()))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(
        [sys.executable, "-P", "-c", code, version.path], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) == 2 * 300 * 16 + 4 * 16 * 16 + 3 * 16 * 32 + 3 * 16


def test_registering_twice_gives_one_version_and_leaves_moved_aliases_alone(home, stage):
    new = new_version(stage, finished_training(stage))
    first = registry.register(home, new)
    later = begun_stage(home, "later", seed=1)
    second = registry.register(home, new_version(later, finished_training(later)))
    assert (first.version, second.version, second.aliases) == (1, 2, ("pretrained",))
    again = registry.register(home, new)
    assert (again.version, again.aliases) == (1, ())
    assert registry.version_by_alias(home, "demo-base", "pretrained").version == 2
    assert len(registry.versions(home, "demo-base")) == 2


def test_a_model_that_two_runs_made_is_one_version_and_both_stages_know_it(home, stage):
    manifest = finished_training(stage)
    registry.register(home, new_version(stage, manifest))
    other = begun_stage(home, "other")
    shutil.copytree(stage.export, other.export)
    assert finished_training(other).digest == manifest.digest
    again = registry.register(home, new_version(other, finished_training(other)))
    assert again.version == 1
    assert read_registration(home, other).versions == {"demo-base": {"pretrained": 1}}
    assert again.tags["stage"] == str(stage.path)


def test_second_label_of_the_same_model_adds_its_alias_to_the_version(home, stage):
    manifest = finished_training(stage)
    registry.register(home, new_version(stage, manifest, label="converged", aliases=("converged",)))
    version = registry.register(home, new_version(stage, manifest))
    assert (version.version, version.aliases) == (1, ("converged", "pretrained"))


@pytest.mark.parametrize("moment", [before, after])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_and_replayed_gives_one_version(home, stage, monkeypatch, step, moment):
    new = new_version(stage, finished_training(stage))
    connect(home)
    with monkeypatch.context() as patch:
        patch.setattr(registry, step, partial(moment, getattr(registry, step)))
        assert run_in_child(partial(registry.register, home, new)) == -9
    version = registry.register(home, new)
    assert [v.version for v in registry.versions(home, "demo-base")] == [1]
    assert version.aliases == ("pretrained",)
    assert len(connect(home).search_logged_models([experiment(home)])) == 1
    assert len(connect(home).search_runs([experiment(home)])) == 1
    assert (Path(version.path) / "model.safetensors").samefile(stage.export / "model.safetensors")


def experiment(home: Path) -> str:
    return connect(home).get_experiment_by_name("pretune").experiment_id


def test_eight_processes_at_once_give_one_version(home, stage):
    new = new_version(stage, finished_training(stage))
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if registry.register(home, new).version == 1 else 2
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert [v.version for v in registry.versions(home, "demo-base")] == [1]
    assert len(connect(home).search_logged_models([experiment(home)])) == 1


def test_replay_restores_files_that_were_lost_from_the_registry(home, stage):
    new = new_version(stage, finished_training(stage))
    version = registry.register(home, new)
    forget(Path(version.path) / "model.safetensors")
    assert registry.register(home, new).version == 1
    assert (Path(version.path) / "model.safetensors").samefile(stage.export / "model.safetensors")


def test_registers_again_where_the_database_was_lost(home, stage):
    new = new_version(stage, finished_training(stage))
    first = registry.register(home, new)
    for version in registry.versions(home, "demo-base"):
        connect(home).delete_model_version("demo-base", str(version.version))
    second = registry.register(home, new)
    assert second.model_id == first.model_id
    assert len(registry.versions(home, "demo-base")) == 1


def test_damaged_file_is_refused_and_nothing_is_registered(home, stage):
    manifest = finished_training(stage)
    weights = stage.export / "model.safetensors"
    weights.write_bytes(b"x" * weights.stat().st_size)
    with pytest.raises(IntegrityError, match=r"model\.safetensors has SHA-256 \w{12}\.\.\. and its manifest says"):
        registry.register(home, new_version(stage, manifest))
    assert registry.models(home) == []


def test_folder_without_weights_is_refused(home, stage):
    stage.export.mkdir(parents=True)
    (stage.export / "config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"holds no model\.safetensors that its manifest lists"):
        registry.register(home, new_version(stage, finished_training(stage)))


def test_name_that_is_no_name_is_refused(home, stage):
    with pytest.raises(ConfigError, match=r"registry\.model_name='a/b' is no name for a model"):
        registry.register(home, new_version(stage, finished_training(stage), model="a/b"))


def test_registered_files_cannot_be_written_through_the_export(home, stage):
    registry.register(home, new_version(stage, finished_training(stage)))
    assert (stage.export / "model.safetensors").stat().st_mode & 0o222 == 0


def test_verify_version_finds_damage(home, stage):
    manifest = finished_training(stage)
    version = registry.register(home, new_version(stage, manifest))
    assert registry.verify_version(version) == manifest
    weights = Path(version.path) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"y" * weights.stat().st_size)
    with pytest.raises(IntegrityError, match="it is damaged"):
        registry.verify_version(version)


def test_parent_is_recorded(home, stage):
    parent = registry.register(home, new_version(stage, finished_training(stage)))
    child_stage = begun_stage(home, "child", seed=7)
    child = registry.register(home, new_version(child_stage, finished_training(child_stage), model="demo-topic", parent=parent))
    assert child.tags["parent"] == "demo-base/1"
    assert child.tags["parent_digest"] == parent.digest
    assert [v.name for v in registry.lineage(home, child)] == ["demo-topic", "demo-base"]
    assert registry.children(home, parent) == [child]
