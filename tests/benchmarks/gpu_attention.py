"""Attention over packed documents on one GPU: the forward and backward pass of one micro-batch of a 124 M Llama.

    python tests/benchmarks/gpu_attention.py [--contenders flex_attention sdpa varlen] [--strict no yes] [--dry-run]

32 x 1024 tokens with a document's begin about every 300, bf16 autocast, layers compiled, cross-entropy in chunks. `sdpa` is
given a dense mask, `varlen` (`torch.nn.attention.varlen`) the places where documents begin, `flex_attention` a mask of blocks,
as in pretune's training. `--strict yes` asks torch for deterministic algorithms, as that training does. Times are medians of
ten; three other passes say whether equal inputs give equal gradients, bit by bit. Each line is printed as soon as it is there.
`--dry-run` runs it in small on the CPU, where `varlen` goes from document to document and flexible attention cannot train.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# A GPU machine has its own Python, into which nothing is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from contenders import Shape, device, llama
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from tasks.training.model.objective import chunked_cross_entropy, head_rows
from tasks.training.model.ranks import compute_exactly

CONTENDERS = ("flex_attention", "sdpa", "varlen")
WARMUP_PASSES, EQUAL_PASSES, REPEATS = 3, 3, 10


@dataclass(frozen=True)
class Work:
    """A model and the micro-batch that it is given."""

    shape: Shape
    micro_batch_size: int
    length: int
    document_tokens: int
    """Mean length of a document."""


REAL = Work(Shape(50_304, 768, 2048, 12, 12, 12), 32, 1024, 300)
SMALL = Work(Shape(384, 32, 64, 2, 2, 2), 2, 64, 20)


@dataclass(frozen=True)
class Batch:
    """input_ids, labels and position_ids, each (B, L); `begins` are the documents' first places among B x L, and its end."""

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    begins: Tensor

    @classmethod
    def random(cls, work: Work) -> "Batch":
        chance, places = np.random.default_rng(0), np.arange(work.length)
        first = chance.random((work.micro_batch_size, work.length)) < 1 / work.document_tokens
        first[:, 0] = True
        positions = places - np.maximum.accumulate(np.where(first, places, 0), axis=1)
        begins = np.flatnonzero(first)
        # Empty documents at the end bring the number to a power of two: a kernel is compiled for few shapes.
        padded = np.full(1 << len(begins).bit_length(), first.size, dtype=np.int32)
        padded[: len(begins)] = begins
        tokens = chance.integers(0, work.shape.vocab_size, (2, *first.shape))
        input_ids, labels, position_ids, where = (torch.from_numpy(a).to(device()) for a in (*tokens, positions, padded))
        return cls(input_ids, labels, position_ids, where)


def varlen(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: None, scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None, max_length_q: int = 0, **_others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of transformers' form over (B, H, L, D), within documents whose begins are `cu_seq_lens_q`; (B, L, H, D)."""
    assert cu_seq_lens_q is not None
    batch, heads, length, width = query.shape
    flat = [t.to(torch.bfloat16).transpose(1, 2).reshape(batch * length, heads, width) for t in (query, key, value)]
    if not query.is_cuda:
        return document_by_document(flat, cu_seq_lens_q, scaling).view(batch, length, heads, width), None
    from torch.nn.attention.varlen import varlen_attn

    bounds = (cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q)
    return varlen_attn(*flat, *bounds, scale=scaling, window_size=(-1, 0)).view(batch, length, heads, width), None


def document_by_document(flat: list[Tensor], begins: Tensor, scaling: float | None) -> Tensor:
    """What the kernel for GPUs computes, of query, key and value (N, H, D)."""
    bounds = begins.tolist()
    parts = [[t[a:b].transpose(0, 1) for t in flat] for a, b in pairwise(bounds) if b > a]
    attend = partial(nn.functional.scaled_dot_product_attention, is_causal=True, scale=scaling)
    return torch.cat([attend(*part).transpose(0, 1) for part in parts])


def one_pass(model: PreTrainedModel, name: str, batch: Batch) -> Tensor:
    """Mean loss in nats/token, after its backward pass."""
    kind = batch.input_ids.device.type
    bounds = {"cu_seq_lens_q": batch.begins, "max_length_q": batch.input_ids.shape[1]} if name == "varlen" else {}
    with torch.autocast(kind, torch.bfloat16):
        hidden = model.get_decoder()(
            input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=None, use_cache=False, **bounds
        ).last_hidden_state.to(torch.bfloat16)
    weight, vocab_start, group = head_rows(model)
    loss = chunked_cross_entropy(hidden.flatten(0, 1), weight, batch.labels.flatten(), vocab_start, group)
    (loss / batch.labels.numel()).backward()
    return loss.detach() / batch.labels.numel()


def milliseconds(run: Callable[[], Tensor]) -> list[float]:
    """Of REPEATS passes one after the other; on a GPU by its own clock."""
    if not torch.cuda.is_available():
        marks = [time.perf_counter()]
        for _ in range(REPEATS):
            run()
            marks.append(time.perf_counter())
        return [1e3 * (b - a) for a, b in pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(REPEATS + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in pairwise(events)]


def measure(name: str, strict: bool, work: Work) -> list[str]:
    """Cells of the contender's line."""
    torch._dynamo.reset()
    torch.use_deterministic_algorithms(False)
    if strict:
        compute_exactly()
    model, batch = llama(work.shape, work.length, name).train(), Batch.random(work)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        for layer in model.model.layers:
            layer.compile()

    def run() -> Tensor:
        model.zero_grad()
        return one_pass(model, name, batch)

    for _ in range(WARMUP_PASSES):
        run()
    gradients = []
    for _ in range(EQUAL_PASSES):
        run()
        gradients.append([p.grad.clone() for p in model.parameters()])
    equal = all(torch.equal(a, b) for other in gradients[1:] for a, b in zip(gradients[0], other, strict=True))
    del gradients
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    typical = median(milliseconds(run))
    peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if on_gpu else "-"
    tokens_per_second = 1e3 * batch.labels.numel() / typical
    return [f"{typical:.1f}", f"{tokens_per_second:,.0f}", peak, f"{run().item():.4f}", "yes" if equal else "no"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--strict", nargs="+", choices=("no", "yes"), default=("no", "yes"), help="deterministic algorithms")
    parser.add_argument("--dry-run", action="store_true", help="a tiny model, on the CPU too")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not arguments.dry_run:
        parser.error("there is no GPU; --dry-run runs it in small on the CPU")
    AttentionInterface.register("varlen", varlen)
    print(f"{torch.cuda.get_device_name() if on_gpu else 'no GPU'}, torch {torch.__version__}\n")
    print("| attention | strict | ms | tokens/s | peak, GiB | loss | gradients equal, bit by bit |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |", flush=True)
    for strict in arguments.strict:
        for name in arguments.contenders:
            cells = ["not run"] * 5
            if on_gpu or name != "flex_attention":
                cells = measure(name, strict == "yes", SMALL if arguments.dry_run else REAL)
            print("| " + " | ".join([name, strict, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
