"""A model divided over the mesh: layers over pipeline stages, matrices over tensor ranks, the rest by FSDP2.

Parameters keep the names that they have in the whole model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from transformers import PreTrainedModel
from transformers.distributed.pipeline_parallel import PipelineIdentityLayer
from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES
from transformers.modeling_layers import GradientCheckpointingLayer

from tasks.config.layouts import PIPELINE_ARCHITECTURES, no_pipeline
from tasks.record.errors import ConfigError
from tasks.training.model.mesh import Mesh

TENSOR_STYLES = ("colwise", "rowwise", "colwise_gather_output", "embedding_rowwise", "replicated_with_grad_allreduce")
"""Styles of transformers' tensor-parallel plans that are tested here against one process."""
SUMMED_STYLE = "replicated_with_grad_allreduce"
"""transformers sums these gradients in a hook after every backward pass, which is wrong with accumulation."""


@dataclass
class Partition:
    """What this rank holds of the model."""

    mesh: Mesh
    parts: list[PreTrainedModel]
    """One model per pipeline stage of this rank, layers of other stages taken out; one whole model without a pipeline."""
    summed_over_tensor: set[str] = field(default_factory=set)
    """Parameters whose gradients are partial on each tensor rank."""
    whole: PreTrainedModel | None = None
    """The undivided model on the meta device, for what is counted and computed from shapes."""
    tied_head: nn.Parameter | None = None
    """The last pipeline stage's copy of the tied embedding, where the first stage is on another rank."""

    @property
    def model(self) -> PreTrainedModel:
        """This rank's first part; the whole model without a pipeline."""
        return self.parts[0]

    @property
    def stages(self) -> dict[int, PreTrainedModel]:
        """This rank's parts by the number of their pipeline stage; number 0 is the whole model without a pipeline."""
        place, every = self.mesh.coordinate["pipeline"], self.mesh.layout.pipeline_parallel
        return {place + i * every: part for i, part in enumerate(self.parts)}

    @property
    def num_parameters(self) -> int:
        """Of the whole model; tied weights count once."""
        assert self.whole is not None
        return sum(p.numel() for p in self.whole.parameters())

    def parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of all parts by their name in the whole model; the second copy of a tied one by the embedding's name.

        Sharded ones as shards: what a forward pass without a backward pass has left gathered is let go.
        """
        for module in (module for part in self.parts for module in part.modules()):
            if isinstance(module, FSDPModule):
                module.reshard()
        found = {name: p for part in self.parts for name, p in part.named_parameters()}
        if self.tied_head is not None:
            name = next(name for name, p in found.items() if p is self.tied_head)
            found[embedding_name(self.parts[-1])] = found.pop(name)
        return found

    def buffers(self) -> dict[str, Tensor]:
        """Persistent buffers of all parts by name; each is the same on all ranks of a stage."""
        parameters = self.parameters()
        return {
            name: tensor
            for part in self.parts
            for name, tensor in part.state_dict().items()
            if name not in parameters and not isinstance(getattr_path(part, name), nn.Parameter)
        }

    def weights(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers by name: what is exported."""
        return self.parameters() | self.buffers()

    def train(self, training: bool = True) -> None:
        """Switch dropout on or off."""
        for part in self.parts:
            part.train(training)

    @property
    def is_tied_across_stages(self) -> bool:
        """Whether the first and the last pipeline stage each have a copy of one matrix."""
        return self.mesh.layout.num_stages > 1 and self.parts[0].config.tie_word_embeddings

    @property
    def written_elsewhere(self) -> set[str]:
        """Parameters that another stage saves."""
        return {embedding_name(self.parts[-1])} if self.tied_head is not None else set()

    @property
    def tied_copy(self) -> nn.Parameter | None:
        """This rank's copy of that matrix, on the first and the last stage."""
        if self.is_tied_across_stages and self.mesh.coordinate["pipeline"] == 0:
            weight = self.parts[0].get_input_embeddings().weight
            assert isinstance(weight, nn.Parameter)
            return weight
        return self.tied_head


def getattr_path(module: nn.Module, name: str) -> Tensor:
    """The tensor of that name in a module."""
    owner, _, last = name.rpartition(".")
    return getattr(module.get_submodule(owner), last)


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    """The transformer blocks that this rank holds."""
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


def embedding_name(model: PreTrainedModel) -> str:
    """Name of the input embedding's matrix, also where this stage has none."""
    plan = model.config.base_model_pp_plan
    assert plan is not None, "only a model with a plan is cut into stages"
    return f"{model.base_model_prefix}.{next(iter(plan))}.weight"


