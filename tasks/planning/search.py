"""All layouts of a world of ranks, the time of each, and the memory of those that could be chosen."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks.config.layouts import tensor_sizes
from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.config.training import PretrainConfig
from tasks.planning.hardware import Accelerator
from tasks.planning.memory import peak_memory
from tasks.planning.records import Candidate
from tasks.planning.shapes import FAMILIES, Shape
from tasks.planning.step_time import StepTime, describe, step_time, utilisation
from tasks.planning.work import Work
from tasks.training.measure.limits import SHORT_SEQUENCE
from tasks.training.measure.simulation import Attention, Checkpointing

ALLOCATOR_SLACK = 0.05
"""Share of the tensors' bytes that a caching allocator holds on top: an assumption."""
KINDS_OF_CHECKPOINTING: tuple[Checkpointing, ...] = ("none", "selective", "full")
LARGEST_MICRO_BATCH_TOKENS = 65_536
"""Larger micro-batches fill a device no better."""
MOST_VIRTUAL_STAGES = 8


@dataclass(frozen=True)
class Problem:
    """What is planned: a model, its batch, and the devices."""

    model: ModelConfig
    shape: Shape
    pretrain: PretrainConfig
    accelerator: Accelerator
    world_size: int
    compiles: bool = False
    """Layers are compiled in training: they are faster, and save less than the formula of memory counts."""
    fp8: bool = False
    """To compare with others' runs, as `Work.fp8_products`."""

    @property
    def attention(self) -> Attention:
        """What training chooses on a CPU for short sequences is plain attention."""
        return "eager" if self.accelerator.name == "cpu" and self.pretrain.sequence_length <= SHORT_SEQUENCE else "fused"

    def work(self, layout: Layout, micro_batch_size: int, checkpointing: Checkpointing) -> Work:
        micro_batches = self.pretrain.global_batch_size // (micro_batch_size * layout.data_parallel)
        return Work(
            self.shape, layout, micro_batch_size, self.pretrain.sequence_length, micro_batches, self.pretrain.precision,
            checkpointing, self.attention, self.accelerator.name != "cpu", state_precision=self.pretrain.state_precision,
            optimizer=self.pretrain.optimizer, compiled=self.compiles, fp8_products=self.fp8,
        )  # fmt: skip


