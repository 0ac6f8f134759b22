"""One proof of a told run, and everything that can be changed in it."""

import json
from pathlib import Path

import pytest

from tasks.audit.stage import StageProof, prove_stage
from tasks.record.files import write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, read_request
from tests.kit.told_runs import chains_of, change_lines, change_request, copied_stage, told_run


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> StageLayout:
    return told_run(tmp_path_factory.mktemp("home"))


@pytest.fixture
def stage(original: StageLayout, tmp_path: Path) -> StageLayout:
    return copied_stage(original, tmp_path)


def failures(stage: StageLayout) -> list[str]:
    return list(prove_stage(stage).failures)


def test_an_interrupted_run_is_proved_with_its_numbers(original: StageLayout) -> None:
    proof = prove_stage(original)
    assert proof.failures == ()
    assert (proof.stage, proof.kind, proof.done) == ("02-pretrain", "pretrain", True)
    assert (proof.steps, proof.tokens_seen, proof.attempts, proof.undone_steps) == (12, 6144, 2, 2)
    (use,) = proof.uses
    assert use.most - use.fewest <= 1
    assert use.fewest * use.samples <= 12 * 16 <= use.most * use.samples
    dataset = Manifest.read(Path(read_request(original).inputs["dataset"].path) / "manifest.json")
    assert proof.files == len(dataset.files) + 2 * 2 + 1
    assert (proof.checkpoints, proof.milestones) == (2, 0)
    assert proof.chain == chains_of(read_request(original))[12]
    assert StageProof.model_validate_json(proof.model_dump_json()) == proof


def test_a_run_that_is_not_done_is_proved_so_far(stage: StageLayout) -> None:
    stage.manifest.unlink()
    change_lines(stage, lambda line: None if line["step"] > 10 else line)
    proof = prove_stage(stage)
    assert (proof.done, proof.steps, proof.failures) == (False, 10, ())


def test_a_changed_loss_is_found(stage: StageLayout) -> None:
    change_lines(
        stage, lambda line: line | {"loss": line["loss"] - 0.5} if line["kind"] == "step" and line["step"] == 9 else line
    )
    assert failures(stage) == [
        "the hash chain breaks at step 9: the samples, or the loss, the token_digest or the chain in its line of the journal, "
        "are not what training computed"
    ]


def test_a_removed_step_is_found(stage: StageLayout) -> None:
    change_lines(stage, lambda line: None if line["kind"] == "step" and line["step"] == 8 else line)
    assert failures(stage) == ["step 8 is missing in the journal"]


def test_a_journal_that_was_cut_off_does_not_reach_the_manifest(stage: StageLayout) -> None:
    change_lines(stage, lambda line: None if line["step"] > 9 else line)
    assert failures(stage) == [
        "manifest.json is of step 12, which the journal does not have",
        "manifest.json is of step 12 and the journal ends with step 9",
        "step_00000010 is of step 10, which the journal does not have",
    ]


def test_another_order_of_the_samples_is_found(stage: StageLayout) -> None:
    change_request(stage, seed=1)
    assert failures(stage)[0].startswith("no step consumed the samples that (seed, step) name")


def test_a_changed_request_is_no_longer_that_of_the_checkpoints(stage: StageLayout) -> None:
    values = json.loads(stage.request.read_text())
    values["identity"]["pretrain"]["learning_rate"] = 0.5
    write_json(stage.request, values)
    assert failures(stage) == [
        f"{name} was made for another request than request.json" for name in ("manifest.json", "step_00000005", "step_00000010")
    ]


def test_a_chain_that_was_made_up_as_a_whole_is_not_that_of_the_checkpoints(stage: StageLayout) -> None:
    """Losses halved, and the journal's chain computed anew."""
    chains = chains_of(read_request(stage), loss=lambda step: (6.0 - step / 7) / 2)
    change_lines(
        stage,
        lambda line: line | {"loss": line["loss"] / 2, "chain": chains[line["step"]]} if line["kind"] == "step" else line,
    )
    assert failures(stage) == [
        f"the hash chain of {name} is not the one that the journal has at step {step}"
        for name, step in (("manifest.json", 12), ("step_00000005", 5), ("step_00000010", 10))
    ]


def test_a_flipped_byte_in_a_checkpoint_is_found(stage: StageLayout) -> None:
    path = stage.checkpoints / "step_00000010" / "rank_0.safetensors"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    (sentence,) = failures(stage)
    assert sentence.startswith(f"{path} has SHA-256 ")


def test_a_checkpoint_without_its_state_is_found(stage: StageLayout) -> None:
    (stage.checkpoints / "step_00000005" / "state.json").unlink()
    first, second = failures(stage)
    assert first.startswith("step_00000005 cannot be compared with the journal: FileNotFoundError")
    assert "state.json is listed in the manifest and does not exist" in second


def test_a_data_set_that_is_gone_leaves_the_order_unknown(stage: StageLayout, tmp_path: Path) -> None:
    values = json.loads(stage.request.read_text())
    values["inputs"]["dataset"]["path"] = str(tmp_path / "nowhere")
    write_json(stage.request, values)
    proof = prove_stage(stage)
    (sentence,) = proof.consumption_failures
    assert (
        sentence.startswith("what the steps should have read cannot be known: ")
        and "nowhere/manifest.json does not exist" in sentence
    )
    assert proof.record_failures == (), "the chain is still that of the checkpoints"
    assert "nowhere/manifest.json does not exist" in proof.file_failures[0]


def test_the_manifest_of_another_version_is_named(stage: StageLayout) -> None:
    stage.manifest.write_text('{"format_version": 2}')
    proof = prove_stage(stage)
    assert not proof.done
    assert "manifest.json cannot be read by this version" in proof.record_failures[0]


def test_tokens_that_were_not_seen_are_found_in_the_manifest(stage: StageLayout) -> None:
    write_json(stage.manifest, Manifest.read(stage.manifest).model_copy(update={"tokens_seen": 9999}))
    assert failures(stage) == ["tokens_seen of manifest.json is 9999 and in the journal at step 12 6144"]


def test_a_milestone_of_another_request_is_found(stage: StageLayout) -> None:
    folder = stage.milestones / "step_00000005"
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", Manifest(kind="milestone", request_digest="x", step=5))
    assert failures(stage) == ["step_00000005 of the milestones belongs to another request"]