def tie(model: PreTrainedModel) -> None:
    """Make the head's matrix the embedding's again: moving from the meta device and sharding part them."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    weight = getattr(embedding, "weight", None)
    if model.config.tie_word_embeddings and isinstance(head, nn.Linear) and isinstance(weight, nn.Parameter):
        head.weight = weight


def check_partition(model: PreTrainedModel, mesh: Mesh) -> None:
    """Raises ConfigError where this architecture cannot be divided as asked."""
    layout, name = mesh.layout, model.config.model_type
    if layout.pipeline_parallel > 1 and name not in PIPELINE_ARCHITECTURES:
        raise ConfigError(no_pipeline(name, layout))
    if layout.tensor_parallel > 1:
        styles = set(model.tp_plan.values()) if model.tp_plan else set()
        if not styles or (odd := styles - set(TENSOR_STYLES)):
            what = f"the untested style {sorted(odd)[0]!r} in its" if styles else "no tensor-parallel"
            raise ConfigError(
                f"parallel.tensor_parallel={layout.tensor_parallel} cannot be had with model.architecture={name!r}: "
                f"transformers has {what} plan for it; set it to 1 and use shard"
            )


def partitioned(build: Callable[[], PreTrainedModel], mesh: Mesh, precision: str) -> Partition:
    """This rank's parts of the model that `build` makes on the meta device, still without values. All ranks call it.

    Raises ConfigError where the architecture cannot be divided as the layout asks.
    """
    layout = mesh.layout
    parts, summed, tied_head = [], set(), None
    for number in range(layout.virtual_stages):
        model = build()
        check_partition(model, mesh)
        stage = mesh.coordinate["pipeline"] + number * layout.pipeline_parallel
        # Only what stays is divided. That makes its parameters anew, so tied ones are tied again before FSDP2 would shard both.
        if layout.num_stages > 1:
            keep_stage(model, stage, layout.num_stages)
        if layout.tensor_parallel > 1:
            summed |= divide_matrices(model, mesh)
        tie(model)
        if mesh.device_mesh is not None and layout.is_partitioned and layout.data_parallel > 1:
            shard(model, mesh, precision)
        parts.append(model)
    last = parts[-1]
    holds_last = mesh.coordinate["pipeline"] == layout.pipeline_parallel - 1
    if layout.num_stages > 1 and holds_last and last.config.tie_word_embeddings:
        tied_head = last.get_output_embeddings().weight
    return Partition(mesh, parts, summed, tied_head=tied_head)


def keep_stage(model: PreTrainedModel, stage: int, num_stages: int) -> None:
    """Take out what other pipeline stages hold; layers keep their numbers."""
    body = model.base_model
    assert isinstance(body, PreTrainedModel)
    names = list(body.config.base_model_pp_plan or ())
    layers = next(name for name in names if isinstance(getattr(body, name), nn.ModuleList))
    blocks = getattr(body, layers)
    first, last = len(blocks) * stage // num_stages, len(blocks) * (stage + 1) // num_stages
    for i in range(len(blocks)):
        if not first <= i < last:
            blocks[i] = PipelineIdentityLayer()
    before, after = names[: names.index(layers)], names[names.index(layers) + 1 :]
    if stage > 0:
        for name in before:
            setattr(body, name, PipelineIdentityLayer())
    if stage < num_stages - 1:
        for name in after:
            setattr(body, name, PipelineIdentityLayer())
        model.set_output_embeddings(PipelineIdentityLayer())


def styles_by_name(model: PreTrainedModel) -> dict[str, str]:
    """Style of each parameter and module that the architecture's tensor-parallel plan names, parameters first.

    The plan has `*` for the number of a layer, and what it says of a module holds for that module's parameters. transformers
    resolves it too, by functions that change with every other release; the plan and the styles have been the same since 5.17.
    """
    plan, found = model.tp_plan, dict[str, str]()
    modules = {name: module for name, module in model.named_modules() if not isinstance(module, PipelineIdentityLayer)}
    for name in [*dict(model.named_parameters()), *modules]:
        rule = re.sub(r"\.\d+(?=\.|$)", ".*", name)
        style = plan.get(rule) or (None if name in modules else plan.get(rule.rpartition(".")[0]))
        if style is not None:
            found[name] = style
    return found


def divide_matrices(model: PreTrainedModel, mesh: Mesh) -> set[str]:
    """Divide matrices over the tensor ranks by the architecture's plan, and embedding and head by rows of the vocabulary.

    Returns the names of the parameters whose gradients have to be summed over the tensor ranks.
    """
    assert mesh.device_mesh is not None
    tensor = mesh.device_mesh["tensor"]
    modules = dict(model.named_modules())
    styles = styles_by_name(model)
    summed = {name for name, style in styles.items() if style == SUMMED_STYLE and name not in modules}
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    named = {module: name for name, module in modules.items()}
    styles = {name: style for name, style in styles.items() if style != SUMMED_STYLE}
    if isinstance(head, nn.Linear):
        styles = {name: style for name, style in styles.items() if name.removesuffix(".weight") != named[head]}
        head.weight = nn.Parameter(distribute_tensor(head.weight, tensor, [Shard(0)], src_data_rank=None))
    if isinstance(embedding, nn.Embedding):
        styles |= {f"{named[embedding]}.weight": "embedding_rowwise", named[embedding]: "embedding_rowwise"}
    for name, style in styles.items():
        layer = ALL_PARALLEL_STYLES[style]
        if name in modules:
            layer.install_forward(modules[name], tensor)
        else:
            owner, _, parameter = name.rpartition(".")
            layer.shard_param(modules[owner], parameter, tensor)
    return summed


def shard(model: PreTrainedModel, mesh: Mesh, precision: str) -> None:
    """FSDP2 over (replicate, shard): layer by layer, then what is left (embedding, last norm, head) as one group."""
    assert mesh.device_mesh is not None
    layout = mesh.layout
    over = mesh.device_mesh["replicate", "shard"] if layout.replicate > 1 else mesh.device_mesh["shard"]
    bf16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    policy = bf16 if precision == "bf16" else MixedPrecisionPolicy()
    for layer in layers_of(model):
        # Under a pipeline the gathered weights serve all micro-batches of a step.
        fully_shard(layer, mesh=over, reshard_after_forward=layout.num_stages == 1, mp_policy=policy)
    fully_shard(model, mesh=over, reshard_after_forward=False, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Sums, not means: the loss is divided by the targets of the global batch before. Gloo knows no scaled sum.
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)


def materialise(partition: Partition, device: torch.device) -> None:
    """Give memory to parameters that are on the meta device; buffers, which hold values, move to the device."""
    for part in partition.parts:
        part._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t.to(device))
        tie(part)
    if partition.tied_head is not None:
        partition.tied_head = partition.parts[-1].get_output_embeddings().weight
