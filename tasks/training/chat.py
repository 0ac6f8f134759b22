"""A conversation with an exported model, in a terminal or through a pipe: `python -m tasks.training.chat FOLDER`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel, TextStreamer

from tasks.record.errors import ConfigError
from tasks.training.asked import (
    HuggingFaceTokenizer,
    Messages,
    conversation_ids,
    ended,
    load_model,
    load_tokenizer,
    num_positions,
)

PROMPT = "> "
GREETING = "Type a message; /new begins again, /quit or Ctrl-D ends."


@dataclass
class Conversation:
    """What was said so far, and how the model answers."""

    model: PreTrainedModel
    tokenizer: HuggingFaceTokenizer
    system: str | None = None
    temperature: float = 0.8
    max_new_tokens: int = 200
    messages: Messages = field(default_factory=list)

    def begin(self) -> None:
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def say(self, text: str) -> str:
        """The answer, which is written to standard output as it comes; a turn that does not come to its end leaves no trace.

        Where the conversation no longer fits, the model is shown its end. Raises ConfigError for a message that is too long.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        ids, messages = self.fitting(messages)
        batch = {name: torch.tensor([row], device=self.model.device) for name, row in self.rows(ids).items()}
        room = min(self.max_new_tokens, num_positions(self.model) - len(ids))
        sampling = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        streamer = TextStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        with torch.inference_mode():
            made = self.model.generate(  # type: ignore[operator]  # causal models have it from a second base class
                **batch, streamer=streamer, max_new_tokens=room, pad_token_id=self.tokenizer.pad_token_id, **sampling
            )
        answer = str(self.tokenizer.decode(made[0][len(ids) :], skip_special_tokens=True))
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        return answer

    def rows(self, ids: list[int]) -> dict[str, list[int]]:
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def fitting(self, messages: Messages) -> tuple[list[int], Messages]:
        """Token ids that leave room for an answer, and the turns that they are of: the oldest are dropped, two at a time."""
        positions = num_positions(self.model)
        first = 1 if self.system else 0
        while True:
            ids = conversation_ids(self.tokenizer, messages)
            if len(ids) + min(self.max_new_tokens, positions // 4) <= positions:
                return ids, messages
            if len(messages) - first < 3:
                if len(ids) < positions:
                    return ids, messages
                raise ConfigError(f"the message has {len(ids)} tokens and the model reads {positions}; shorten it")
            messages = messages[:first] + messages[first + 2 :]


def turns() -> Iterator[str]:
    """Lines of standard input until it ends; a terminal is asked for them."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    import readline  # noqa: F401  (arrow keys and history)

    print(GREETING, file=sys.stderr)
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            print()
            return


def chat(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    conversation = Conversation(
        load_model(arguments.folder),
        load_tokenizer(arguments.folder),
        arguments.system,
        arguments.temperature,
        arguments.max_new_tokens,
    )
    conversation.begin()
    for text in turns():
        if text.strip() == "/quit":
            return
        if text.strip() == "/new":
            conversation.begin()
        elif text.strip():
            answer_to(conversation, text)


def answer_to(conversation: Conversation, text: str) -> None:
    """One turn; Ctrl-C ends the answer and not the conversation, and so does a message that is too long, in a terminal."""
    try:
        conversation.say(text)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print()
    except ConfigError as error:
        if not sys.stdin.isatty():
            raise
        print(f"pretune: {error}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description="Talk with an exported causal model.")
    asked.add_argument("folder", type=Path, help="a model in Hugging Face layout")
    asked.add_argument("--system")
    asked.add_argument("--temperature", type=float, default=0.8)
    asked.add_argument("--max-new-tokens", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    return asked


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    return ended(lambda: chat(given))


if __name__ == "__main__":
    sys.exit(main())
