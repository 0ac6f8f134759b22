"""The tokenizer of a base that was not made here: what it loses is found, and what it does not say is settled."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.inputs.files import first_line
from tasks.data.tokens.tokenizer import CHAT_TEMPLATE, token_text
from tasks.record.errors import DataError
from tasks.record.files import read_json, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS = (
    "The quick brown fox",
    "two  spaces,   three",
    " one before and one behind ",
    "a line\nanother\n\nand a third\n\ttab",
    "0 1 23 456 7890 3.14 -5 1,000,000",
    "naïve café, über, 中文, 日本語, русский, שלום",
    "🎉 {\"key\": [1, 2]} <b>x</b> don't I'm a.b , c !",
)
"""What decoding must give back: spaces, lines, digits, scripts, signs."""
CONFIG, TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
OWN_CLASS = "TokenizersBackend"
"""The class of transformers that takes a tokenizer.json as it stands; others build parts of it anew."""
OF_ANOTHER_PLACE = ("is_local", "local_files_only", "backend", "name_or_path")
TURNS = ({"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "This."})


def load_given(folder: Path, **settings: Any) -> "PreTrainedTokenizerBase":
    """The tokenizer as everybody gets it with plain transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, **settings)


def settle_tokenizer(
    folder: Path, ends: list[int], num_rows: int, said: str
) -> tuple["PreTrainedTokenizerBase", dict[str, Any]]:
    """Make the tokenizer of an export complete; returns it, and for the record `round_trip` and `chat_template`.

    `ends` are the ids at which the model stops, best first; the model has `num_rows` rows for tokens. Nothing is added that
    would make the vocabulary grow: padding may be the token that ends a text. `said` begins the sentence of a DataError.
    """
    result = mend_round_trip(folder, said)
    tokenizer, named = load_given(folder), read_settings(folder)
    if (largest := max(tokenizer.get_vocab().values())) >= num_rows:
        raise DataError(
            f"{said}: its tokenizer numbers tokens up to {largest} and the model has {num_rows} rows for them; give the "
            "tokenizer that belongs to it"
        )
    if tokenizer.eos_token_id is None:
        if not ends:
            raise DataError(f"{said} names no token that ends a text; set eos_token in its {CONFIG}")
        named["eos_token"] = tokenizer.convert_ids_to_tokens(ends[0])
    if tokenizer.pad_token_id is None:
        named["pad_token"] = token_text(named.get("eos_token")) or str(tokenizer.eos_token)
    if tokenizer.chat_template is None:
        (folder / TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")
    if named != read_settings(folder):
        write_json(folder / CONFIG, named)
    own, tokenizer = tokenizer.chat_template is not None, load_given(folder)
    check_template(tokenizer, said)
    return tokenizer, {"round_trip": result, "chat_template": own}


def drop_new_tokens(folder: Path, num_rows: int) -> None:
    """Take out what transformers adds to a vocabulary from a GGUF file, such as a token for what is unknown."""
    known = read_json(folder / "tokenizer.json")
    new = [token["content"] for token in known.get("added_tokens", ()) if token["id"] >= num_rows]
    if new:
        kept = [token for token in known["added_tokens"] if token["id"] < num_rows]
        write_json(folder / "tokenizer.json", known | {"added_tokens": kept})
        named = read_settings(folder)
        write_json(folder / CONFIG, {key: value for key, value in named.items() if token_text(value) not in new})


def read_settings(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    named = read_json(file) if file.is_file() else {}
    return {key: value for key, value in named.items() if key not in OF_ANOTHER_PLACE}


def mend_round_trip(folder: Path, said: str) -> str:
    """`exact`, or what was changed to make it so; raises DataError for a tokenizer that loses characters."""
    first = lost(load_given(folder), TEXTS)
    if first is None:
        return "exact"
    named = read_settings(folder)
    other = named.get("tokenizer_class")
    if other != OWN_CLASS:
        write_json(folder / CONFIG, named | {"tokenizer_class": OWN_CLASS})
        if lost(load_given(folder), TEXTS) is None:
            return f"exact with tokenizer_class {OWN_CLASS!r}; with {other!r} {first[0]!r} came back as {first[1]!r}"
    raise DataError(
        f"{said}: its tokenizer does not give back what it was given ({first[0]!r} came back as {first[1]!r}); give a "
        "tokenizer that keeps every character, such as a byte-level one"
    )


def lost(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> tuple[str, str] | None:
    """The first text that is not the same after encoding and decoding, and what came back."""
    for text in texts:
        try:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        except Exception as error:  # noqa: BLE001 - the library raises Exception itself
            return text, f"nothing: {first_line(error)}"
        back = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if back != text:
            return text, back
    return None


def check_template(tokenizer: "PreTrainedTokenizerBase", said: str) -> None:
    """Raises DataError for a chat template with which a question and its answer cannot be written."""
    import jinja2

    try:
        tokenizer.apply_chat_template(list(TURNS), tokenize=False)
        tokenizer.apply_chat_template(list(TURNS[:1]), tokenize=False, add_generation_prompt=True)
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        raise DataError(
            f"{said}: its chat template cannot write a question and an answer ({first_line(error)}); mend or remove it"
        ) from None
