"""An exported model that is asked, from its folder alone: loaded without a word, and its inputs as token ids."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as HuggingFaceTokenizer
from transformers.utils import logging as library_logging

from tasks.record.children import INTERRUPTED_EXIT_CODE, USER_ERROR_EXIT_CODE
from tasks.record.errors import ConfigError, PretuneError

Messages = list[dict[str, str]]
"""Turns of a conversation, each with `role` and `content`."""


def be_quiet() -> None:
    """No bars while loading and no advice of the library: standard error is for what the person who asks should know."""
    library_logging.disable_progress_bar()
    library_logging.set_verbosity_error()


def ended(work: Callable[[], None]) -> int:
    """Exit code of a process that does the work: a mistake of the user's is said in one sentence."""
    be_quiet()
    try:
        work()
    except PretuneError as error:
        print(f"pretune: {error}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        sys.stdout = None  # whoever read has gone: nothing is left to flush
        return 1
    return 0


def is_classifier(folder: Path) -> bool:
    architectures = json.loads((folder / "config.json").read_bytes()).get("architectures") or [""]
    return str(architectures[0]).endswith("ForSequenceClassification")


def load_model(folder: Path) -> PreTrainedModel:
    """The model in fp32, on the GPU if there is one."""
    kind = AutoModelForSequenceClassification if is_classifier(folder) else AutoModelForCausalLM
    device: Any = "cuda" if torch.cuda.is_available() else "cpu"
    model = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return cast(PreTrainedModel, model.to(device).eval())


def load_tokenizer(folder: Path) -> HuggingFaceTokenizer:
    """The tokenizer of the folder, which takes what looks like a special token within a text for the characters that it is."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, split_special_tokens=True)
    return cast(HuggingFaceTokenizer, tokenizer)


def num_positions(model: PreTrainedModel) -> int:
    return int(getattr(model.config, "max_position_embeddings", 0)) or sys.maxsize


def conversation_ids(tokenizer: HuggingFaceTokenizer, messages: Messages) -> list[int]:
    """Token ids of a conversation up to where the assistant answers, by the tokenizer's own chat template.

    What a message says is never taken for a special token; only the template's own are. Raises ConfigError where there is no
    template, or it refuses the conversation.
    """
    if tokenizer.chat_template is None:
        raise ConfigError("the model has no chat template, so it cannot be asked in turns; continue texts with it instead")
    special = tokenizer.get_added_vocab()
    if not any(token in message["content"] for message in messages for token in special):
        return encoded(tokenizer, rendered(tokenizer, messages), special=True)
    marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
    left = rendered(tokenizer, [message | {"content": mark} for message, mark in zip(messages, marks, strict=True)])
    ids: list[int] = []
    for message, mark in zip(messages, marks, strict=True):
        before, _, left = left.partition(mark)
        ids += encoded(tokenizer, before, special=True) + encoded(tokenizer, message["content"], special=False)
    return ids + encoded(tokenizer, left, special=True)


def rendered(tokenizer: HuggingFaceTokenizer, messages: Messages) -> str:
    try:
        return cast(str, tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    except TemplateError as error:
        raise ConfigError(f"the model's chat template refuses this conversation ({error}); leave --system out") from None


def encoded(tokenizer: HuggingFaceTokenizer, text: str, special: bool) -> list[int]:
    return cast(list[int], tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
