"""Data that are damaged between two attempts of a stage, and data that are damaged while it reads them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.audit.stage import StageProof, prove_stage
from tasks.data.tokens.shards import TokenDataset
from tasks.record.errors import IntegrityError, StoppedError
from tasks.record.layout import RunLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, Work, examples_work, finetune_work, prepare_work, pretrain_work
from tasks.training import pretrain
from tasks.training.evaluation import read_text
from tests.kit.preparations import prepared_result
from tests.kit.runs import write_text
from tests.kit.stages import finetune_config, run, small_config

Damage = Callable[[Path], Path]
"""Changes a data set's folder; returns the file that it changed."""


def shuffle(folder: Path) -> Path:
    """All tokens of a shard in another order: every file is as long as before."""
    path = folder / "train-00000.bin"
    np.random.default_rng(0).permutation(np.fromfile(path, dtype="<u2")).tofile(path)
    return path


def halve(folder: Path) -> Path:
    path = folder / "train-00000.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4 * 2])
    return path


def flip(path: Path, place: int, bit: int = 1) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)
    return path


DAMAGES: dict[str, Damage] = {
    "shuffled": shuffle,
    "halved": halve,
    "a document's start": lambda folder: flip(folder / "train-00000.documents.npy", -5 * 8),
    "the index's header": lambda folder: flip(folder / "train-00000.documents.npy", 20),
    "a token out of the vocabulary": lambda folder: flip(folder / "train-00000.bin", 1001, 0x80),
    "a held-out token": lambda folder: flip(folder / "heldout-00000.bin", 100),
    "the tokenizer": lambda folder: flip(folder / "tokenizer" / "tokenizer.json", 3),
    "a digest of a document": lambda folder: flip(folder / "train-00000.digests.npy", -1),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Result]:
    home = tmp_path_factory.mktemp("home")
    config = small_config(write_text(home / "words.txt", documents=80))
    return config, prepared_result(prepare_work(home, config))


@pytest.fixture
def dataset(data: tuple[Any, Result]) -> Iterator[Path]:
    """The folder of the data set, which is as it was afterwards."""
    folder = data[1].stage.path
    shutil.copytree(folder, folder.with_name("kept"))
    yield folder
    shutil.rmtree(folder)
    folder.with_name("kept").rename(folder)


