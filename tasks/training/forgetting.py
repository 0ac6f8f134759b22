"""What a fine-tune cost: bits per byte of the text that the base was judged by, before and after."""

from pathlib import Path

import numpy as np
import torch

from tasks.config.training import PretrainConfig
from tasks.data.tokens.shard_writer import index_name
from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.layout import StageLayout
from tasks.record.manifest import Input, Manifest, Request, input_manifest, read_request, sha256_of, verify
from tasks.training.evaluation import answer_losses, heldout_batches, heldout_metrics
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import load_causal
from tasks.training.pretrain import num_heldout_sequences

TOKENIZER = "export/tokenizer.json"


class NotMeasured(Exception):
    """Why, in words that follow `forgetting was not measured: `."""


def heldout_bits(request: Request, mesh: Mesh) -> dict[str, float]:
    """Bits per byte of the `base` and of the `candidate` on the base's held-out text, as its pre-training measured at its end.

    Raises NotMeasured where that text is not known here, IntegrityError where it is damaged.
    """
    base = input_manifest(request, "base")
    folder, dataset = heldout_text(base)
    if sha256_of(base, TOKENIZER) != sha256_of(input_manifest(request, "candidate"), TOKENIZER):
        raise NotMeasured("the candidate has another tokenizer than its base")
    config = PretrainConfig.model_validate(read_request(StageLayout(Path(request.inputs["base"].path))).identity["pretrain"])
    heldout = TokenDataset(folder, dataset, "heldout", config.sequence_length)
    sequences = num_heldout_sequences(config, heldout)
    batches = list(heldout_batches(heldout, sequences, config.micro_batch_size, 0, 1))
    found = {}
    for role in ("base", "candidate"):
        export = StageLayout(Path(request.inputs[role].path)).export
        model = load_causal(export).to(mesh.ranks.device).eval()  # type: ignore[arg-type]  # its stub forgets `self`
        with torch.no_grad():
            losses, _ = answer_losses(model, batches, mesh)
        found[role] = heldout_metrics(float(np.sum(losses)), heldout, sequences)["bits_per_byte"]
    return found


def heldout_text(base: Manifest) -> tuple[Path, Manifest]:
    """Folder and manifest of the data set that the base was pre-trained on, of which what is held out is whole."""
    entry: Input | None = base.inputs.get("dataset")
    if base.kind != "pretrain" or entry is None:
        raise NotMeasured("the base was not pre-trained here, so that no text is known that was held out from it")
    folder = Path(entry.path)
    if not (folder / "manifest.json").exists():
        raise NotMeasured(f"the text that the base was pre-trained on is no longer at {folder}")
    dataset = Manifest.read(folder / "manifest.json")
    if dataset.digest != entry.digest:
        raise NotMeasured(f"{folder} no longer holds the text that the base was pre-trained on")
    shards = dataset.details["shards"]["heldout"]
    names = {TOKEN_BYTES_FILE, *shards, *map(index_name, shards)}
    verify(folder, dataset.model_copy(update={"files": tuple(file for file in dataset.files if file.path in names)}))
    return folder, dataset
