"""How far the planner's rates are from those of training runs that others published.

    python -m tests.benchmarks.published_runs

The rows, with their sources, are in tests/kit/published_runs.py; `fitted` chose the planner's constants, the others were held
out.
"""

from statistics import median

from tests.kit.published_runs import DENSE, FP8, PIPELINES, TENSOR, PublishedRun, predicted

TABLES = {
    "Dense, bf16": (DENSE, False), "Pipelines, bf16": (PIPELINES, False), "Tensor parallel, bf16": (TENSOR, False),
    "fp8": (FP8, True),
}  # fmt: skip
HEADER = (
    "| run | GPU | layout | micro-batches | recomputed | software | published, tokens/s/GPU | planned | planned / published | |"
)


def row(run: PublishedRun, rate: float) -> str:
    layout = ", ".join(part for part in str(run.layout).split(", ") if not part.endswith(" 1")) or "one rank"
    limit = f" at {run.watts:.0f} W" if run.watts else ""
    batch = f"{run.micro_batches} x {run.micro_batch_size} x {run.sequence_length}"
    part = "fitted" if run.fitted else ""
    return (
        f"| {run.name} | {run.gpu}{limit} | {layout} | {batch} | {run.recomputed} | {run.software} | {run.rate:,.0f} | "
        f"{rate:,.0f} | {rate / run.rate:.2f} | {part} |"
    )


def main() -> None:
    for title, (runs, fp8) in TABLES.items():
        rates = [predicted(run, fp8) for run in runs]
        print(f"{title}\n\n{HEADER}\n{'| --- ' * HEADER.count(' | ')}| --- |")
        for run, rate in zip(runs, rates, strict=True):
            print(row(run, rate))
        for name, chosen in (("fitted", True), ("held out", False)):
            errors = [abs(rate / run.rate - 1) for run, rate in zip(runs, rates, strict=True) if run.fitted is chosen]
            if errors:
                print(f"{name}: {len(errors)} rows, median {median(errors):.1%} off, at most {max(errors):.1%}")
        print()


if __name__ == "__main__":
    main()
