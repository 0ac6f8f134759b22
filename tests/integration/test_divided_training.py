"""A divided model from its first step to its fine-tune, as processes that `accelerate launch` starts."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.record.files import file_sha256
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import RunLayout
from tasks.record.manifest import verify
from tasks.stages.work import Result, Work, evaluate_work, examples_work, finetune_work, prepare_work, pretrain_work
from tests.kit.runs import copied, pretrained, run_to_end, stop_after, tiny_config, write_text
from tests.kit.stages import finetune_config

MESHES = {"shard": {"shard": 2}, "pipeline": {"pipeline_parallel": 2}}


@pytest.fixture(scope="module")
def text(home: Path) -> Path:
    return write_text(home / "words.txt")


def config_of(text: Path, mesh: str | None, **sections: dict) -> Config:
    if mesh is None:
        return tiny_config(text, **sections)
    return tiny_config(text, launch={"num_processes": 2}, parallel=MESHES[mesh], **sections)


@pytest.fixture(scope="module")
def runs(home: Path, text: Path) -> dict[str | None, Result]:
    """The same request on one process and on each mesh."""
    return {mesh: pretrained(home, config_of(text, mesh), str(mesh).lower()) for mesh in (None, *MESHES)}


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_gives_the_curve_and_the_weights_of_one_process(runs: dict[str | None, Result], mesh: str) -> None:
    one, divided = runs[None], runs[mesh]
    curves = [latest_by_step(read_journal(run.stage.journal)[0], "step") for run in (one, divided)]
    assert len(curves[0]) == len(curves[1]) == 40
    for a, b in zip(*curves, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
    files = [load_file(run.stage.export / "model.safetensors") for run in (one, divided)]
    assert files[0].keys() == files[1].keys()
    for name, tensor in files[0].items():
        torch.testing.assert_close(files[1][name], tensor, rtol=1e-3, atol=1e-5)
    assert divided.manifest.metrics["heldout_loss"] == pytest.approx(one.manifest.metrics["heldout_loss"], rel=1e-5)
    assert divided.manifest.metrics["num_parameters"] == one.manifest.metrics["num_parameters"]


@pytest.mark.parametrize("mesh", MESHES)
def test_its_export_is_a_whole_model(runs: dict[str | None, Result], mesh: str) -> None:
    run = runs[mesh]
    verify(run.stage.path, run.manifest)
    model = AutoModelForCausalLM.from_pretrained(run.stage.export)
    assert model.num_parameters() == run.manifest.metrics["num_parameters"]
    assert {p.name for p in run.stage.export.iterdir()} == {p.name for p in runs[None].stage.export.iterdir()}
    assert isinstance(run.manifest.details["sample"], str)
    assert run.manifest.environment["world_size"] == 2
    assert run.manifest.environment["performance"]["tokens_per_second"] > 0


@pytest.fixture(scope="module")
def stopped(home: Path, text: Path) -> Callable[[str], Work]:
    """The same request on a mesh, stopped after step 13 or a few later; tests go on from copies of it."""

    @cache
    def stopped_on(mesh: str) -> Work:
        config = config_of(text, mesh)
        work = pretrain_work(RunLayout(home, f"{mesh}-stopped"), config, run_to_end(prepare_work(home, config)))
        stop_after(work, 13)
        return work

    return stopped_on


@pytest.mark.parametrize("mesh", ["pipeline", pytest.param("shard", marks=pytest.mark.soak)])
def test_stopped_in_the_middle_it_continues_to_bit_identical_weights(
    home: Path, runs: dict[str | None, Result], stopped: Callable[[str], Work], mesh: str
) -> None:
    result = run_to_end(copied(stopped(mesh), RunLayout(home, f"{mesh}-continued")))
    assert len({line["attempt"] for line in read_journal(result.stage.journal)[0]}) == 2
    assert file_sha256(result.stage.export / "model.safetensors") == file_sha256(runs[mesh].stage.export / "model.safetensors")
    assert result.manifest.details["chain"] == runs[mesh].manifest.details["chain"]


def test_a_run_goes_on_on_another_mesh(
    home: Path, text: Path, runs: dict[str | None, Result], stopped: Callable[[str], Work]
) -> None:
    """The mesh is no part of the request: what was begun as a pipeline is finished on shards."""
    begun, config = copied(stopped("pipeline"), RunLayout(home, "moved")), config_of(text, "shard")
    result = run_to_end(pretrain_work(RunLayout(home, "moved"), config, run_to_end(prepare_work(home, config))))
    assert result.stage == begun.stage
    starts = [line["layout"] for line in read_journal(result.stage.journal)[0] if line["kind"] == "start"]
    assert starts == [
        "pipeline 2, replicate 1, shard 1, tensor 1",
        "pipeline 1, replicate 1, shard 2, tensor 1",
    ]
    assert result.manifest.metrics["heldout_loss"] == pytest.approx(runs[None].manifest.metrics["heldout_loss"], rel=1e-4)


def on_mesh(settings: FinetuneFile, config: Config, name: str) -> FinetuneFile:
    """The fine-tune under another name, by the processes and on the mesh of a run."""
    return settings.model_copy(update={"name": name, "launch": config.launch, "parallel": config.parallel})


@pytest.mark.parametrize("kind", ["instruction", pytest.param("classification", marks=pytest.mark.soak)])
def test_it_is_fine_tuned_on_shards_where_it_was_a_pipeline(
    home: Path, text: Path, runs: dict[str | None, Result], kind: str
) -> None:
    tuning = finetune_config(home, kind, epochs=2)
    examples = run_to_end(examples_work(home, tuning))
    found = {}
    for mesh in (None, "pipeline"):
        settings = on_mesh(tuning, config_of(text, mesh), f"tuned-{mesh}".lower())
        found[mesh] = run_to_end(finetune_work(home, settings, runs["pipeline"], examples))
    starts = [line for line in read_journal(found["pipeline"].stage.journal)[0] if line["kind"] == "start"]
    assert starts[0]["layout"] == "pipeline 1, replicate 1, shard 2, tensor 1"
    curves = [latest_by_step(read_journal(run.stage.journal)[0], "step") for run in found.values()]
    for a, b in zip(*curves, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
    losses = [run.manifest.metrics["heldout_loss"] for run in found.values()]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.soak
def test_its_candidate_is_measured(home: Path, text: Path, runs: dict[str | None, Result]) -> None:
    tuning = on_mesh(finetune_config(home, "classification", epochs=2), config_of(text, "shard"), "judged")
    examples = run_to_end(examples_work(home, tuning))
    candidate, random = (
        run_to_end(finetune_work(home, tuning, runs["shard"], examples, random_init)) for random_init in (False, True)
    )
    results = {"candidate": candidate, "base": runs["shard"], "examples": examples, "random_init": random}
    decision = run_to_end(evaluate_work(tuning, results))
    assert decision.manifest.metrics["candidate_accuracy"] == pytest.approx(candidate.manifest.metrics["accuracy"])
