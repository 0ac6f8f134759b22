"""The plan of a pre-training: which layout, why, and what it will take."""

from dataclasses import replace

from tasks.config.config import Config
from tasks.config.layouts import check_layout, misfit
from tasks.config.presets import assign, parse_config
from tasks.planning.hardware import ACCELERATORS, Accelerator, accelerator_named, detected_gpu, limited
from tasks.planning.memory import rank_memory
from tasks.planning.records import Candidate, Configured, Disk, Horizon, Plan
from tasks.planning.search import ALLOCATOR_SLACK, Found, Problem, candidate, search
from tasks.planning.shapes import Shape, shape_of, vocab_rows
from tasks.planning.step_time import FP8_SPEEDUP, OVERLAP
from tasks.planning.work import Work, stages_of
from tasks.record.errors import ConfigError
from tasks.training.measure.simulation import SimulationRequest

GIB = 2**30
POWER_USAGE_EFFECTIVENESS = 1.2
"""Power of a data centre over that of its devices: an assumption."""
SECONDS_PER_DAY = 86_400
SIMULATED_LAYERS = (4, 6)
"""The simulation looks at models of so many layers on each rank; fewer than three show no weights that are fetched ahead."""
FP8_PROBLEM = (
    "training in fp8 is not supported: these are rates of its products, to compare with runs of others; plan what is to be "
    "trained here without --fp8"
)
MESH_FIELDS = ("pipeline_parallel", "replicate", "shard", "tensor_parallel", "virtual_stages")


def default_gpu(config: Config) -> str:
    """What a plan is for where nobody says it: this machine's GPU or CPU; an H100 for a preset for GPUs on a CPU machine."""
    if config.launch.device == "cpu":
        return "cpu"
    return detected_gpu() or ("h100" if config.launch.device == "gpu" else "cpu")


