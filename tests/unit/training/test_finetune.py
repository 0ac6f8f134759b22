"""Fine-tuning a really pre-trained model: both kinds, from its weights and from random ones."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tasks.config.finetuning import FinetuneConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.data.order.permutation import samples_of_step
from tasks.data.tokens.digest import MODULUS, samples_digest
from tasks.record.errors import IntegrityError
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.manifest import Request, verify
from tasks.stages.work import Result, examples_work, finetune_work
from tasks.training.evaluation import classification_batch, instruction_batch
from tasks.training.finetune import Encoded, finetuning_recipe, packed_batch
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import IGNORED_LABEL, causal_loss, causal_loss_from_logits
from tasks.training.model.partition import Partition
from tasks.training.model.ranks import Ranks
from tasks.training.setup import Setup
from tests.kit.models import ALONE, VOCABULARY, tiny_model
from tests.kit.preparations import prepared_result
from tests.kit.ranks import run_ranks
from tests.kit.stages import finetune_config, pretrained_base, run
from tests.kit.trainers import LENGTH, trainer


@pytest.fixture(scope="module")
def base(home: Path) -> tuple[Any, Result, Result]:
    return pretrained_base(home)


def finetuned(home: Path, base: tuple, kind: str, name: str | None = None, random_init: bool = False) -> Result:
    settings = finetune_config(home, kind, **({"name": name} if name else {}))
    examples = prepared_result(examples_work(home, settings))
    return run(finetune_work(home, settings, base[2], examples, random_init))


@pytest.fixture(scope="module")
def classifier(home: Path, base: tuple) -> Result:
    return finetuned(home, base, "classification")


@pytest.fixture(scope="module")
def answerer(home: Path, base: tuple) -> Result:
    return finetuned(home, base, "instruction")


def test_a_classifier_learns_the_topics_and_loads_with_plain_transformers(classifier: Result) -> None:
    stage, manifest = classifier.stage, classifier.manifest
    verify(stage.path, manifest)
    assert manifest.metrics["accuracy"] > 0.6
    assert manifest.metrics["heldout_loss"] < manifest.metrics["initial_heldout_loss"]
    assert manifest.details["labels"] == ["animals", "plants", "stones"]
    assert (manifest.details["kind"], manifest.details["init"]) == ("classification", "base")
    model = AutoModelForSequenceClassification.from_pretrained(stage.export)
    tokenizer = AutoTokenizer.from_pretrained(stage.export)
    texts = {"3: cat and dog": "animals", "4: elm and fern": "plants", "5: opal and flint": "stones"}
    found = [model.config.id2label[model(**tokenizer(t, return_tensors="pt")).logits.argmax().item()] for t in texts]
    assert sum(a == b for a, b in zip(found, texts.values(), strict=True)) >= 2


def test_instruction_tuning_lowers_the_loss_of_the_answers(answerer: Result) -> None:
    manifest = answerer.manifest
    assert manifest.metrics["heldout_loss"] < 0.5 * manifest.metrics["initial_heldout_loss"]
    assert "accuracy" not in manifest.metrics
    assert isinstance(manifest.details["sample"], str)
    AutoModelForCausalLM.from_pretrained(answerer.stage.export)


def test_steps_follow_from_epochs_and_the_rate_falls_to_zero(classifier: Result) -> None:
    lines = latest_by_step(read_journal(classifier.stage.journal)[0], "step")
    train = len((Path(classifier.manifest.inputs["examples"].path) / "train.jsonl").read_text().splitlines())
    steps = -(-8 * train // 16)
    assert classifier.manifest.step == len(lines) == steps
    warmup = int(steps * 0.05)
    assert [line["learning_rate"] for line in lines][warmup] < 1e-2
    assert lines[-1]["learning_rate"] == 0.0
    assert max(line["learning_rate"] for line in lines) <= 1e-2
    assert lines[warmup + 1]["phase"] == "decay"


def test_only_weights_and_tokenizer_are_exported(classifier: Result, base: tuple) -> None:
    names = {p.name for p in classifier.stage.export.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert names <= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "chat_template.jinja", "generation_config.json",
    }  # fmt: skip
    own, given = (r.stage.export / "tokenizer.json" for r in (classifier, base[2]))
    assert own.read_bytes() == given.read_bytes()


def test_the_same_request_gives_the_same_weights_and_random_weights_are_others(
    home: Path, base: tuple, classifier: Result
) -> None:
    again = finetuned(home, base, "classification", name="again")
    random = finetuned(home, base, "classification", name="again", random_init=True)
    paths = [r.stage.export / "model.safetensors" for r in (classifier, again, random)]
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert random.stage.path == again.stage.path.with_name("random-init")
    assert random.manifest.details["init"] == "random"
    pretrained = load_file(base[2].stage.export / "model.safetensors")["model.embed_tokens.weight"]
    near, far = (load_file(p)["model.embed_tokens.weight"] for p in paths[1:])
    assert torch.dist(near, pretrained) < torch.dist(far, pretrained)


def test_a_base_that_was_damaged_or_replaced_is_not_tuned(home: Path, base: tuple, tmp_path: Path) -> None:
    config, _, pretrained = base
    weights = pretrained.stage.export / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(IntegrityError, match=r"export/model.safetensors has SHA-256"):
            finetuned(home, base, "classification", name="damaged")
    finally:
        weights.write_bytes(content)
    replaced = Result(pretrained.stage, pretrained.manifest.model_copy(update={"tokens_seen": 1}))
    with pytest.raises(IntegrityError, match="is not the base that was asked for"):
        finetuned(home, (config, None, replaced), "classification", name="replaced")


def encoded(kind: str) -> Encoded:
    rows = [np.arange(2, 2 + n) for n in (3, 5, 2)]
    if kind == "classification":
        return Encoded(rows, [1, 0, 1], classification_batch, 9)
    labels = [np.where(np.arange(len(row)) > 0, row, IGNORED_LABEL) for row in rows]
    return Encoded(rows, labels, instruction_batch, 9)


def test_targets_are_examples_or_answer_tokens() -> None:
    ids = np.array([0, 1])
    assert encoded("classification").num_targets(ids) == 2
    assert encoded("instruction").num_targets(ids) == 2 + 4
    assert encoded("instruction").num_tokens(ids) == 8
    nothing = Encoded([np.array([1, 2])], [np.full(2, IGNORED_LABEL)], instruction_batch, 9)
    assert nothing.num_targets(np.array([0])) == 1, "no division by zero"


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_hold_every_example_in_order(size: int) -> None:
    batches = encoded("classification").batches(size)
    assert torch.cat([b["labels"] for b in batches]).tolist() == [1, 0, 1]
    assert [len(b["labels"]) for b in batches] == {1: [1, 1, 1], 2: [2, 1], 5: [3]}[size]


def test_every_example_is_seen_once_in_an_epoch(classifier: Result) -> None:
    train = len((Path(classifier.manifest.inputs["examples"].path) / "train.jsonl").read_text().splitlines())
    seen = np.concatenate([samples_of_step(step, 16, train, 0) for step in range(-(-train // 16))])[:train]
    assert sorted(seen.tolist()) == list(range(train))


def answers(count: int = 16, seed: int = 0) -> Encoded:
    """Examples of 4 to 30 random tokens, the answer from the middle on."""
    random = np.random.default_rng(seed)
    rows = [random.integers(2, VOCABULARY, random.integers(4, 31)) for _ in range(count)]
    labels = [np.where(np.arange(len(row)) >= len(row) // 2, row, IGNORED_LABEL) for row in rows]
    return Encoded(rows, labels, instruction_batch, 1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_packed_examples_have_the_loss_and_the_gradients_of_padded_ones(
    tmp_path: Path, architecture: str, attention: str, world_size: int
) -> None:
    """One step's gradients, summed over the ranks, each of which has some of the micro-batches."""
    found = {}
    for packed in (False, True):
        step = partial(step_on_answers, folder=tmp_path, architecture=architecture, attention=attention, packed=packed)
        losses, gradients, rows, digests = zip(*run_ranks(world_size, step), strict=True)
        found[packed] = (sum(losses), torch.stack(gradients).sum(0), rows[0], sum(digests) % MODULUS)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-6)
    assert found[False][1].norm() > 0.1
    assert (found[True][1] - found[False][1]).norm() / found[False][1].norm() < 2e-6
    assert found[True][2] < found[False][2] == 8, "fewer rows"
    ids, data = np.random.default_rng(1).permutation(16), answers()
    expected = samples_digest(range(16), ((data.rows[i], data.labels[i]) for i in ids))
    assert found[True][3] == found[False][3] == expected, "the same tokens were read, on any number of ranks"


