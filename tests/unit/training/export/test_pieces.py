"""The exported files are those of `save_pretrained` of the whole model, on every layout."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import AutoModelForCausalLM

from tasks.config.parallel import Layout
from tasks.record.files import file_entries
from tasks.training.export.pieces import by_number, export_pieces
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import pieces_of
from tasks.training.model.ranks import Ranks
from tests.kit.checkpoints import tiny
from tests.kit.ranks import run_ranks


def divided(mesh: Mesh, **changes: object) -> dict[str, torch.Tensor]:
    """The weights of a tiny Llama, its matrices cut along rows and columns by turns over the tensor ranks, then by FSDP2."""
    model = tiny(**changes)
    if mesh.layout.tensor_parallel > 1:
        for number, linear in enumerate(m for m in model.model.modules() if isinstance(m, nn.Linear)):
            placed = distribute_tensor(linear.weight.detach(), mesh.device_mesh["tensor"], [Shard(number % 2)])
            linear.weight = nn.Parameter(placed)
    if mesh.layout.shard > 1:
        fully_shard(model, mesh=mesh.device_mesh["shard"])
    return dict(model.named_parameters())


def export(ranks: Ranks, layout: Layout, folder: Path, settings: dict, **changes: object) -> list:
    mesh = Mesh(layout, ranks)
    return export_pieces(pieces_of(divided(mesh, **changes), mesh), folder, ranks, **settings)


def exported(layout: Layout, folder: Path, settings: dict | None = None, **changes: object) -> list:
    """The entries that all ranks were told."""
    one = functools.partial(export, layout=layout, folder=folder, settings=settings or {}, **changes)
    answers = run_ranks(layout.world_size, one)
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


@pytest.mark.parametrize("layout", [Layout(), Layout(replicate=2), Layout(shard=2, tensor_parallel=2)], ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_one_file_holds_what_save_pretrained_writes(layout: Layout, tied: bool, tmp_path: Path) -> None:
    entries = exported(layout, tmp_path / "export", tie_word_embeddings=tied)
    model = tiny(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / "whole")
    whole, ours = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "export"))
    assert whole.keys() == ours.keys()
    assert all(torch.equal(whole[name], ours[name]) for name in whole)
    assert [entry.path for entry in entries] == ["model.safetensors"]
    assert tuple(entries) == file_entries(tmp_path / "export", [tmp_path / "export" / "model.safetensors"])
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["model.safetensors"]
    model.config.save_pretrained(tmp_path / "export")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "export", local_files_only=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_large_model_is_split_into_files_that_different_ranks_write(tmp_path: Path) -> None:
    entries = exported(Layout(shard=2, tensor_parallel=2), tmp_path, {"max_file_bytes": 50_000})
    files = [entry.path for entry in entries]
    assert files == [*(f"model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3)), "model.safetensors.index.json"]
    assert tuple(entries) == file_entries(tmp_path, [tmp_path / name for name in files])
    index = json.loads((tmp_path / files[-1]).read_text())
    model = tiny()
    assert index["metadata"] == {
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "total_size": sum(p.numel() * 4 for p in model.parameters()),
    }
    assert index["weight_map"]["model.embed_tokens.weight"] == files[0]
    model.config.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_dtype_can_be_given(tmp_path: Path) -> None:
    exported(Layout(shard=2), tmp_path, {"dtype": torch.bfloat16})
    ours, model = load_file(tmp_path / "model.safetensors"), tiny()
    assert all(torch.equal(ours[name], p.bfloat16()) for name, p in model.named_parameters())


def test_layers_come_in_their_order() -> None:
    names = ["model.norm.weight", "model.layers.10.a", "model.layers.2.b", "model.embed.weight"]
    assert sorted(names, key=by_number) == ["model.embed.weight", "model.layers.2.b", "model.layers.10.a", "model.norm.weight"]
