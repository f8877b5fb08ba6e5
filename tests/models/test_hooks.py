"""Gains per row, observation, and the counting of hooks."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from emoscope.interventions.intervention import sparse_gains
from emoscope.interventions.kinds import deactivate, steer
from emoscope.models.audio_lm import Gains, ProofFailed
from emoscope.models.hooks import hooked, sparse
from emoscope.models.statistics import ScopeStatistics


def gains(model, rows, seed=0, positions=None):
    draw = torch.Generator().manual_seed(seed)
    shape = rows, model.info.width
    values = {}
    for layer in range(model.info.layers):
        hit = torch.rand(shape, generator=draw) < 0.4
        values[layer] = torch.where(hit, torch.rand(shape, generator=draw) * 4 - 1, 1.0)
    return Gains(values, positions)


def row_of(all_gains, row):
    positions = None if all_gains.positions is None else all_gains.positions[row : row + 1]
    return Gains({layer: value[row : row + 1] for layer, value in all_gains.values.items()}, positions)


def slow_logits(model, row, values, positions):
    """The decoder with MLPs written out anew: the gain stands inside, nothing is hooked."""
    scale = torch.ones(model.info.layers, len(row), model.info.width)
    for layer, value in values.items():
        for place, code in enumerate(row.scopes.tolist()):
            if positions[code]:
                scale[layer, place] = value
    backbone = model.decoder.backbone

    def forward(mlp, layer):
        return lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * scale[layer] * mlp.up_proj(x))

    for layer, block in enumerate(backbone.layers):
        block.mlp.forward = forward(block.mlp, layer)
    try:
        with torch.inference_mode():
            return model.head(backbone(inputs_embeds=row.embeddings[None]).last_hidden_state[:, -1])[0]
    finally:
        for block in backbone.layers:
            del block.mlp.forward


@pytest.fixture(params=["gathered", "in place"])
def either_way(request, monkeypatch):
    """Gains work by gathering the touched neurons, or by multiplying all of them."""
    monkeypatch.setattr("emoscope.models.hooks.FEW", 0 if request.param == "gathered" else 10**9)


@pytest.mark.usefixtures("either_way")
def test_gains_per_row_equal_single_runs_and_a_written_out_decoder(model, prepared, close):
    every = gains(model, len(prepared))
    together = model.next_logits(prepared, every)
    assert (together - model.next_logits(prepared)).abs().amax(1).min() > 0.01
    for place, row in enumerate(prepared):
        alone = model.next_logits([row], row_of(every, place))[0]
        slow = slow_logits(model, row, {k: v[place] for k, v in every.values.items()}, [True] * 4)
        assert (together[place] - alone).abs().max() < close
        assert (together[place] - slow).abs().max() < close


@pytest.mark.usefixtures("either_way")
def test_gains_at_some_positions(model, prepared, close):
    flags = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]]).bool()
    every = gains(model, len(prepared), positions=flags)
    together = model.next_logits(prepared, every)
    for place, row in enumerate(prepared):
        values = {k: v[place] for k, v in every.values.items()}
        slow = slow_logits(model, row, values, flags[place].tolist())
        everywhere = slow_logits(model, row, values, [True] * 4)
        assert (together[place] - slow).abs().max() < close
        assert (together[place] - everywhere).abs().max() > 0.01


def test_gains_at_the_answer_act_only_while_generating(model, prepared):
    answer = torch.tensor([[False, False, False, True]]).expand(len(prepared), 4)
    every = gains(model, len(prepared), positions=answer)
    assert torch.equal(model.next_logits(prepared, every), model.next_logits(prepared))
    plain_tokens, plain = model.write(prepared, max_new_tokens=2, keep_logits=True)
    tokens, changed = model.write(prepared, every, max_new_tokens=2, keep_logits=True)
    assert torch.equal(plain_tokens[:, 0], tokens[:, 0])
    assert torch.equal(plain[0], changed[0])
    assert (plain[1] - changed[1]).abs().amax(1).min() > 0.01


def test_gains_act_in_every_step_of_generation(model, prepared, close):
    every = gains(model, len(prepared))
    tokens, logits = model.write(prepared, every, max_new_tokens=5, keep_logits=True)
    for place, row in enumerate(prepared):
        own_tokens, own = model.write([row], row_of(every, place), max_new_tokens=5, keep_logits=True)
        for step in range(len(own)):
            assert (own[step][0] - logits[step][place]).abs().max() < close
        assert torch.equal(own_tokens[0], tokens[place, : len(own)])
    assert model.generate(prepared, every, max_new_tokens=5) != model.generate(prepared, max_new_tokens=5)


@pytest.mark.usefixtures("either_way")
def test_offsets_are_added_to_the_product(model, prepared, close):
    width = model.info.width
    gain, offset = torch.ones(len(prepared), width), torch.zeros(len(prepared), width)
    gain[:, 3], offset[:, 3] = 0, 0.7
    with_mean = model.next_logits(prepared, Gains({0: gain}, offsets={0: offset}))
    mlp = model.decoder.backbone.layers[0].mlp
    plain = mlp.forward

    def replaced(x):
        product = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
        product[..., 3] = 0.7
        return mlp.down_proj(product)

    mlp.forward = replaced
    try:
        expected = model.next_logits(prepared)
    finally:
        del mlp.forward
    assert mlp.forward == plain
    assert (with_mean - expected).abs().max() < close
    assert (with_mean - model.next_logits(prepared)).abs().max() > 0.001


@pytest.mark.usefixtures("either_way")
def test_gains_shared_by_all_rows_are_held_once(model):
    shared = torch.full((1, model.info.width), 0.5).expand(64, -1)
    (part,) = sparse(model.decoder, Gains({0: shared}, offsets={0: shared}), 64).layers
    for tensor in (part.gain, part.offset):
        assert tensor.shape == (1, model.info.width)
        assert tensor.untyped_storage().nbytes() == 4 * model.info.width


class Crossings(TorchDispatchMode):
    """Notes the shape of each tensor that is copied from the host to the meta device."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        on_host = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.device.type == "cpu"]
        if isinstance(made, torch.Tensor) and made.device.type == "meta" and any(t.ndim for t in on_host):
            self.shapes.append(tuple(made.shape))
        return made


