"""Fine-tuning bases from elsewhere by their own template and tokenizer, against what plain transformers says."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tasks.audit.order import finetuning_order
from tasks.config.base import parse_base
from tasks.config.finetuning import FinetuneConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.data.tokens.examples import read_examples
from tasks.record.errors import ConfigError
from tasks.record.files import read_json
from tasks.record.manifest import input_manifest, read_request
from tasks.stages.bases import base_work
from tasks.stages.work import Result, examples_work, finetune_work
from tasks.training.finetune import SAMPLE_QUESTION, encode, initial_partition
from tasks.training.generate import sample_text
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import load_causal
from tasks.training.model.ranks import Ranks
from tasks.training.setup import Setup, make_trainable, probed_loss
from tests.kit.bases import TEMPLATE, changed, written_base
from tests.kit.models import ALONE
from tests.kit.preparations import prepared_result
from tests.kit.ranks import run_ranks
from tests.kit.stages import finetune_config, run

ARCHITECTURES = ("llama", "gpt2", "qwen3", "mistral")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """With an end of a text that only the generation settings know, and no padding of its own."""
    place = tmp_path_factory.mktemp("given")
    folder = written_base(place / "model", max_position_embeddings=96)
    changed(folder, "generation_config.json", eos_token_id=[2, 1])
    return run(base_work(place / "home", parse_base(str(folder))))


def tuned(home: Path, base: Result, kind: str, **settings: Any) -> Result:
    home.mkdir(exist_ok=True)
    config = finetune_config(home, kind, **{"max_length": 64, "epochs": 2} | settings)
    examples = prepared_result(examples_work(home, config))
    return run(finetune_work(home, config, base, examples))


def test_answers_are_learned_by_the_bases_own_template(home: Path, base: Result) -> None:
    made = tuned(home, base, "instruction")
    export, metrics = made.stage.export, made.manifest.metrics
    assert metrics["heldout_loss"] < 0.8 * metrics["initial_heldout_loss"]
    assert metrics["truncated_train_examples"] == metrics["truncated_test_examples"] == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (export / name).read_bytes() == (base.stage.export / name).read_bytes()
    assert (export / "chat_template.jinja").read_text() == TEMPLATE
    assert read_json(export / "generation_config.json")["eos_token_id"] == [2, 1]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(export), AutoTokenizer.from_pretrained(export)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is cat 0?"}], add_generation_prompt=True, return_tensors="pt"
    )
    answer = model.generate(**asked, max_new_tokens=8, do_sample=False)[0][asked["input_ids"].shape[1] :]
    assert len(answer) > 0
    sample = sample_text(load_causal(export).eval(), export, 0, SAMPLE_QUESTION, chat=True)
    assert sample == made.manifest.details["sample"]


def test_the_order_of_its_examples_is_that_of_the_audit(home: Path, base: Result) -> None:
    made = tuned(home, base, "instruction", epochs=1)
    order, request = finetuning_order(read_request(made.stage)), read_request(made.stage)
    config = FinetuneConfig.model_validate(request.identity["finetune"])
    examples = read_examples(Path(request.inputs["examples"].path), input_manifest(request, "examples"), "train")
    data = encode(config, base.stage.export, examples, [])
    ids = order.sample_ids(0)
    assert order.token_digest(ids) == data.token_digest(np.arange(len(ids)), ids, {})


def test_classes_are_learned_with_padding_that_is_the_end_of_a_text(home: Path, base: Result) -> None:
    made = tuned(home, base, "classification", max_length=16)
    metrics, export = made.manifest.metrics, made.stage.export
    assert metrics["heldout_loss"] < metrics["initial_heldout_loss"]
    assert metrics["truncated_train_examples"] > 0
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(export).eval(), AutoTokenizer.from_pretrained(export)
    assert model.config.pad_token_id == tokenizer.eos_token_id == 2
    texts = ["cat", "12: flint and chalk and slate"]
    with torch.no_grad():
        together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    assert torch.allclose(together, alone, atol=1e-5), "padding changes nothing"


def test_longer_examples_than_the_base_has_positions_are_refused(home: Path, base: Result) -> None:
    config = finetune_config(home.parent, "instruction", max_length=97, name="long")
    with pytest.raises(ConfigError) as error:
        finetune_work(home, config, base, base)
    assert str(error.value) == ("max_length=97 is longer than the 96 positions of the base; set it to at most 96")
    finetune_work(home, finetune_config(home.parent, "instruction", max_length=96), base, base)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=pytest.mark.process)])
def test_the_first_loss_is_that_of_plain_transformers(home: Path, tmp_path: Path, architecture: str, world_size: int) -> None:
    """The values of the base arrive on every rank, whole or divided, also from bf16."""
    folder = written_base(tmp_path / "model", architecture=architecture, dtype="bfloat16")
    export = run(base_work(home, parse_base(str(folder)))).stage.export
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(3, 35).reshape(2, 16)
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits
    expected = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
    found = (
        run_ranks(world_size, partial(first_loss, export=export, ids=ids))
        if world_size > 1
        else [first_loss(ALONE, export, ids)]
    )
    assert found == pytest.approx([expected] * world_size, rel=1e-5)


def first_loss(ranks: Ranks, export: Path, ids: torch.Tensor) -> float:
    setup = Setup(Mesh(Layout(shard=ranks.world_size), ranks), ParallelConfig())
    config = FinetuneConfig(kind="instruction", max_length=32, precision="fp32")
    partition = initial_partition(config, setup, export, [], random_init=False)
    loss, _ = probed_loss(partition.model.config, setup)
    make_trainable(partition, setup, loss)
    positions = torch.arange(15).expand(2, 15).contiguous()
    batch = {"input_ids": ids[:, :-1].contiguous(), "labels": ids[:, 1:].contiguous(), "position_ids": positions}
    partition.train(False)
    with torch.no_grad():
        return float(partition.model.summed_loss(batch))
