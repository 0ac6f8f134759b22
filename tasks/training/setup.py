"""From a description of the model to this rank's trainable part of it, with its values."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tasks.config.parallel import Layout, ParallelConfig
from tasks.record.errors import ConfigError
from tasks.record.manifest import Request
from tasks.training.export.read import files_by_name, fill_from_export
from tasks.training.model.initial_values import fill_at_random, recorded_writes
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import check_isolation
from tasks.training.model.objective import causal_loss, causal_loss_from_logits, choose_causal_loss
from tasks.training.model.partition import Partition, materialise, partitioned, tie
from tasks.training.model.patches import Loss, patch
from tasks.training.model.ranks import Ranks

Build = Callable[[], PreTrainedModel]
PROBE_LAYERS = 4
"""Layers of the small model that an architecture is probed with: patterns of layer types mostly repeat after fewer."""
PROBE_VOCABULARY = 64


@dataclass(frozen=True)
class Setup:
    """How a stage's model is divided and computed; from the execution part of its request."""

    mesh: Mesh
    parallel: ParallelConfig

    @classmethod
    def of(cls, request: Request, ranks: Ranks, pipeline: bool) -> "Setup":
        """All ranks call it. Without `pipeline` its ranks shard instead. Raises ConfigError for an impossible mesh."""
        parallel = ParallelConfig.model_validate(request.execution.get("parallel", {}))
        try:
            layout = parallel.layout(ranks.world_size)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return cls(Mesh(layout if pipeline else layout.without_pipeline, ranks), parallel)

    @property
    def layout(self) -> Layout:
        return self.mesh.layout

    @property
    def compiles(self) -> bool:
        on_gpu = self.mesh.ranks.device.type == "cuda"
        return self.parallel.compile == "on" or (self.parallel.compile == "auto" and on_gpu)


def profiled_step(request: Request) -> int | None:
    """The step of which a trace is asked for."""
    return request.execution.get("launch", {}).get("profile_step")


def random_partition(setup: Setup, build: Build, precision: str, seed: int) -> Partition:
    """The model that `build` makes on the meta device, divided, with random values that are the same on every layout."""
    return filled_partition(setup, build, precision, seed, None)


def exported_partition(setup: Setup, build: Build, precision: str, seed: int, export: Path, load: Build) -> Partition:
    """The model that `build` makes on the meta device, divided, with the values of an export and a new head where it has none.

    Where the body's tensors have other names in the export than in the model, `load` gives the whole model, if the layout keeps
    it whole, and ConfigError is raised if not.
    """
    whole = build()
    tie(whole)
    body, stored = f"{whole.base_model_prefix}.", files_by_name(export)
    odd = next((name for name, _ in whole.named_parameters() if name.startswith(body) and name not in stored), None)
    if odd is None:
        return filled_partition(setup, build, precision, seed, export)
    if setup.layout.is_partitioned:
        raise ConfigError(
            f"{export} has no tensor {odd!r}, which model.architecture={whole.config.model_type!r} needs when it is divided "
            f"({setup.layout}); train it with a mesh of replicas only"
        )
    model = load().to(setup.mesh.ranks.device)  # type: ignore[arg-type]  # its stub forgets `self`
    return Partition(setup.mesh, [model], whole=whole)


def filled_partition(setup: Setup, build: Build, precision: str, seed: int, export: Path | None) -> Partition:
    whole = build()
    tie(whole)
    shapes = {name: p.shape for name, p in whole.named_parameters()}
    try:
        writes = recorded_writes(whole)
    except NotImplementedError as error:
        raise ConfigError(
            f"model.architecture={whole.config.model_type!r} cannot be initialised shard by shard: {error}; choose another, "
            "such as llama"
        ) from None
    partition = partitioned(build, setup.mesh, precision)
    partition.whole = whole
    materialise(partition, setup.mesh.ranks.device)
    parameters = partition.parameters()
    known = fill_from_export(parameters, export) if export is not None else set()
    missing = {name: p for name, p in parameters.items() if name not in known}
    fill_at_random(missing, shapes, writes, seed)
    return partition


def make_trainable(partition: Partition, setup: Setup, loss: Loss) -> None:
    """Give the parts their loss, the kernels that suit the machine, and what the setup says about memory and compilation."""
    patch(partition, loss, setup.parallel.activation_checkpointing, "compiled" if setup.compiles else "onednn")


def probed_loss(config: PreTrainedConfig, setup: Setup) -> tuple[Loss, str | None]:
    """The loss that suits the architecture, and why documents in one sequence would see each other, None if they do not.

    The first rank tries both on a small model. All ranks call it. Raises ConfigError where the layout cannot take the loss.
    """
    ranks = setup.mesh.ranks
    found: list[Any] = [None, None]
    if ranks.is_first:
        model = probe_model(config)
        try:
            check_isolation(model)
        except ConfigError as error:
            found[1] = str(error)
        found[0] = choose_causal_loss(model) is causal_loss
    if ranks.world_size > 1:
        dist.broadcast_object_list(found, src=0)
    chunked, leak = found
    layout = setup.layout
    if not chunked and layout.tensor_parallel * layout.pipeline_parallel > 1:
        raise ConfigError(
            f"model.architecture={config.model_type!r} has more behind its last layer than a matrix (bias, scaling, capping), "
            f"which cannot be divided over parallel.tensor_parallel={layout.tensor_parallel} or "
            f"parallel.pipeline_parallel={layout.pipeline_parallel}; set both to 1 and use shard"
        )
    return (causal_loss if chunked else causal_loss_from_logits), leak


def probe_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the same architecture and widths, but few layers and a small vocabulary, with random weights on the CPU."""
    small = copy.deepcopy(config)
    layers = min(PROBE_LAYERS, small.num_hidden_layers)
    if "layer_types" in vars(small) and small.layer_types:
        small.layer_types = small.layer_types[:layers]
    small.num_hidden_layers, small.vocab_size = layers, min(PROBE_VOCABULARY, small.vocab_size)
    small.pad_token_id = small.bos_token_id = small.eos_token_id = 0
    torch.manual_seed(0)
    # On this CPU flexible attention would have to be compiled first; it is given the mask that the fused kernel has.
    attention = "sdpa" if config._attn_implementation == "flex_attention" else config._attn_implementation
    model = AutoModelForCausalLM.from_config(small, attn_implementation=attention)
    return model.float()