def test_gains_cross_to_the_device_once_and_no_value_is_read_within_a_pass(valueless, prepared):
    # a value that is read on this device is an error
    batch, width = valueless.batch(prepared), valueless.info.width
    gains = sparse_gains(valueless.info, [deactivate([3, width]), steer([5], 0.5, "audio")] * 2)
    letters = sum(len(valueless.letters[letter]) for letter in "ABC")
    crossed = []
    for rows in ([0, 1, 2, 3], [1, 0, 3, 2], [1, 1, 1, 1]):
        with Crossings() as seen:
            scores = valueless.score(batch, gains.of(rows))
        crossed.append(seen.shapes)
    assert len(crossed[0]) > 2
    # which intervention each row has, and the tokens of the letters
    assert crossed[1] == crossed[2] == [(4,), (letters,)]
    assert len(scores) == 4
    with pytest.raises(NotImplementedError, match="no data"):
        scores[0]


def test_gains_for_a_decoder_of_another_width_are_refused(model, prepared):
    from dataclasses import replace

    other = sparse_gains(replace(model.info, width=8), [deactivate([3])] * 4)
    with pytest.raises(ValueError, match="gains are of 8 neurons a layer, the decoder has 40"):
        model.score(prepared, other)
    with pytest.raises(ValueError, match="gains have 2 rows, the batch has 4"):
        model.score(prepared, sparse_gains(model.info, [deactivate([3])] * 4).of([0, 1]))


def test_further_gains_act_on_top(model, prepared, close):
    first, second = gains(model, len(prepared), 1), gains(model, len(prepared), 2)
    product = Gains({layer: first.values[layer] * second.values[layer] for layer in first.values})
    assert (model.next_logits(prepared, first.then(second)) - model.next_logits(prepared, product)).abs().max() < close