def step_on_answers(ranks: Ranks, folder: Path, architecture: str, attention: str, packed: bool) -> tuple:
    """This rank's share of the mean loss, its gradients, and the rows of its first micro-batch."""
    data = replace(answers(), make=packed_batch) if packed else answers()
    run = trainer(
        folder / f"{packed}-{ranks.rank}", scaled(tiny_model(architecture), attention), ranks, read=data.batch,
        global_batch_tokens=16 * LENGTH, micro_batch_size=8, num_targets=data.num_targets,
        sample_ids=lambda step: np.random.default_rng(1).permutation(16), token_digest=data.token_digest,
    )  # fmt: skip
    targets = data.num_targets(np.arange(16))
    reading, _ = run.feed.take(0, prepare_next=False)
    batches = reading.batches
    loss = run.passes.train(batches, run.seed_of(0), targets)
    return loss.item() / targets, run.gradients.buffer, len(batches[0]["input_ids"]), reading.token_digest


def scaled(model: torch.nn.Module, attention: str) -> torch.nn.Module:
    """Weights as large as trained ones, so that attention shows in the loss; no dropout."""
    model.set_attn_implementation(attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return model.eval()


def test_a_wrong_position_or_a_missing_boundary_would_be_noticed() -> None:
    """The comparison above is sensitive: without restarting positions the loss of the same rows is another one."""
    model, batch = scaled(tiny_model(), "eager"), answers()
    packed = packed_batch(batch.rows, batch.labels, 1)
    mixed = packed | {"position_ids": torch.arange(packed["input_ids"].shape[1]).expand_as(packed["input_ids"])}
    with torch.no_grad():
        good, bad = causal_loss(model, packed).item(), causal_loss(model, mixed).item()
    assert abs(good - bad) > 1e-3 * good


def training_batches_of(model: torch.nn.Module, data: Encoded) -> object:
    """What makes the batches of an instruction fine-tune of this model."""
    setup = Setup(Mesh(Layout(), ALONE), ParallelConfig())
    partition = Partition(setup.mesh, [model])
    request = Request(kind="finetune", identity={})
    return finetuning_recipe(FinetuneConfig(kind="instruction"), request, partition, setup, data, data).read.__self__.make


def test_an_architecture_that_mixes_packed_examples_is_given_padded_ones(caplog: pytest.LogCaptureFixture) -> None:
    data = answers()
    assert training_batches_of(tiny_model(), data) is packed_batch
    assert caplog.messages == []
    leaking = scaled(tiny_model("bloom", intermediate_size=None), "eager")
    assert training_batches_of(leaking, data) is instruction_batch
    (message,) = (record.getMessage() for record in caplog.records if record.name == "pretune.finetune")
    assert message.startswith("every example has a row of its own, which takes longer: model.architecture='bloom' lets")
    leaking.eval()
    with torch.no_grad():
        padded, packed = (
            causal_loss_from_logits(leaking, make(data.rows, data.labels, 1)).item()
            for make in (instruction_batch, packed_batch)
        )
    assert abs(padded - packed) > 1e-4 * padded, "packed they would have had another loss"


def test_fine_tuning_on_packed_examples_takes_the_steps_of_padded_ones(
    home: Path, base: tuple, answerer: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.finetune.probed_loss", lambda config, setup: (causal_loss, "they leak"))
    padded = finetuned(home, base, "instruction", name="padded")
    monkeypatch.undo()
    lines = [latest_by_step(read_journal(result.stage.journal)[0], "step") for result in (answerer, padded)]
    assert len(lines[0]) == len(lines[1]) == padded.manifest.step
    assert padded.manifest.tokens_seen == answerer.manifest.tokens_seen
    assert lines[0][0]["loss"] == pytest.approx(lines[1][0]["loss"], rel=1e-6)
    for packed, other in zip(*lines, strict=True):
        assert packed["loss"] == pytest.approx(other["loss"], rel=2e-2), "rounding grows with the steps"
