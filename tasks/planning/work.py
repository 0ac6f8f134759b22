"""What is trained on a layout, how, and what each pipeline rank holds of it."""

from dataclasses import dataclass
from functools import lru_cache

from tasks.config.parallel import Layout
from tasks.planning.shapes import Shape
from tasks.training.measure.simulation import Attention, Checkpointing


@dataclass(frozen=True)
class Convention:
    """What training keeps per parameter and per activation; the defaults are this project's, the test has Megatron-LM's."""

    parameter_bytes: int = 4
    gradient_bytes: int = 4
    moment_bytes: int = 8
    plain_feed_forward_tensors: int = 5
    """Tensors of the feed-forward width that GELU and its two matrices save: transformers writes GELU in Python."""
    dropout_bytes: int | None = None
    """Per element of a dropout mask; None: as large as its input, as on a CPU."""
    score_bytes: float | None = None
    """Saved per query head and key position; None: by the kind of attention."""
    residual_bytes: int | None = None
    """Per element of the residual stream; None: by precision and layout."""
    recomputed_products: float = 0.0
    """Share of a layer's products that selective checkpointing makes again; torchtitan saves every other one."""


OURS = Convention()


@dataclass(frozen=True)
class Work:
    """What is trained on a layout, and how."""

    shape: Shape
    layout: Layout
    micro_batch_size: int
    sequence_length: int
    micro_batches: int
    """Micro-batches of one data-parallel rank in a step."""
    precision: str
    activation_checkpointing: Checkpointing = "none"
    attention: Attention = "fused"
    on_gpu: bool = False
    """Cross-entropy takes larger chunks there, and fuses what it does with them."""
    convention: Convention = OURS
    state_precision: str = "fp32"
    optimizer: str = "adamw"
    compiled: bool | None = None
    """What lies between products is fused (`torch.compile`); None: as training chooses, on GPUs."""
    saves_fused: bool = False
    """Memory as of compiled layers, which save less; else of layers as transformers writes them, which no run exceeds."""
    fp8_products: bool = False
    """The products of layers are computed in fp8: to compare with others' runs, for training here cannot."""

    @property
    def is_compiled(self) -> bool:
        return self.on_gpu if self.compiled is None else self.compiled

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch."""
        return self.micro_batch_size * self.sequence_length

    @property
    def compute_bytes(self) -> int:
        return 2 if self.precision == "bf16" else 4

    @property
    def uses_fsdp(self) -> bool:
        return self.layout.is_partitioned and self.layout.data_parallel > 1

    @property
    def waits_with_gradients(self) -> bool:
        """Whole gradients wait for the step's later micro-batches; FSDP2 without a pipeline scatters those of each at once."""
        return self.micro_batches > 1 and not (self.uses_fsdp and self.layout.num_stages == 1)

    @property
    def state_scale(self) -> float:
        """Bytes of the state relative to the convention's."""
        return 0.5 if self.state_precision == "bf16" else 1.0

    @property
    def weights_are_cast(self) -> bool:
        """Autocast keeps copies of the matrices in the compute dtype."""
        return self.compute_bytes == 2 and not self.uses_fsdp and self.state_precision == "fp32"

    @property
    def residual_bytes(self) -> int:
        """Bytes per element of the residual stream: embeddings are bf16 from FSDP2 or bf16 parameters, fp32 under autocast."""
        if self.convention.residual_bytes is not None:
            return self.convention.residual_bytes
        return self.compute_bytes if self.uses_fsdp or self.state_precision == "bf16" else 4


@dataclass(frozen=True)
class Stage:
    """What one pipeline rank holds; elements are those of one tensor rank, before FSDP2 shards them."""

    place: int
    layers: int
    has_embedding: bool
    has_head: bool
    layer: int
    """Elements of one layer."""
    outside: int
    """Elements outside of the layers: embedding, positions, last norm, head."""
    head_is_copy: bool
    """The head is a second copy of a tied embedding on another rank."""

    @property
    def elements(self) -> int:
        return self.layers * self.layer + self.outside


@lru_cache(maxsize=4096)
def stages_of(shape: Shape, layout: Layout) -> tuple[Stage, ...]:
    """The pipeline's ranks, first to last."""
    tensor, pipeline, number = layout.tensor_parallel, layout.pipeline_parallel, layout.num_stages
    stages = []
    for place in range(pipeline):
        pieces = range(place, number, pipeline)
        layers = sum(shape.num_layers * (i + 1) // number - shape.num_layers * i // number for i in pieces)
        first, last = place == 0, place == pipeline - 1
        outside = first * (shape.embedding // tensor + shape.position_embedding)
        outside += last * (shape.norm + (0 if first and shape.tied else shape.embedding // tensor))
        stages.append(Stage(place, layers, first, last, shape.layer(tensor), outside, last and not first and shape.tied))
    return tuple(stages)


def in_flight(layout: Layout, place: int, micro_batches: int) -> float:
    """Micro-batches whose activations a pipeline rank holds at once, in units of all its layers.

    1F1B: the ranks behind it and itself (Narayanan et al. 2021, arXiv:2104.04473, section 2.2.1). Interleaved: as many pieces
    as Megatron-LM's schedule, and torch's, warms up with, and one.
    """
    pipeline, virtual = layout.pipeline_parallel, layout.virtual_stages
    if virtual == 1:
        return float(min(pipeline - place, micro_batches))
    warm_up = (virtual - 1) * pipeline + 2 * (pipeline - 1 - place)
    return min(warm_up + 1, micro_batches * virtual) / virtual
