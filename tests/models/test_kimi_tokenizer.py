"""The tokenizer: official special tokens, text as ordinary characters, what AudioLM uses."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("tiktoken", reason="skipped: the package tiktoken is not installed (the extra kimi)")

from emoscope.models.families.kimi_tokenizers import SPECIAL_TOKENS, KimiTokenizer, special_tokens
from emoscope.models.values import letter_forms
from tests.helpers.tiny_kimi import ranks


@pytest.fixture(scope="module")
def tokenizer():
    return KimiTokenizer(ranks())


def test_ids_of_special_tokens_are_the_released_ones():
    # as read out of the released tokenizer by public programs that use it
    found = special_tokens(151_643)
    assert len(found) == len(set(found.values())) == SPECIAL_TOKENS == 152_064 - 151_643
    released = {
        "[BOS]": 151643, "[EOS]": 151644, "<|im_msg_end|>": 151645, "<|im_user_msg_start|>": 151646,
        "<|im_assistant_msg_start|>": 151647, "<|reserved_token_0|>": 151648, "<|reserved_token_3|>": 151651,
        "[EOT]": 151652, "<|reserved_token_4|>": 151653, "<|reserved_token_11|>": 151660, "<|im_media_begin|>": 151661,
        "<|reserved_token_12|>": 151662, "<|im_media_end|>": 151663, "<|reserved_token_14|>": 151665,
        "<|im_kimia_text_blank|>": 151666, "<|im_kimia_text_eos|>": 151667, "<|reserved_token_16|>": 151669,
        "<|im_kimia_user_msg_start|>": 151670, "<|im_kimia_assistant_msg_start|>": 151671,
        "<|reserved_token_19|>": 151674, "<|im_kimia_speech_ct_id|>": 151675, "<|im_kimia_speech_ctd_id|>": 151676,
        "<|reserved_token_20|>": 151677, "<|reserved_token_406|>": 152063,
    }  # fmt: skip
    assert {name: found[name] for name in released} == released


@pytest.mark.parametrize("text", ["(A) anger (B) fear", "żółć 你好 \n\n 123", "<|im_media_begin|>[BOS]"])
def test_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_special_tokens_can_be_left_out(tokenizer):
    ids = [*tokenizer.encode("A"), tokenizer.eos_token_id]
    assert tokenizer.decode(ids) == "A<|im_kimia_text_eos|>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "A"


def test_the_vocabulary_names_every_token_once(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(tokenizer)))
    assert vocabulary[" A"] == tokenizer.encode(" A")[0]


def test_letters_are_found(tokenizer):
    forms = letter_forms(tokenizer)
    assert [tokenizer.decode([token]) for token in forms["A"]] == ["A", " A", "(A"]


def test_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no tiktoken\.model"):
        KimiTokenizer.from_folder(tmp_path)
    for content, error in ((b"IQ== x\n", "is no list of byte strings"), (b"IQ== 1\n", "does not count its 1 entries")):
        (tmp_path / "tiktoken.model").write_bytes(content)
        with pytest.raises(ValueError, match=error):
            KimiTokenizer.from_folder(tmp_path)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ValueError, match=r"pip install 'emoscope\[kimi\]'"):
        KimiTokenizer(ranks())
