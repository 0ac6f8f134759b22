"""How well the planner's memory agrees with ranks that train and with simulated ones, and how long plans take.

    python -m tests.benchmarks.planning

The shapes of ranks are those of tests/unit/planning/test_memory.py. Plans are of Llamas of 8 B and 70 B parameters,
4096 sequences of 4096 tokens a step, on H100s; a simulation is of the chosen layout's fullest rank.
"""

import time
from functools import partial

from tasks.planning.plan import formula_of, plan_for, simulation_request
from tasks.planning.shapes import shape_of
from tests.kit.planned_ranks import formula, measured, simulated
from tests.kit.plans import EIGHT_BILLION, SEVENTY_BILLION, large
from tests.kit.ranks import run_ranks
from tests.unit.planning.test_memory import REAL, SIMULATED

MIB, GIB = 2**20, 2**30
WORLD_SIZES = {"8 B": (8, 64, 512, 4096), "70 B": (64, 512, 4096)}


def main() -> None:
    print("| ranks that train | MiB, formula | MiB, largest measured | formula against it |\n| --- | ---: | ---: | ---: |")
    for name, asked in REAL.items():
        taken = run_ranks(asked.layout.world_size, partial(measured, asked=asked))
        there = [
            asked.model_copy(update={"rank": r // asked.layout.stage_size * asked.layout.stage_size}) for r in range(len(taken))
        ]
        off = max((formula(one) / peak - 1 for one, peak in zip(there, taken, strict=True)), key=abs)
        print(f"| {name} | {max(map(formula, there)) / MIB:.1f} | {max(taken) / MIB:.1f} | {off:+.1%} |", flush=True)
    print("\n| simulated rank | MiB, formula | MiB, simulated | formula against it |\n| --- | ---: | ---: | ---: |")
    for name, asked in SIMULATED.items():
        (peak,) = run_ranks(1, partial(simulated, asked=asked))
        found = peak.peak_memory_bytes
        print(f"| {name} | {formula(asked) / MIB:.1f} | {found / MIB:.1f} | {formula(asked) / found - 1:+.1%} |", flush=True)
    print(
        "\n| model | GPUs | chosen | ways | plan, s | simulation, s | formula against simulated |\n| --- " + "| ---: " * 6 + "|"
    )
    for name, model in {"8 B": EIGHT_BILLION, "70 B": SEVENTY_BILLION}.items():
        for world_size in WORLD_SIZES[name]:
            config = large(model, ranks=world_size)
            began = time.perf_counter()
            plan = plan_for(config, "h100", world_size)
            planned = time.perf_counter() - began
            asked = simulation_request(config, plan)
            (peak,) = run_ranks(1, partial(simulated, asked=asked))
            off = formula_of(asked, shape_of(asked.model, asked.vocab_rows)) / peak.peak_memory_bytes - 1
            print(
                f"| {name} | {world_size:,} | {plan.chosen.layout} | {plan.num_considered:,} | {planned:.2f} | "
                f"{peak.seconds:.1f} | {off:+.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
