"""Other libraries that read and change activations see and do the same as we, on a tiny Audio Flamingo 3.

Optional: both want packages that emoscope does not need. In an environment of their own,
``pip install nnsight pyvene`` beside emoscope, then ``pytest -m peer``.
"""

from __future__ import annotations

import pytest
import torch

from emoscope.models.values import Gains
from tests.models.conftest import TEXT

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]

LAYER, NEURON, GAIN = 1, 7, 3.0


class Keep:
    """Keeps the gate activation and the gated product of each layer in the prompt."""

    def __init__(self) -> None:
        self.activation, self.product = {}, {}

    def observe(self, layer, activation, product, scopes):
        self.activation.setdefault(layer, activation.clone())
        self.product.setdefault(layer, product.clone())


@pytest.fixture
def inputs(model, requests_):
    """What the official processor makes of one request."""
    return dict(model.processor(text=[model._prompt(TEXT, True)], audio=[requests_[1].audio]))


@pytest.fixture
def ours(model, requests_):
    """What we see in the prompt of the same request, and its logits without and with a gain on one neuron."""
    from dataclasses import replace

    row = model.prepare([replace(requests_[1], text=TEXT)])
    keep, values = Keep(), torch.ones(1, model.info.width)
    model.score(row, observe=keep)
    values[:, NEURON] = GAIN
    return keep, model.next_logits(row), model.next_logits(row, Gains({LAYER: values}))


@pytest.fixture
def report(capsys, close):
    def report(peer, **measured):
        with capsys.disabled():
            print(f"\n{peer}: " + ", ".join(f"{name} {value:.2g}" for name, value in measured.items()))
        assert max(measured.values()) < close

    return report


def test_nnsight_reads_and_changes_the_same(model, inputs, ours, report):
    nnsight = pytest.importorskip("nnsight", reason="nnsight is not installed: pip install nnsight")
    keep, plain, changed = ours
    peer = nnsight.NNsight(model.model)
    with torch.inference_mode(False), torch.no_grad():
        activations, products = {}, {}
        for layer in range(model.info.layers):
            with peer.trace(**inputs):
                mlp = peer.model.language_model.layers[layer].mlp
                activation = mlp.act_fn.output.save()
                product = mlp.down_proj.input.save()
            activations[layer], products[layer] = activation, product
        with peer.trace(**inputs):
            peer.model.language_model.layers[LAYER].mlp.down_proj.input[:, :, NEURON] *= GAIN
            logits = peer.lm_head.output.save()
    report(
        "nnsight",
        activation=max(float((activations[i] - keep.activation[i]).abs().max()) for i in activations),
        product=max(float((products[i] - keep.product[i]).abs().max()) for i in products),
        gain=float((logits[:, -1] - changed).abs().max()),
    )
    assert (changed - plain).abs().max() > 1e-2


def test_pyvene_reads_and_changes_the_same(model, inputs, ours, report):
    pyvene = pytest.importorskip("pyvene", reason="pyvene is not installed: pip install pyvene")
    keep, plain, changed = ours
    positions = inputs["input_ids"].shape[1]
    everywhere = {"base": list(range(positions))}

    def at(layer, part, intervention):
        place = f"model.language_model.layers[{layer}].mlp.{part}"
        return pyvene.IntervenableModel({"component": place, "intervention": intervention}, model=model.model)

    def read(layer, part):
        peer = at(layer, part, pyvene.CollectIntervention())
        ((_, (collected, *_)), _) = peer(base=inputs, unit_locations=everywhere)
        return collected

    def scale(base, source):
        base = base.clone()
        base[..., NEURON] *= GAIN
        return base

    with torch.no_grad():
        activations = {i: read(i, "act_fn.output") for i in range(model.info.layers)}
        products = {i: read(i, "down_proj.input") for i in range(model.info.layers)}
        _, output = at(LAYER, "down_proj.input", scale)(base=inputs, unit_locations=everywhere)
    report(
        "pyvene",
        activation=max(float((activations[i] - keep.activation[i][0]).abs().max()) for i in activations),
        product=max(float((products[i] - keep.product[i][0]).abs().max()) for i in products),
        gain=float((output.logits[:, -1] - changed).abs().max()),
    )
    assert (changed - plain).abs().max() > 1e-2
