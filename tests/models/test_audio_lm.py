"""Preparing, batching, scoring, writing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from emoscope.models.audio_lm import AudioLM, Gains, Prepared, Request
from emoscope.models.registry import wrap
from emoscope.models.values import pad
from tests.helpers.noise import close_sound
from tests.models.conftest import TEXT, sound


def test_scores_are_probabilities_over_the_whole_vocabulary(model, prepared, close):
    logits = model.next_logits(prepared).double().numpy()
    for score, row in zip(model.score(prepared), logits, strict=True):
        share = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        expected = [np.log(sum(share[token] for token in model.letters[letter])) for letter in "ABC"]
        np.testing.assert_allclose(score.logp, expected, rtol=0, atol=2 * close)
        assert score.logp.dtype == np.float64
        assert score.letter_mass == pytest.approx(np.exp(expected).sum())
        assert score.letter == "ABC"[int(np.argmax(expected))]
        assert score.top == model.tokenizer.decode([int(row.argmax())])


def test_scores_follow_the_rows_letters_and_their_order(model, prepared, close):
    first = prepared[0]
    swapped = Prepared(first.embeddings, first.scopes, ("C", "A"))
    plain, other, last = model.score([first, swapped, prepared[1]])
    np.testing.assert_allclose(other.logp, [plain.logp[2], plain.logp[0]], rtol=0, atol=2 * close)
    assert len(last.logp) == 3


def test_rows_come_back_in_order_and_alone_as_together(model, prepared, close):
    together = model.score(prepared)
    for order in ([2, 0, 3, 1], [1], [3, 3]):
        for score, row in zip(model.score([prepared[row] for row in order]), order, strict=True):
            assert np.abs(score.logp - together[row].logp).max() < 2 * close


def test_a_batch_can_be_kept(model, prepared):
    batch = model.batch(prepared)
    first = model.score(batch)
    # an in-place gain must not reach the kept batch
    model.score(batch, Gains({0: torch.zeros(len(prepared), model.info.width)}))
    for a, b in zip(first, model.score(batch), strict=True):
        assert (a.logp == b.logp).all()


def test_letter_forms_are_found_in_the_vocabulary(model):
    words = {letter: [model.tokenizer.decode([token]) for token in tokens] for letter, tokens in model.letters.items()}
    assert "A" in words["A"]
    assert any(word.startswith(" (") for word in words["A"])
    for letter, shown in words.items():
        assert all(word.strip().strip("()").strip() == letter for word in shown)
    every = {token for tokens in model.letters.values() for token in tokens}
    for token in range(len(model.tokenizer)):
        if model.tokenizer.decode([token]) in ("B", " B", "(B", "(B)", " (B)", "B)"):
            assert token in every


def test_a_letter_without_a_token_is_refused(model):
    with pytest.raises(ValueError, match="letter 'Ä': no single token"):
        model.prepare([Request(None, TEXT, ("A", "Ä"))])


def test_a_row_without_letters_can_write_but_not_score(model):
    rows = model.prepare([Request(None, TEXT, ())])
    assert isinstance(model.generate(rows, max_new_tokens=2)[0], str)
    with pytest.raises(ValueError, match="row 0 has no letters"):
        model.score(rows)


def test_no_rows_and_no_tokens_are_refused(model, prepared):
    with pytest.raises(ValueError, match="no rows"):
        model.score([])
    with pytest.raises(ValueError, match="at least one token"):
        model.generate(prepared, max_new_tokens=0)


def test_the_first_written_token_is_the_likeliest(model, prepared):
    tokens, _ = model.write(prepared, max_new_tokens=1)
    assert [model.tokenizer.decode([t]) for t in tokens[:, 0].tolist()] == [s.top for s in model.score(prepared)]


def test_a_row_that_has_ended_stays_ended(model, prepared):
    tokens, _ = model.write(prepared, max_new_tokens=3)
    stop = int(tokens[0, 1])
    alike = wrap(model.model, model.processor)
    alike.stop_tokens = torch.tensor([stop])
    cut = alike.write(prepared, max_new_tokens=6)[0]
    place = tokens[0].tolist().index(stop)
    assert (cut[0, place:] == stop).all()
    assert alike.generate(prepared, max_new_tokens=6)[0] == model.tokenizer.decode(tokens[0, :place])


class RightPadded(AudioLM):
    """The same model declared as padding on the right; causal attention makes it an equal family."""

    model_type, audio_first, padding_side = "audioflamingo3", True, "right"
    processor_class = model_class = ""

    def hear(self, clips):
        raise NotImplementedError


@pytest.mark.parametrize("watched", [False, True])
def test_a_family_that_pads_on_the_right(model, prepared, watched, close):
    other = RightPadded(model.model, model.processor, "right", "")
    assert other.batch(prepared).scopes[0, -1] == -1
    assert (other.next_logits(prepared) - model.next_logits(prepared)).abs().max() < close
    assert other.generate(prepared, max_new_tokens=5) == model.generate(prepared, max_new_tokens=5)
    off = Gains({1: torch.zeros(len(prepared), model.info.width)}, torch.tensor([[False, True, True, True]] * 4))
    assert (other.next_logits(prepared, off) - model.next_logits(prepared, off)).abs().max() < close


def test_padding_with_positions_of_a_familys_own():
    rows = [
        Prepared(
            torch.ones(n, 2),
            torch.tensor([1] * (n - 1) + [2], dtype=torch.int8),
            ("A",),
            torch.arange(3 * n).view(3, n),
        )
        for n in (2, 4)
    ]
    batch = pad(rows, "left", torch.device("cpu"))
    assert batch.position_ids.shape == (3, 2, 4)
    assert batch.position_ids[:, 0].tolist() == [[0, 0, 0, 1], [0, 0, 2, 3], [0, 0, 4, 5]]
    assert batch.mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_prepared_rows_live_on_the_cpu_and_name_every_position(prepared):
    for row in prepared:
        assert row.embeddings.device.type == "cpu"
        assert row.scopes.dtype == torch.int8
        assert len(row.scopes) == len(row.embeddings) == len(row)
        assert (row.scopes == 2).tolist() == [False] * (len(row) - 1) + [True]


def test_preparing_nothing_gives_nothing(model):
    assert model.prepare([]) == []


def test_many_clips_are_encoded_in_several_rounds(model, monkeypatch):
    requests = [Request(sound(0.3 + 0.1 * i, i), TEXT, ("A",)) for i in range(5)]
    whole = model.prepare(requests)
    monkeypatch.setattr("emoscope.models.audio_lm.AUDIO_WINDOWS", 2)
    for a, b in zip(whole, model.prepare(requests), strict=True):
        assert (a.embeddings - b.embeddings).abs().max() < close_sound(model, requests)


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_padded_on_their_side(prepared, side):
    batch = pad(prepared, side, torch.device("cpu"))
    joined = pad_sequence([row.embeddings for row in prepared], batch_first=True, padding_side=side)
    assert torch.equal(batch.embeddings, joined)
    for place, row in enumerate(prepared):
        own = batch.scopes[place] != -1
        assert torch.equal(batch.embeddings[place][own], row.embeddings)
        assert not batch.embeddings[place][~own].any()
        assert int(batch.lengths[place]) == int(own.sum()) == len(row)