def test_only_layers_with_gains_are_hooked(model, prepared):
    batch = model.batch(prepared)
    only = Gains(
        {1: torch.full((len(prepared), model.info.width), 0.5), 2: torch.ones(len(prepared), model.info.width)}
    )
    with hooked(model.decoder, only, None, batch.scopes, 1) as firings:
        assert [bool(site.down._forward_pre_hooks) for site in model.decoder.sites] == [False, True, False]
        model.next_logits(batch)
    assert dict(firings.fired) == {"down of layer 1": 1}


class Recorder:
    def __init__(self):
        self.seen = []

    def observe(self, layer, activation, product, scopes):
        self.seen.append((layer, activation.clone(), product.clone(), scopes.clone()))


def test_an_observer_sees_every_layer_of_both_passes(model, prepared, close):
    recorder = Recorder()
    scores = model.score(prepared, observe=recorder)
    layers = model.info.layers
    assert [layer for layer, *_ in recorder.seen] == [*range(layers), *range(layers)]
    batch = model.batch(prepared)
    for _, activation, product, scopes in recorder.seen[:layers]:
        assert torch.equal(scopes, batch.scopes)
        assert activation.shape == product.shape == (*batch.scopes.shape, model.info.width)
    assert all(set(scopes.flatten().tolist()) == {3} for *_, scopes in recorder.seen[layers:])
    plain = model.score(prepared)
    assert [s.letter for s in scores] == [s.letter for s in plain]
    assert max(abs(a.logp - b.logp).max() for a, b in zip(scores, plain, strict=True)) < 2 * close


def test_activations_are_before_gains_and_products_after(model, prepared):
    off = Gains({0: torch.zeros(len(prepared), model.info.width)})
    plain, changed = Recorder(), Recorder()
    model.score(prepared, observe=plain)
    model.score(prepared, off, observe=changed)
    assert torch.equal(plain.seen[0][1], changed.seen[0][1])
    assert plain.seen[0][2].abs().max() > 0
    assert changed.seen[0][2].abs().max() == 0


def test_a_hook_that_does_not_fire_fails_aloud(model, prepared):
    batch = model.batch(prepared)
    mlp = model.decoder.backbone.layers[1].mlp
    mlp.forward = lambda x: torch.nn.functional.linear(
        mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x), mlp.down_proj.weight
    )
    try:
        with pytest.raises(ProofFailed, match="down of layer 1 fired 0 times in 1 passes"):
            model.next_logits(batch, gains(model, len(prepared)))
    finally:
        del mlp.forward
    with pytest.raises(ProofFailed, match="did not run at all"), hooked(model.decoder):
        pass
    with pytest.raises(ProofFailed, match="ran 2 times where 1 were expected"), hooked(model.decoder, forwards=1):
        [model.decoder.backbone(inputs_embeds=batch.embeddings) for _ in range(2)]


def test_hooks_go_even_when_the_block_breaks(model, prepared):
    with pytest.raises(KeyError), hooked(model.decoder, gains(model, 2), Recorder()):
        raise KeyError
    # the fixture checks that no hook is left


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda w: Gains({0: torch.zeros(3, w)}), "gains have 3 rows, the batch has 4"),
        (lambda w: Gains({0: torch.zeros(4, w + 1)}), r"gains of layer 0 are \(4, 41\), not \(4, 40\)"),
        (lambda w: Gains({7: torch.zeros(4, w)}), "layer 7: the decoder has layers 0 to 2"),
    ],
)
def test_gains_of_the_wrong_shape_are_refused(model, prepared, wrong, message):
    with pytest.raises(ValueError, match=message):
        model.score(prepared, wrong(model.info.width))


def test_statistics_reject_a_batch_of_another_size(model, prepared):
    with pytest.raises(ProofFailed, match=r"\d+ positions were observed as 2 items"):
        model.score(prepared, observe=ScopeStatistics(model.info.layers, model.info.width, rows=2))