@dataclass
class Found:
    """The outcome of a search."""

    fitting: list[Candidate]
    """The fastest that fit, then the fastest of each other kind."""
    too_large: list[Candidate]
    smallest: Candidate | None
    """The one that needs least memory."""
    considered: int
    examined: int
    impossible: Counter[str]


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def layouts(problem: Problem, impossible: Counter[str]) -> Iterator[Layout]:
    """Every product of the mesh's sizes that the model and the batch divide over; `impossible` counts the others."""
    shape, world, sequences = problem.shape, problem.world_size, problem.pretrain.global_batch_size
    family = FAMILIES[shape.architecture]
    sizes = tensor_sizes(problem.model, shape.vocab_rows)
    for pipeline in divisors(world):
        if pipeline > 1 and not family.pipeline_parallel:
            impossible[f"pipelines cannot be had with {shape.architecture}"] += 1
            continue
        if pipeline > shape.num_layers:
            impossible[f"more pipeline stages than {shape.num_layers} layers"] += 1
            continue
        for tensor in divisors(world // pipeline):
            if tensor > problem.accelerator.per_node:
                impossible[f"tensor_parallel beyond the {problem.accelerator.per_node} devices of a machine"] += 1
            elif tensor not in sizes:
                impossible[f"heads, vocabulary or width do not divide (tensor_parallel {', '.join(map(str, sizes))} do)"] += 1
            elif sequences % (data := world // pipeline // tensor):
                impossible[f"{sequences} sequences of a step do not divide over the data-parallel ranks"] += 1
            else:
                for shard in divisors(data):
                    yield Layout(pipeline, data // shard, shard, tensor)


def works(problem: Problem, impossible: Counter[str]) -> Iterator[Work]:
    """Every layout with every micro-batch size, checkpointing and number of virtual stages that it can have."""
    for layout in layouts(problem, impossible):
        per_rank = problem.pretrain.global_batch_size // layout.data_parallel
        size = 1
        while per_rank % size == 0 and size * problem.pretrain.sequence_length <= max(
            LARGEST_MICRO_BATCH_TOKENS, problem.pretrain.sequence_length
        ):
            count = per_rank // size
            if count < layout.pipeline_parallel:
                impossible["fewer micro-batches than pipeline stages"] += 1
                break
            for virtual in virtual_stages(problem.shape, layout, count):
                several = Layout(
                    layout.pipeline_parallel, layout.replicate, layout.shard, layout.tensor_parallel, virtual
                )  # fmt: skip
                for kind in KINDS_OF_CHECKPOINTING:
                    yield problem.work(several, size, kind)
            size *= 2


def virtual_stages(shape: Shape, layout: Layout, micro_batches: int) -> list[int]:
    """Numbers of virtual stages worth considering: one, and those that cut the layers evenly."""
    pipeline = layout.pipeline_parallel
    if pipeline == 1 or micro_batches % pipeline:
        return [1]
    return [1] + [v for v in range(2, MOST_VIRTUAL_STAGES + 1) if shape.num_layers % (pipeline * v) == 0]


def candidate(problem: Problem, work: Work, time: StepTime | None = None) -> Candidate:
    """The prediction for one way to train."""
    time, memory, device = time or step_time(work, problem.accelerator), peak_memory(work), problem.accelerator
    needed = int(with_slack(memory.total, device))
    parts = ("parameters", "optimizer", "gradients", "gathered", "activations", "temporary")
    return Candidate(
        kind=describe(work.layout),
        layout=work.layout,
        micro_batch_size=work.micro_batch_size,
        micro_batches=work.micro_batches,
        activation_checkpointing=work.activation_checkpointing,
        memory_bytes=needed,
        least_memory_bytes=int(least_bytes(problem, work)) if problem.compiles else None,
        tensor_bytes=memory.total,
        memory_parts={name: getattr(memory, name) for name in parts},
        peak_moment=memory.moment,
        peak_place=memory.place,
        fits=needed <= device.memory_bytes,
        step_seconds=time.total,
        time_parts={name: getattr(time, name) for name in StepTime.__dataclass_fields__},
        tokens_per_second=problem.pretrain.global_batch_tokens / time.total,
        mfu=utilisation(work, device, time.total),
    )


def with_slack(tensor_bytes: float, device: Accelerator) -> float:
    return tensor_bytes * (1 + ALLOCATOR_SLACK) + device.reserved_bytes


def needed_bytes(problem: Problem, work: Work) -> float:
    """What no run exceeds."""
    return with_slack(peak_memory(work).total, problem.accelerator)


def least_bytes(problem: Problem, work: Work) -> float:
    """What a run needs at the least: with less than that it is refused."""
    return needed_bytes(problem, replace(work, saves_fused=True) if problem.compiles else work)


def search(problem: Problem, runners_up: int = 3, show_too_large: int = 3) -> Found:
    """The fastest layouts that fit, and the fastest of each other kind; memory is computed only until they are found.

    Of a layout only its fastest micro-batch and checkpointing that fit are shown.
    """
    impossible: Counter[str] = Counter()
    timed = sorted(((step_time(w, problem.accelerator), w) for w in works(problem, impossible)), key=lambda pair: pair[0].total)
    fastest: dict[Layout, tuple[StepTime, Work]] = {}
    kinds: dict[str, tuple[StepTime, Work]] = {}
    too_large: dict[Layout, tuple[StepTime, Work]] = {}
    all_kinds = {describe(work.layout) for _, work in timed}
    smallest: tuple[float, StepTime, Work] | None = None
    number = 0
    for time, work in timed:
        kind, layout = describe(work.layout), work.layout
        if layout in fastest or (len(fastest) > runners_up and kind in kinds):
            continue
        number += 1
        needed = needed_bytes(problem, work)
        if smallest is None or needed < smallest[0]:
            smallest = needed, time, work
        if needed > problem.accelerator.memory_bytes:
            if not fastest and len(too_large) < show_too_large:
                too_large.setdefault(layout, (time, work))
            continue
        kinds.setdefault(kind, (time, work))
        if len(fastest) <= runners_up:
            fastest[layout] = time, work
        if len(fastest) > runners_up and kinds.keys() == all_kinds:
            break
    shown = list(fastest.values()) + [pair for pair in kinds.values() if pair[1].layout not in fastest]
    left_out = [pair for layout, pair in too_large.items() if layout not in fastest]
    return Found(
        fitting=[candidate(problem, work, time) for time, work in shown],
        too_large=[candidate(problem, work, time) for time, work in left_out],
        smallest=candidate(problem, smallest[2], smallest[1]) if smallest else None,
        considered=len(timed),
        examined=number,
        impossible=impossible,
    )
