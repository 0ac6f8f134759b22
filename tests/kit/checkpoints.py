"""The state of a tiny training, saved and loaded as the loop does it."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedModel

from tasks.config.parallel import Layout
from tasks.record.files import write_atomically
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.checkpoint import MANIFEST_HASH_NAME, TrainState, load_checkpoint, manifest_hash
from tasks.training.checkpoint.saver import CheckpointSaver
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import pieces_of
from tasks.training.model.ranks import Ranks
from tests.kit.models import ALONE

DIGEST = "r" * 64
STATE = TrainState(
    step=7, tokens_seen=700, chain="c" * 64, decay_start=5, verdict={"verdict": "converged", "fit": None},
    evaluations=[{"step": 5, "heldout_loss": 0.1 + 0.2}], loss_sum=1 / 3, loss_steps=2, best_step=5, training_seconds=1.25,
)  # fmt: skip
Tensors = tuple[dict[str, Tensor], dict[str, Tensor]]


CONFIGS = {"llama": LlamaConfig, "gpt2": GPT2Config}


def tiny(architecture: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(seed)
    values = {
        "vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 64, "tie_word_embeddings": True, "use_cache": False,
    }  # fmt: skip
    return AutoModelForCausalLM.from_config(CONFIGS[architecture](**values | changes))


def trained(architecture: str = "llama", seed: int = 0, **changes: Any) -> Tensors:
    """Weights and AdamW's state of a model after one step."""
    model = tiny(architecture, seed, **changes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    ids = torch.randint(0, 384, (2, 12), generator=torch.Generator().manual_seed(seed))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    return named_tensors(model, optimizer)


def named_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Weights by name, tied ones once, and the optimizer's state by `parameter:key`."""
    weights = dict(model.named_parameters())
    return weights, {f"{name}:{key}": value for name, p in weights.items() for key, value in optimizer.state[p].items()}


def saver(stage: StageLayout, ranks: Ranks = ALONE, attempt: int = 1, keep: int = 9, **changes: Any) -> CheckpointSaver:
    return CheckpointSaver(stage, DIGEST, ranks, attempt, keep, **changes)


def save(stage: StageLayout, state: TrainState, tensors: Tensors, attempt: int = 1, **changes: Any) -> Path:
    """Save and wait until it is committed."""
    one = saver(stage, attempt=attempt, **changes)
    mesh = Mesh(Layout(), ALONE)
    one.save(state, pieces_of(tensors[0], mesh), pieces_of(tensors[1], mesh))
    one.finish()
    assert one.saved
    return one.saved[-1].path


def load(path: Path, tensors: Tensors, digest: str = DIGEST, **changes: Any) -> TrainState:
    return load_checkpoint(path, digest, ALONE, tensors[0] | tensors[1], **changes)


def same(a: Tensors, b: Tensors) -> bool:
    """Whether names and values are equal, bit for bit."""
    return all(x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x) for x, y in zip(a, b, strict=True))


def copied_tensors(tensors: Tensors) -> Tensors:
    return tuple({name: tensor.detach().clone() for name, tensor in part.items()} for part in tensors)


def change_json(path: Path, **changes: Any) -> None:
    """Change a checkpoint's file as a newer version or another run would have written it: with the right hashes."""
    from tasks.record.files import file_entries, write_json
    from tasks.record.manifest import Manifest

    folder = path.parent
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    if path.name != "manifest.json":
        manifest = Manifest.read(folder / "manifest.json")
        files = [entry if entry.path != path.name else file_entries(folder, [path])[0] for entry in manifest.files]
        write_json(folder / "manifest.json", manifest.model_copy(update={"files": tuple(files)}))
    write_atomically(folder / MANIFEST_HASH_NAME, manifest_hash(folder / "manifest.json"))
