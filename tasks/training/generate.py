"""Text from an exported model. `python -m tasks.training.generate FOLDER --prompt TEXT`."""

import argparse
import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tasks.data.tokens.rows import ids_to_continue, text_of, tokenizer_of
from tasks.training.asked import be_quiet
from tasks.training.model.model import load_causal
from tasks.training.model.partition import Partition

NEW_TOKENS = 60
LARGEST_SAMPLED = 2_000_000_000
"""Parameters up to which one process loads a divided model's export to write a sample of text."""


def sample_text(
    model: PreTrainedModel, folder: Path, seed: int, prompt: str = "", temperature: float = 0.8, chat: bool = False
) -> str:
    """The prompt and up to 60 sampled tokens after it, or, with `chat`, only the answer to it.

    The same for the same seed on the same machine. `folder` is where the tokenizer lies.
    """
    tokenizer = tokenizer_of(folder)
    start = ids_to_continue(tokenizer, prompt, chat)
    ids = torch.tensor([start], device=next(model.parameters()).device)
    room = model.config.max_position_embeddings - ids.shape[1]
    if room < 1:
        return prompt
    torch.manual_seed(seed)
    with torch.no_grad():
        made = model.generate(  # type: ignore[operator]  # causal models have it from a second base class
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=temperature, top_k=50,
            max_new_tokens=min(NEW_TOKENS, room), pad_token_id=model.config.pad_token_id, use_cache=True,
        )  # fmt: skip
    kept = made[0][len(start) if chat else 0 :].tolist()
    return text_of(tokenizer, kept)


def sample_of(partition: Partition, folder: Path, seed: int, prompt: str = "", chat: bool = False) -> str | None:
    """Text sampled from the exported causal model; None where it is divided and too large. One rank calls it."""
    if not partition.mesh.layout.is_partitioned:
        return sample_text(partition.model, folder, seed, prompt, chat=chat)
    if partition.num_parameters > LARGEST_SAMPLED:
        return None
    return sample_text(load_causal(folder).eval(), folder, seed, prompt, chat=chat)


def main() -> int:
    parser = argparse.ArgumentParser(description="Sample text from an exported causal model.")
    parser.add_argument("folder", type=Path, help="an export folder: config.json, model.safetensors, tokenizer.json")
    parser.add_argument("--prompt", default="", help="text to continue")
    parser.add_argument("--chat", action="store_true", help="treat the prompt as a question to an instruction-tuned model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.8)
    arguments = parser.parse_args()
    be_quiet()
    model = load_causal(arguments.folder).eval()
    text = sample_text(model, arguments.folder, arguments.seed, arguments.prompt, arguments.temperature, arguments.chat)
    sys.stdout.write(text.strip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