@pytest.fixture(scope="module")
def undisturbed(data: tuple[Any, Result], tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(pretraining(data, tmp_path_factory.mktemp("undisturbed")))


def pretraining(data: tuple[Any, Result], home: Path) -> Work:
    return pretrain_work(RunLayout(home, "run"), data[0], data[1])


def stop_after_a_step(work: Work) -> None:
    work.stage.path.mkdir(parents=True)
    work.stage.stop.touch()
    with pytest.raises(StoppedError, match="stopped after step 1"):
        run(work)
    work.stage.stop.unlink()


def checkpoints(work: Work) -> list[str]:
    return sorted(path.name for path in work.stage.checkpoints.iterdir())


@pytest.mark.parametrize("name", DAMAGES)
def test_what_was_damaged_after_a_stop_is_named_and_no_checkpoint_follows(
    data: tuple, undisturbed: Result, dataset: Path, tmp_path: Path, name: str
) -> None:
    work = pretraining(data, tmp_path)
    stop_after_a_step(work)
    intact = tmp_path / "intact"
    shutil.copytree(dataset, intact)
    path = DAMAGES[name](dataset)
    with pytest.raises(IntegrityError) as raised:
        run(work, attempt=2)
    sentence = str(raised.value)
    assert sentence.startswith(str(path)) and "restore it or make it again" in sentence and "\n" not in sentence
    assert checkpoints(work) == ["step_00000001"]
    shutil.copytree(intact, dataset, dirs_exist_ok=True)
    result = run(work, attempt=3)
    assert result.manifest.details["chain"] == undisturbed.manifest.details["chain"]
    assert prove_stage(work.stage).failures == ()


def test_the_sentences_have_both_digests_or_both_lengths(data: tuple, dataset: Path, tmp_path: Path) -> None:
    work = pretraining(data, tmp_path)
    whole = {entry.path: entry for entry in data[1].manifest.files}["train-00000.bin"]
    stop_after_a_step(work)
    path = shuffle(dataset)
    with pytest.raises(
        IntegrityError, match=rf"SHA-256 \w{{12}}\.\.\. and its manifest says {whole.sha256[:12]}\.\.\.; it is dam"
    ):
        run(work, attempt=2)
    halve(dataset)
    with pytest.raises(
        IntegrityError, match=f"has {path.stat().st_size} bytes and its manifest says {whole.size_bytes}; it is d"
    ):
        run(work, attempt=3)


def test_a_finished_training_is_not_exported_from_damaged_data(data: tuple, dataset: Path, tmp_path: Path) -> None:
    """Killed between its last checkpoint and its manifest: no step is left in which the damage could be noticed."""
    work = pretraining(data, tmp_path)
    run(work)
    work.stage.manifest.unlink()
    shuffle(dataset)
    with pytest.raises(IntegrityError, match=r"train-00000\.bin has SHA-256"):
        run(work, attempt=2)
    assert not work.stage.manifest.exists()


def reversed_tokens(folder: Path) -> None:
    path = folder / "train-00000.bin"
    np.fromfile(path, dtype="<u2")[::-1].tofile(path)


def shifted_documents(folder: Path) -> None:
    path = folder / "train-00000.documents.npy"
    starts = np.load(path)
    np.save(path, starts + (starts > 0).astype("<u8"))


@pytest.mark.parametrize("damage", [reversed_tokens, shifted_documents])
def test_the_chain_names_the_steps_that_read_what_was_put_right_again(
    data: tuple,
    undisturbed: Result,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
) -> None:
    """Steps 6 and 7 read damaged files, long after all were verified; when the run is looked at, they are as they were."""
    intact = {path: path.read_bytes() for path in (dataset / "train-00000.bin", dataset / "train-00000.documents.npy")}
    micro_batches = 0

    def reading(tokens: TokenDataset, ids: np.ndarray) -> Any:
        nonlocal micro_batches
        if micro_batches == 5 * 4:
            damage(dataset)
        if micro_batches == 7 * 4:
            for path, content in intact.items():
                path.write_bytes(content)
        micro_batches += 1
        return read_text(tokens, ids)

    monkeypatch.setattr(pretrain, "read_text", reading)
    work = pretraining(data, tmp_path)
    result = run(work)
    assert result.manifest.details["chain"] != undisturbed.manifest.details["chain"]
    proof = prove_stage(work.stage)
    (sentence,) = proof.failures
    assert proof.consumption_failures == (sentence,)
    assert sentence.startswith("steps 6 to 7 read other tokens than the data set has now: the digest of step 6 is ")
    assert prove_stage(undisturbed.stage).failures == ()


@pytest.mark.parametrize("name", ["classification", "instruction"])
def test_a_fine_tune_is_verified_on_every_start_and_its_tokens_proved(
    data: tuple, undisturbed: Result, tmp_path: Path, name: str
) -> None:
    config = finetune_config(tmp_path, name, epochs=1)
    examples = prepared_result(examples_work(tmp_path, config))
    work = finetune_work(tmp_path, config, undisturbed, examples)
    stop_after_a_step(work)
    path = examples.stage.path / "train.jsonl"
    intact = path.read_text()
    path.write_text(intact.replace("cat", "act"))
    with pytest.raises(IntegrityError, match=r"train\.jsonl has SHA-256"):
        run(work, attempt=2)
    path.write_text(intact)
    run(work, attempt=3)
    assert prove_stage(work.stage).failures == ()
    path.write_text(intact.replace("cat", "act"))
    proof = proof_of_consumption(work)
    assert "read other tokens than the data set has now" in proof.consumption_failures[0]
    path.write_text(json.dumps({"id": "0"}) + "\n" + intact.partition("\n")[2])
    assert proof_of_consumption(work).consumption_failures[0].startswith("what the steps should have read cannot be known: ")
    path.write_text("{" + intact)
    (sentence,) = proof_of_consumption(work).consumption_failures
    assert sentence.startswith(f"what the steps should have read cannot be known: {path} cannot be read after line 0 (")


def proof_of_consumption(work: Work) -> StageProof:
    proof = prove_stage(work.stage)
    assert "train.jsonl" in proof.file_failures[0], "and the file is named too"
    return proof


def test_a_base_that_is_damaged_is_not_gone_on_from(data: tuple, undisturbed: Result, tmp_path: Path) -> None:
    config = finetune_config(tmp_path, "classification", epochs=1)
    folder = tmp_path / "base"
    shutil.copytree(undisturbed.stage.path, folder)
    base = Result(type(undisturbed.stage)(folder), Manifest.read(folder / "manifest.json"))
    work = finetune_work(tmp_path, config, base, prepared_result(examples_work(tmp_path, config)))
    stop_after_a_step(work)
    weights = folder / "export" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match=r"model\.safetensors has \d+ bytes and its manifest says \d+; it is damaged"):
        run(work, attempt=2)