def plan_for(
    config: Config, gpu: str, world_size: int, price_per_gpu_hour: float | None = None, per_node: int | None = None,
    watts: float | None = None, fp8: bool = False,
) -> Plan:  # fmt: skip
    """The fastest way that fits to pre-train `config` on `world_size` devices of the kind `gpu`.

    Raises ConfigError for a mesh in the settings that does not multiply to the world size or over which the model does not
    divide, for a batch that does not divide over the ranks, for a model that fits on no layout, for more watts than the device
    takes, and for fp8 on one that has none.
    """
    problem = problem_of(config, gpu, world_size, per_node, watts, fp8)
    check_mesh_of(config, problem)
    found = search(problem)
    if not found.considered:
        raise ConfigError(nothing_possible(problem, found))
    if not found.fitting:
        raise ConfigError(nothing_fits(problem, found))
    chosen, device = found.fitting[0], problem.accelerator
    return Plan(
        architecture=problem.shape.architecture,
        num_parameters=problem.shape.total,
        flops_per_token=problem.shape.flops_per_token(config.pretrain.sequence_length),
        sequence_length=config.pretrain.sequence_length,
        global_batch_tokens=config.pretrain.global_batch_tokens,
        precision=config.pretrain.precision,
        fp8=fp8,
        watts=watts,
        accelerator=device.name,
        memory_limit_bytes=int(device.memory_bytes),
        peak_flops=device.peak(config.pretrain.precision),
        world_size=world_size,
        nodes=-(-world_size // device.per_node),
        chosen=chosen,
        runners_up=found.fitting[1:],
        too_large=found.too_large,
        configured=configured(config, problem),
        num_considered=found.considered,
        num_examined=found.examined,
        impossible=dict(found.impossible.most_common()),
        horizon=horizon(config, problem, chosen, price_per_gpu_hour),
        disk=disk(config, problem.shape),
        assumptions=assumptions(problem),
        settings_problem=FP8_PROBLEM if fp8 else settings_problem(config, chosen),
    )


def settings_problem(config: Config, chosen: Candidate) -> str:
    """Why the settings refuse the choice as it is, such as a fine-tune whose batch does not divide over as many ranks."""
    values = config.model_dump(mode="json", exclude_unset=True)
    for assignment in chosen.settings:
        assign(values, assignment)
    try:
        parse_config(values)
    except ConfigError as error:
        return str(error)
    return ""


def problem_of(
    config: Config, gpu: str, world_size: int, per_node: int | None = None, watts: float | None = None, fp8: bool = False
) -> Problem:
    device: Accelerator = accelerator_named(gpu, world_size)
    if watts is not None:
        device = limited(device, watts)
    if per_node is not None:
        device = replace(device, per_node=per_node)
    if fp8:
        check_fp8(device, config.pretrain.precision)
    shape = shape_of(config.model, vocab_rows(config))
    setting = config.parallel.compile
    compiles = setting == "on" or (setting == "auto" and gpu != "cpu")
    return Problem(config.model, shape, config.pretrain, device, world_size, compiles, fp8)


def check_fp8(device: Accelerator, precision: str) -> None:
    """Raises ConfigError where there are no fp8 rates to plan with."""
    if precision != "bf16":
        raise ConfigError(f"--fp8: pretrain.precision={precision} has no products in bf16 to replace; set it to bf16")
    if not device.has_fp8:
        able = ", ".join(name for name, one in ACCELERATORS.items() if one.has_fp8)
        raise ConfigError(f"--fp8: one {device.name} has no products in fp8; choose --gpu of {able}")


def check_mesh_of(config: Config, problem: Problem) -> None:
    """Raises ConfigError where the mesh that the settings give cannot be had with this world size and model."""
    if not config.parallel.model_fields_set & set(MESH_FIELDS):
        return
    try:
        layout = config.parallel.layout(problem.world_size)
    except ValueError as error:
        raise ConfigError(f"{error}, or take `parallel` out of the settings to have it chosen") from None
    check_layout(config.model, problem.shape.vocab_rows, layout)


def configured(config: Config, problem: Problem) -> Configured:
    """The layout of the settings for this world size, and whether it fits."""
    try:
        layout = config.parallel.layout(problem.world_size)
    except ValueError as error:
        return Configured(candidate=None, reason=str(error))
    if reason := misfit(config.model, problem.shape.vocab_rows, layout):
        return Configured(candidate=None, reason=reason)
    size, sequences = config.pretrain.micro_batch_size, config.pretrain.global_batch_size
    if sequences % (size * layout.data_parallel) or sequences // (size * layout.data_parallel) < layout.pipeline_parallel:
        return Configured(
            candidate=None,
            reason=f"the {sequences} sequences of a step do not divide into micro-batches of "
            f"pretrain.micro_batch_size={size} on {layout.data_parallel} data-parallel ranks, "
            f"at least {layout.pipeline_parallel} on each",
        )
    made = candidate(problem, problem.work(layout, size, config.parallel.activation_checkpointing))
    return Configured(candidate=made, reason="" if made.fits else does_not_fit(made, problem.accelerator))


def surely_too_large(plan: Plan) -> bool:
    """Whether the layout of the settings needs more memory than its devices have, compiled or not."""
    made = plan.configured.candidate
    return made is not None and made.needs_more_than(plan.memory_limit_bytes)


def check_fits(plan: Plan) -> None:
    """Raises ConfigError where the layout of the settings needs more memory than its devices have, with the one that fits."""
    if surely_too_large(plan):
        raise ConfigError(f"{plan.configured.reason}; what fits: {plan.settings_line}")


def does_not_fit(made: Candidate, device: Accelerator) -> str:
    what = f"{made.layout} with micro_batch_size={made.micro_batch_size} and activation_checkpointing="
    what += made.activation_checkpointing
    there = f"and one {device.name} has {device.memory_bytes / GIB:.1f} GiB"
    least = (made.least_memory_bytes or made.memory_bytes) / GIB
    if made.needs_more_than(device.memory_bytes):
        return f"{what} needs {least:.1f} GiB per rank, {there}"
    return (
        f"{what} may not fit: it needs between {least:.1f} GiB per rank, as compiled layers should, and "
        f"{made.memory_bytes / GIB:.1f}, {there}"
    )


def nothing_possible(problem: Problem, found: Found) -> str:
    why = "; ".join(found.impossible) or "no product of the mesh's sizes"
    batch = problem.pretrain
    return (
        f"--world-size={problem.world_size}: no layout can be had ({why}); pretrain.global_batch_tokens="
        f"{batch.global_batch_tokens} is {batch.global_batch_size} sequences, choose a world size that divides it"
    )


def nothing_fits(problem: Problem, found: Found) -> str:
    smallest, device = found.smallest, problem.accelerator
    assert smallest is not None
    largest = max(smallest.memory_parts, key=lambda part: smallest.memory_parts[part])
    least = (smallest.least_memory_bytes or smallest.memory_bytes) / GIB
    return (
        f"the model of {problem.shape.total / 1e9:.2f} B parameters fits on none of {found.considered} ways to train it on "
        f"{problem.world_size} x {device.name}: at least {least:.1f} GiB per rank are needed ({smallest.layout}; most of it "
        f"{largest}), and there are {device.memory_bytes / GIB:.1f} GiB; take more devices, devices with more memory, a "
        "shorter pretrain.sequence_length, or a smaller model"
    )


def horizon(config: Config, problem: Problem, chosen: Candidate, price_per_gpu_hour: float | None) -> Horizon:
    steps = config.pretrain.max_steps
    seconds = steps * chosen.step_seconds
    hours = seconds / 3600 * problem.world_size
    return Horizon(
        train_tokens=config.pretrain.train_tokens,
        steps=steps,
        days=seconds / SECONDS_PER_DAY,
        device_hours=hours,
        energy_kwh=hours * problem.accelerator.watts * POWER_USAGE_EFFECTIVENESS / 1000,
        price=None if price_per_gpu_hour is None else hours * price_per_gpu_hour,
    )


def disk(config: Config, shape: Shape) -> Disk:
    every = config.pretrain.milestone_every_steps
    size = 2 if config.pretrain.state_precision == "bf16" else 4
    moments = 2 * shape.total
    if config.pretrain.optimizer == "muon":
        moments -= shape.num_layers * shape.layer_matrices()
    return Disk(
        checkpoint_bytes=size * (shape.total + moments),
        checkpoints_kept=config.pretrain.keep_checkpoints + 2,
        milestone_bytes=size * shape.total,
        milestones=(config.pretrain.max_steps // every if every else 0) + 2,
    )


def assumptions(problem: Problem) -> list[str]:
    """What the numbers rest on, in sentences; the modules memory and step_time say the rest."""
    device = problem.accelerator
    return [
        f"memory: parameters, gradients and the optimizer's moments in {problem.pretrain.state_precision}, "
        f"{problem.pretrain.optimizer}; formulas of Korthikanti et al. 2022, layers as transformers writes them (compiled "
        "ones need less); "
        f"{ALLOCATOR_SLACK:.0%} for the allocator and {device.reserved_bytes / GIB:.1f} GiB for context and "
        "libraries on top",
        f"time: matrix products at up to {device.matmul_fraction:.0%} of {device.peak(problem.pretrain.precision) / 1e12:.4g} "
        f"TFLOP/s{', measured on this machine' if device.name == 'cpu' else ''}"
        f"{f' x {FP8_SPEEDUP} in fp8' if problem.fp8 else ''}, "
        f"the rest at the memory's {device.memory_bandwidth / 1e9:.4g} GB/s; links of {device.link_bandwidth / 1e9:.4g} GB/s "
        f"in a machine of {min(device.per_node, problem.world_size)}, {device.network_bandwidth / 1e9:.4g} GB/s beyond; "
        f"sharding hidden behind {OVERLAP:.0%} of the passes; loading, evaluation and checkpoints free",
        f"energy: {device.watts:.0f} W per device x {POWER_USAGE_EFFECTIVENESS}; disk: parameters and moments for a "
        "checkpoint, parameters for a milestone",
    ]


def simulation_request(config: Config, plan: Plan) -> SimulationRequest:
    """The fullest rank of the chosen layout, as the simulation is asked about it."""
    problem = problem_of(config, plan.accelerator, plan.world_size)
    chosen, layout = plan.chosen, plan.chosen.layout
    layers = stages_of(problem.shape, layout)[chosen.peak_place].layers
    virtual = layout.virtual_stages
    near, far = SIMULATED_LAYERS if virtual == 1 else (2 * virtual, 3 * virtual)
    return SimulationRequest(
        model=config.model,
        vocab_rows=problem.shape.vocab_rows,
        layout=layout,
        rank=chosen.peak_place * layout.stage_size,
        micro_batch_size=chosen.micro_batch_size,
        sequence_length=plan.sequence_length,
        micro_batches=chosen.micro_batches,
        precision=plan.precision,
        state_precision=config.pretrain.state_precision,
        optimizer=config.pretrain.optimizer,
        activation_checkpointing=chosen.activation_checkpointing,
        attention=problem.attention,
        layers_of_rank=layers,
        depths=(min(layers, near), min(layers, far)),
    )


def formula_of(request: SimulationRequest, shape: Shape) -> int:
    """Tensor bytes of the simulated rank by the closed form."""
    work = Work(
        shape, request.layout, request.micro_batch_size, request.sequence_length, request.micro_batches, request.precision,
        request.activation_checkpointing, request.attention, state_precision=request.state_precision,
        optimizer=request.optimizer,
    )  # fmt: skip
    return rank_memory(work, stages_of(shape, request.layout)[request.rank // request.layout.stage_size]).total
