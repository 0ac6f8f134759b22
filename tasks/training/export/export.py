"""A trained model in Hugging Face layout, whatever the layout it was trained on."""

import shutil
from pathlib import Path

from tasks.record.failures import Output, explaining
from tasks.training.export.pieces import MAX_FILE_BYTES, export_pieces
from tasks.training.model.model import add_tokenizer
from tasks.training.model.partition import Partition
from tasks.training.model.pieces import pieces_of


def export_partition(partition: Partition, tokenizer: Path, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """Write `folder` anew, flushed to disk, and return its files on the first rank. All ranks call it.

    The tokenizer's files are copied from the folder `tokenizer`: all of them, or those named in `only`.
    """
    ranks = partition.mesh.ranks
    if ranks.is_first:
        shutil.rmtree(folder, ignore_errors=True)
    ranks.barrier()
    with explaining(ranks.rank, lambda: output_of(partition, folder)):
        if partition.mesh.layout.is_partitioned:
            export_pieces(pieces_of(partition.weights(), partition.mesh, partition.written_elsewhere), folder, ranks)
            if ranks.is_first:
                export_settings(partition, folder)
        elif ranks.is_first:
            folder.mkdir(parents=True)
            partition.model.save_pretrained(folder)
        files = add_tokenizer(tokenizer, folder, only) if ranks.is_first else []
    ranks.barrier()
    return files


def output_of(partition: Partition, folder: Path) -> Output:
    """What an export writes: the weights, and those of a divided model a second time, until they are put together."""
    width = next(iter(partition.weights().values())).element_size()
    whole = partition.num_parameters * width
    copies = 2 if partition.mesh.layout.is_partitioned else 1
    return Output(folder, None, "the export takes", copies * whole, min(whole, MAX_FILE_BYTES))


def export_settings(partition: Partition, folder: Path) -> None:
    """What `save_pretrained` writes beside the weights."""
    whole = partition.whole
    assert whole is not None
    whole.config.architectures, whole.config.dtype = [type(whole).__name__], whole.dtype
    whole.config.save_pretrained(folder)
    if whole.can_generate():
        whole.generation_config.save_pretrained(folder)
