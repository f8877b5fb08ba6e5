"""Neurons set to their mean on a real (tiny) model, against a product overwritten directly before down_proj."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from emoscope.interventions.intervention import POSITIONS, Intervention, gains_for, sparse_gains
from emoscope.interventions.kinds import deactivate, steer
from emoscope.models.audio_lm import Request
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.tiny_families import LAYERS, WIDTH, write_af3

MEANS = np.random.default_rng(1).normal(0, 0.5, (LAYERS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_af3(tmp_path_factory.mktemp("af3") / "tiny"))


@pytest.fixture(scope="module")
def requests_():
    draw = np.random.default_rng(0)
    clips = [draw.normal(0, 0.05, int(s * 16_000)).astype(np.float32) for s in (0.5, 1.3, 0.9, 0.7)]
    return [Request(clip, "Which? (A) x (B) y", ("A", "B")) for clip in clips]


@pytest.fixture(scope="module")
def prepared(model, requests_):
    return model.prepare(requests_)


@pytest.fixture(scope="module")
def close(model, requests_):
    """Largest difference of logits that counts as rounding."""
    return close_logits(model, requests_)


def off(neurons, positions="all"):
    return deactivate(neurons, positions, to="mean", means=MEANS)


@contextmanager
def overwritten(model, row, neurons, positions):
    """One row at a time, position by position, neuron by neuron: its product becomes the mean, then down_proj runs."""
    passes = []

    def before_down(layer):
        def hook(_module, args):
            product = args[0].clone()
            if layer == 0:
                passes.append(1)
            codes = row.scopes.tolist() if len(passes) == 1 else [3]
            assert product.shape[:2] == (1, len(codes))
            for place, code in enumerate(codes):
                for neuron in neurons:
                    if neuron // WIDTH == layer and POSITIONS[code] in positions:
                        product[0, place, neuron % WIDTH] = float(MEANS[layer, neuron % WIDTH])
            return (product,)

        return hook

    handles = [site.down.register_forward_pre_hook(before_down(n)) for n, site in enumerate(model.decoder.sites)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


ROWS = (
    (range(0, LAYERS * WIDTH, 3), POSITIONS),
    (range(1, WIDTH, 2), ("audio",)),
    ((2, WIDTH + 5, 2 * WIDTH), ("text", "decision")),
    (range(LAYERS * WIDTH), ("answer",)),
)
"""Another set at other positions for each row of the batch."""


@pytest.fixture(params=["gathered", "in place"])
def either_way(request, monkeypatch):
    """Gains work by gathering the touched neurons, or by multiplying all of them."""
    monkeypatch.setattr("emoscope.models.hooks.FEW", 0 if request.param == "gathered" else 10**9)


@pytest.mark.usefixtures("either_way")
def test_rows_under_different_sets_equal_products_overwritten_one_row_at_a_time(model, prepared, close):
    gains = gains_for(model.info, [off(list(neurons), positions) for neurons, positions in ROWS])
    logits, plain = model.next_logits(prepared, gains), model.next_logits(prepared)
    scores = model.score(prepared, gains)
    tokens, steps = model.write(prepared, gains, max_new_tokens=4, keep_logits=True)
    for place, (row, (neurons, positions)) in enumerate(zip(prepared, ROWS, strict=True)):
        with overwritten(model, row, neurons, positions):
            alone = model.next_logits([row])[0]
        with overwritten(model, row, neurons, positions):
            score = model.score([row])[0]
        with overwritten(model, row, neurons, positions):
            own_tokens, own = model.write([row], max_new_tokens=4, keep_logits=True)
        assert (logits[place] - alone).abs().max() < close
        moved = (logits[place] - plain[place]).abs().max()
        assert moved > 0.01 if positions != ("answer",) else moved == 0
        np.testing.assert_allclose(scores[place].logp, score.logp, rtol=0, atol=2 * close)
        assert len(own) > 1
        for step, own_logits in enumerate(own):
            assert (steps[step][place] - own_logits[0]).abs().max() < close
        assert torch.equal(own_tokens[0], tokens[place, : len(own)])


@pytest.mark.usefixtures("either_way")
def test_gains_held_once_for_a_condition_give_the_same_bits_in_each_batch(model, prepared):
    changes = [off(list(neurons), positions) for neurons, positions in ROWS]
    changes[1] += steer([0, 1, 2], 0.5, "text+decision")
    changes[3] = changes[0]
    held = sparse_gains(model.info, changes)
    assert held.places == (0, 1, 2, 0)
    for rows in ([0, 1, 2, 3], [2, 0], [3], [1, 1, 2]):
        batch = model.batch([prepared[row] for row in rows])
        written_out = gains_for(model.info, [changes[row] for row in rows])
        assert torch.equal(model.next_logits(batch, held.of(rows)), model.next_logits(batch, written_out))
        assert model.generate(batch, held.of(rows), 4) == model.generate(batch, written_out, 4)
        for one, two in zip(model.score(batch, held.of(rows)), model.score(batch, written_out), strict=True):
            assert (one.logp == two.logp).all()
    with model.under(steer([5, WIDTH + 5], 2.0)) as under:
        both = under.next_logits(prepared, held), under.next_logits(prepared, gains_for(model.info, changes))
    assert torch.equal(*both)


def test_means_of_the_answer_act_in_later_steps_only(model, prepared):
    gains = off(range(LAYERS * WIDTH), "answer").gains(model.info, len(prepared))
    _, plain = model.write(prepared, max_new_tokens=2, keep_logits=True)
    _, changed = model.write(prepared, gains, max_new_tokens=2, keep_logits=True)
    assert torch.equal(plain[0], changed[0])
    assert (plain[1] - changed[1]).abs().amax(1).min() > 0.01


@pytest.mark.usefixtures("either_way")
def test_a_mean_stays_under_a_gain_on_the_same_neurons(model, prepared, close):
    some = list(range(0, LAYERS * WIDTH, 3))
    mean = model.next_logits(prepared, off(some).gains(model.info, len(prepared)))
    for both in (off(some) + steer(some, 2.0), steer(some, 2.0, "audio") + off(some), deactivate(some) + off(some)):
        assert (model.next_logits(prepared, both.gains(model.info, len(prepared))) - mean).abs().max() < close
    further = (off(some) + steer([1], 3.0)).gains(model.info, len(prepared))
    assert (model.next_logits(prepared, further) - mean).abs().amax(1).min() > 0.01


def test_rows_with_and_without_means_share_a_batch(model, prepared, close):
    some = list(range(0, LAYERS * WIDTH, 3))
    mixed = gains_for(model.info, [Intervention(), off(some), steer(some, 1.0), off(some) + steer([1], 1.0)])
    together = model.next_logits(prepared, mixed)
    for place, change in enumerate([Intervention(), off(some), steer(some, 1.0), off(some) + steer([1], 1.0)]):
        alone = model.next_logits([prepared[place]], change.gains(model.info, 1))[0]
        assert (together[place] - alone).abs().max() < close


def test_a_product_replaced_by_itself_changes_no_bit(model):
    # at one position of one row the mean of the product is the product
    row = model.prepare([Request(None, "x", ("A", "B"))])[0]
    kept = {}
    handles = [
        site.down.register_forward_pre_hook(lambda _module, args, n=n: kept.__setitem__(n, args[0].clone()))
        for n, site in enumerate(model.decoder.sites)
    ]
    try:
        before = model.next_logits([row])
    finally:
        for handle in handles:
            handle.remove()
    means = torch.stack([kept[n][0, -1] for n in range(LAYERS)]).numpy()
    same = deactivate(range(LAYERS * WIDTH), "decision", to="mean", means=means)
    assert torch.equal(model.next_logits([row], same.gains(model.info, 1)), before)
