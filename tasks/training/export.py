"""A trained model in Hugging Face layout, whatever the layout it was trained on."""

import shutil
from pathlib import Path

from tasks.training.generate import sample_text
from tasks.training.model import export_model, load_causal
from tasks.training.partition import Partition

LARGEST_SAMPLED = 2_000_000_000
"""Parameters up to which one process loads a divided model's export to write a sample of text."""


def export_partition(partition: Partition, tokenizer: Path, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """Write `folder` anew, flushed to disk, and return its files on the first rank. All ranks call it.

    The tokenizer's files are copied from the folder `tokenizer`: all of them, or those named in `only`.
    """
    ranks = partition.mesh.ranks
    if ranks.is_first:
        shutil.rmtree(folder, ignore_errors=True)
    ranks.barrier()
    if partition.mesh.layout.is_partitioned:
        return export_divided(partition, tokenizer, folder, only)
    files = export_model(partition.model, tokenizer, folder, only) if ranks.is_first else []
    ranks.barrier()
    return files


def sample_of(partition: Partition, folder: Path, seed: int, prompt: str = "", chat: bool = False) -> str | None:
    """Text sampled from the exported causal model; None where it is divided and too large. One rank calls it."""
    if not partition.mesh.layout.is_partitioned:
        return sample_text(partition.model, folder, seed, prompt, chat=chat)
    if partition.num_parameters > LARGEST_SAMPLED:
        return None
    return sample_text(load_causal(folder).eval(), folder, seed, prompt, chat=chat)
