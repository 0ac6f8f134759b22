"""The tokenizer of a base from elsewhere: what loses characters is mended where it is known how, or refused."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tasks.data.tokens.intake import TEXTS, drop_new_tokens, load_given, lost, mend_round_trip, settle_tokenizer
from tasks.record.errors import DataError
from tasks.record.files import read_json, write_json
from tests.kit.bases import TEMPLATE, byte_level, changed, metaspace


def written(folder: Path, tokenizer: Tokenizer, end: str | None = "<|im_end|>") -> Path:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=end)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    write_json(folder / "config.json", {"model_type": "llama"})
    return folder


@pytest.mark.parametrize("tokenizer", [byte_level, metaspace])
def test_a_tokenizer_that_keeps_every_character_stays_as_it_is(tmp_path: Path, tokenizer: type) -> None:
    folder = written(tmp_path / "t", tokenizer())
    before = (folder / "tokenizer_config.json").read_bytes()
    assert mend_round_trip(folder, "base='x'") == "exact"
    assert (folder / "tokenizer_config.json").read_bytes() == before


def test_a_class_that_builds_another_tokenizer_is_replaced_by_the_one_that_takes_it_as_it_is(tmp_path: Path) -> None:
    """A byte-level vocabulary under a class that writes spaces as SentencePiece does."""
    folder = written(tmp_path / "t", byte_level())
    ids = load_given(folder)(TEXTS[1])["input_ids"]
    changed(folder, "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    assert lost(load_given(folder), TEXTS) is not None, "the fault is there"
    assert mend_round_trip(folder, "base='x'") == (
        "exact with tokenizer_class 'TokenizersBackend'; with 'GemmaTokenizer' 'The quick brown fox' came back as 'nothing: "
        "Unk token `<unk>` not found in the vocabulary'"
    )
    assert AutoTokenizer.from_pretrained(folder)(TEXTS[1])["input_ids"] == ids


def test_what_cannot_be_mended_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Replace("  ", " ")
    with pytest.raises(DataError) as error:
        mend_round_trip(written(tmp_path / "t", tokenizer), "base='x'")
    assert str(error.value) == (
        "base='x': its tokenizer does not give back what it was given ('two  spaces,   three' came back as 'two spaces,  "
        "three'); give a tokenizer that keeps every character, such as a byte-level one"
    )


def test_an_end_of_the_text_is_taken_from_the_model_or_missed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        settle_tokenizer(written(tmp_path / "a", byte_level(), None), [], 384, "base='x'")
    assert str(error.value) == "base='x' names no token that ends a text; set eos_token in its tokenizer_config.json"
    tokenizer, found = settle_tokenizer(written(tmp_path / "b", byte_level(), None), [1], 384, "base='x'")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, len(tokenizer)) == (1, 1, 320)
    assert found == {"round_trip": "exact", "chat_template": True}


def test_a_token_that_the_model_has_no_row_for_is_taken_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "t", byte_level())
    tokenizer = load_given(folder)
    tokenizer.add_special_tokens({"unk_token": "<nothing>"})
    tokenizer.save_pretrained(folder)
    changed(folder, "tokenizer_config.json", tokenizer_class="TokenizersBackend")
    assert max(load_given(folder).get_vocab().values()) == 320
    drop_new_tokens(folder, 320)
    assert max(load_given(folder).get_vocab().values()) == 319
    assert "unk_token" not in read_json(folder / "tokenizer_config.json")
