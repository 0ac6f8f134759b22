"""The tokenizer of a data set: a byte-level BPE trained on the training text, or a given one; saved as a Hugging Face folder.

Both get the same post-processor ([end-of-text] before every text, as the model sees it in training) and the same chat
template, so that the exported model behaves with plain `transformers` as it was trained.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tokenizers import Tokenizer, processors

from tasks.data.inputs.files import first_line
from tasks.data.inputs.sources import tokenizer_files
from tasks.data.tokens.bpe_training import first_characters, train_bpe, write_sample
from tasks.record.errors import DataError
from tasks.record.files import write_json

END_OF_TEXT, PAD, USER, ASSISTANT = "<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>"
END_OF_TEXT_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|im_end|>")
"""Where nothing says which token ends a text, the first of these that the vocabulary has."""
BYTE_ENTRY = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How SentencePiece writes a byte that is a token of its own."""

CHAT_TEMPLATE = (
    "{{ eos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class TextTokenizer:
    """A `tokenizers.Tokenizer` that takes special tokens within a text for ordinary characters."""

    tokenizer: Tokenizer
    end_of_text: str
    pad: str

    @property
    def end_of_text_id(self) -> int:
        return self._id_of(self.end_of_text)

    @property
    def pad_id(self) -> int:
        return self._id_of(self.pad)

    def _id_of(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        assert found is not None, f"the vocabulary has no {token!r}"
        return found

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: added tokens and gaps in the numbering included."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, characters: int, work: Path | None = None, threads: int | None = None
) -> TextTokenizer:
    """A byte-level BPE trained on the first `characters` of `texts`; equal texts give an equal tokenizer.

    The vocabulary is smaller than `vocab_size` where the text has too few pairs that occur twice. The sample is held in a
    temporary file in the folder `work` (as large as its text), not in memory; for `threads` see `train_bpe`.
    """
    with TemporaryDirectory(dir=work) as folder:
        sample = Path(folder) / "sample.txt"
        write_sample(first_characters(texts, characters), sample)
        return finish(train_bpe(sample, vocab_size, (END_OF_TEXT, PAD, USER, ASSISTANT), threads), END_OF_TEXT, PAD)


def take_tokenizer(path: str) -> TextTokenizer:
    """The tokenizer of a folder or of a tokenizer.json; raises DataError if it cannot be read or has no end-of-text token."""
    files = tokenizer_files(path)
    try:
        tokenizer = Tokenizer.from_file(str(files[0]))
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        reason = first_line(error)
        raise DataError(f"tokenizer.path={path!r} is no tokenizer.json that can be read ({reason}); give a valid one") from None
    named: dict[str, Any] = {}
    for file in files[1:]:
        named = read_settings(file, path) | named
    known = tokenizer.get_vocab(with_added_tokens=True)
    end_of_text = token_text(named.get("eos_token"))
    if end_of_text is None:
        end_of_text = next((name for name in END_OF_TEXT_NAMES if name in known), None)
    if end_of_text is None or end_of_text not in known:
        found = "none of them" if end_of_text is None else f"eos_token {end_of_text!r} is not in its vocabulary"
        raise DataError(
            f"tokenizer.path={path!r} has no end-of-text token ({found}; looked for {', '.join(END_OF_TEXT_NAMES)}); "
            "add one, or name it as eos_token in its tokenizer_config.json"
        )
    pad = token_text(named.get("pad_token"))
    return finish(tokenizer, end_of_text, pad if pad in known else end_of_text)


def read_settings(file: Path, path: str) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"tokenizer.path={path!r}: {file.name} is not valid JSON ({error}); mend it") from None
    return settings if isinstance(settings, dict) else {}


def token_text(value: Any) -> str | None:
    """A token as it stands in a tokenizer_config.json: a string or `{"content": ...}`."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def finish(tokenizer: Tokenizer, end_of_text: str, pad: str) -> TextTokenizer:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[end_of_text, "$A"], pair=[end_of_text, "$A", "$B:1"],
        special_tokens=[(end_of_text, tokenizer.token_to_id(end_of_text))],
    )  # fmt: skip
    tokenizer.encode_special_tokens = True
    return TextTokenizer(tokenizer, end_of_text, pad)


def save_tokenizer(text_tokenizer: TextTokenizer, folder: Path) -> list[Path]:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja, which `AutoTokenizer.from_pretrained` loads."""
    folder.mkdir(parents=True)
    text_tokenizer.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text_tokenizer.end_of_text,
            "eos_token": text_tokenizer.end_of_text,
            "pad_token": text_tokenizer.pad,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )
    return sorted(folder.iterdir())


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer that `save_tokenizer` wrote to `folder`, or that an export carries."""
    named = json.loads((folder / "tokenizer_config.json").read_bytes())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end_of_text = token_text(named["eos_token"]) or END_OF_TEXT
    return finish(tokenizer, end_of_text, token_text(named.get("pad_token")) or end_of_text)


def is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether each character of a vocabulary entry stands for one byte (GPT-2's alphabet)."""
    decoder = json.loads(tokenizer.to_str())["decoder"] or {}
    return any(part.get("type") == "ByteLevel" for part in [decoder, *decoder.get("decoders", [])])


def token_bytes(text_tokenizer: TextTokenizer) -> np.ndarray:
    """UTF-8 bytes of text that each token id stands for, uint16 of shape (vocab_size,); 0 for special tokens.

    Exact for a byte-level tokenizer. For any other it is read off the entries (`\u2581` is a space, `<0x0A>` a byte), which is
    off where a tokenizer adds or drops characters: `prepare` compares it with the text and records what it found.
    """
    tokenizer = text_tokenizer.tokenizer
    byte_level = is_byte_level(tokenizer)
    table = np.zeros(text_tokenizer.vocab_size, dtype=np.uint16)
    for text, token in tokenizer.get_vocab(with_added_tokens=False).items():
        table[token] = len(text) if byte_level else entry_bytes(text)
    for token, added in tokenizer.get_added_tokens_decoder().items():
        table[token] = 0 if added.special else len(added.content.encode())
    return table


def byte_values(text_tokenizer: TextTokenizer) -> dict[int, int]:
    """The tokens that stand for a single byte, and that byte: entries of one letter of the byte alphabet, or `<0x0A>`."""
    vocabulary = text_tokenizer.tokenizer.get_vocab(with_added_tokens=False)
    if is_byte_level(text_tokenizer.tokenizer):
        alphabet = byte_alphabet()
        return {token: alphabet[text] for text, token in vocabulary.items() if text in alphabet}
    return {token: int(text[3:5], 16) for text, token in vocabulary.items() if BYTE_ENTRY.fullmatch(text)}


def byte_alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: a printable Latin-1 byte is its own character, the others follow in order from U+0100 on."""
    own = [byte for byte in range(256) if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def entry_bytes(text: str) -> int:
    """Bytes of an entry that is not byte-level."""
    if BYTE_ENTRY.fullmatch(text):
        return 1
    return len(text.replace("\u2581", " ").removeprefix("##").encode())
