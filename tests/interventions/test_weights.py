"""Interventions on a real (tiny) model: hooks, weight edits and ``under``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emoscope.interventions.intervention import Intervention, edited, gains_for
from emoscope.interventions.kinds import deactivate, steer
from emoscope.models.audio_lm import ProofFailed, Request
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.tiny_families import LAYERS, WIDTH, write_af3

SOME = np.arange(0, LAYERS * WIDTH, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_af3(tmp_path_factory.mktemp("af3") / "tiny"))


@pytest.fixture(scope="module")
def requests_():
    draw = np.random.default_rng(0)
    clips = [draw.normal(0, 0.05, int(s * 16_000)).astype(np.float32) for s in (0.5, 1.3, 0.9)]
    return [Request(clip, "Which? (A) x (B) y", ("A", "B")) for clip in clips]


@pytest.fixture(scope="module")
def prepared(model, requests_):
    return model.prepare(requests_)


@pytest.fixture(scope="module")
def close(model, requests_):
    """Largest difference of logits that counts as rounding."""
    return close_logits(model, requests_)


@pytest.mark.parametrize(
    "change", [deactivate(SOME), steer(SOME, 1.0), steer(SOME, -2.0), deactivate(SOME) + steer([1], 3)]
)
def test_the_edit_equals_the_gains(model, prepared, change, close):
    by_hook = model.next_logits(prepared, change.gains(model.info, len(prepared)))
    with edited(model, change):
        by_edit = model.next_logits(prepared)
        texts = model.generate(prepared, max_new_tokens=4)
    assert (by_hook - by_edit).abs().max() < close
    assert (by_hook - model.next_logits(prepared)).abs().max() > 0.01
    assert texts == model.generate(prepared, change.gains(model.info, len(prepared)), max_new_tokens=4)


def test_a_mean_is_no_change_of_weights(model):
    with pytest.raises(ValueError, match="it cannot hold a mean; use gains"), edited(model, deactivate([1], to="mean", means=[0.5])):  # fmt: skip
        pass


def test_bits_come_back_even_when_the_block_breaks(model):
    before = [site.down.weight.detach().clone() for site in model.decoder.sites]
    with edited(model, deactivate(SOME)):
        assert not torch.equal(before[0], model.decoder.sites[0].down.weight)
    with pytest.raises(KeyError), edited(model, deactivate(SOME)):
        raise KeyError
    assert all(torch.equal(a, site.down.weight) for a, site in zip(before, model.decoder.sites, strict=True))


def test_edits_can_be_nested(model, prepared, close):
    before = model.decoder.fingerprint()
    with edited(model, steer(SOME, 0.1)), edited(model, deactivate(SOME[:5])):
        nested = model.next_logits(prepared)
    assert model.decoder.fingerprint() == before
    both = (steer(SOME, 0.1) + deactivate(SOME[:5])).gains(model.info, len(prepared))
    assert (nested - model.next_logits(prepared, both)).abs().max() < close


def test_a_weight_changed_by_others_meanwhile_is_noticed(model):
    weight = model.decoder.sites[0].down.weight
    old = weight.detach().clone()
    with pytest.raises(ProofFailed, match="not restored bit for bit"), edited(model, deactivate([1])), torch.no_grad():
        weight[0, 0] += 1
    with torch.no_grad():
        weight.copy_(old)


def test_an_edit_at_some_positions_is_refused(model):
    with pytest.raises(ValueError, match="weights act at every position"), edited(model, deactivate([1], "audio")):
        pass


def test_under_acts_on_every_answer_inside(model, prepared):
    change = steer(SOME, 2.0)
    gains = change.gains(model.info, len(prepared))
    plain = model.score(prepared)
    with model.under(change) as same:
        assert same is model
        inside, written = model.score(prepared), model.generate(prepared, max_new_tokens=3)
    for a, b in zip(inside, model.score(prepared, gains), strict=True):
        assert (a.logp == b.logp).all()
    assert written == model.generate(prepared, gains, max_new_tokens=3)
    for a, b in zip(plain, model.score(prepared), strict=True):
        assert (a.logp == b.logp).all()
    assert any((a.logp != b.logp).any() for a, b in zip(plain, inside, strict=True))


def test_under_adds_to_gains_and_to_other_unders(model, prepared, close):
    a, b, c = steer(SOME, 0.5), deactivate(SOME[::2], "audio"), steer([4, 5], 3.0)
    together = model.next_logits(prepared, (a + b + c).gains(model.info, len(prepared)))
    with model.under(b), model.under(c):
        nested = model.next_logits(prepared, a.gains(model.info, len(prepared)))
    assert (nested - together).abs().max() < close
    assert (together - model.next_logits(prepared, (a + c).gains(model.info, len(prepared)))).abs().max() > 1e-3


def test_under_ends_when_the_block_breaks(model, prepared):
    plain = model.next_logits(prepared)
    with pytest.raises(KeyError), model.under(deactivate(SOME)):
        raise KeyError
    assert torch.equal(model.next_logits(prepared), plain)


def test_nothing_changes_nothing(model, prepared):
    plain = model.next_logits(prepared)
    assert torch.equal(model.next_logits(prepared, gains_for(model.info, [Intervention()] * len(prepared))), plain)
    with model.under(Intervention()), edited(model, Intervention()):
        assert torch.equal(model.next_logits(prepared), plain)


def test_rows_under_different_interventions(model, prepared, close):
    changes = [deactivate(SOME), Intervention(), steer(SOME, 1.0, "text") + deactivate(SOME[:9], "audio")]
    together = model.next_logits(prepared, gains_for(model.info, changes))
    for place, (row, change) in enumerate(zip(prepared, changes, strict=True)):
        with model.under(change):
            assert (model.next_logits([row])[0] - together[place]).abs().max() < close
