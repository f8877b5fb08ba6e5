"""Attribution of answers to neurons, against gradients of the whole graph and Captum's."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from torch import nn

from emoscope.models import check
from emoscope.models.attribution import log_odds
from emoscope.models.audio_lm import Gains, Request
from emoscope.models.registry import load_model
from emoscope.models.values import AUDIO, DECISION, TEXT
from tests.models.family_layout import sound

TEXTS = ("Angry? (A) yes (B) no (C) maybe", "Who speaks? (A) one (B) two (C) three Answer.")
LETTERS = ("A", "B", "C")


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def prepared(model):
    asked = [Request(sound(0.4 + 0.3 * row, row), text, LETTERS) for row, text in enumerate(TEXTS)]
    return model.prepare([*asked, Request(None, TEXTS[0], LETTERS)])


@pytest.fixture(params=[False, True], ids=["padded", "line"])
def packs(request, model):
    before, model.packs = model.packs, request.param
    yield request.param
    model.packs = before


def whole_graph(model, row, letter, codes):
    """Sums of gradient x product and of gradients by autograd over the whole decoder, (layer, width); and mean products."""
    products = []
    hooks = [
        site.down.register_forward_pre_hook(lambda _, args: products.append(args[0])) for site in model.decoder.sites
    ]
    embeddings = row.embeddings.clone().requires_grad_()[None]
    hidden = model.decoder.backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, -1]
    for hook in hooks:
        hook.remove()
    logits = model.logits(hidden)[0]
    scores = torch.stack([logits[list(model.letters[name])].logsumexp(0) for name in row.letters])
    place = row.letters.index(letter)
    odds = scores[place] - torch.cat([scores[:place], scores[place + 1 :]]).logsumexp(0)
    gradients = torch.autograd.grad(odds, products)
    inside = torch.isin(row.scopes, torch.tensor(codes))
    pairs = [(g[0, inside], a[0, inside].detach()) for g, a in zip(gradients, products, strict=True)]
    sums = [[(g * a).sum(0).numpy(), g.sum(0).numpy(), a.sum(0).numpy() / max(1, int(inside.sum()))] for g, a in pairs]
    return np.stack(sums, 1)


@pytest.mark.parametrize(
    ("scope", "codes"), [("audio", [AUDIO]), ("text+decision", [TEXT, DECISION]), ("all", [0, 1, 2])]
)
def test_sums_are_those_of_the_whole_graph(model, prepared, packs, scope, codes):
    options = [("C", "A"), ("B", "C"), ("A", "B")]
    for asked in (options, [row.letters for row in prepared]):  # some options, and all of them by differences
        found = model.attribute(prepared, asked, scope)
        for row, letters in enumerate(asked):
            for place, letter in enumerate(letters):
                attributed, gradient, product = whole_graph(model, prepared[row], letter, codes)
                assert np.allclose(found.attributed[place, row], attributed, atol=2e-5)
                assert np.allclose(found.gradient[place, row], gradient, atol=2e-5)
                assert np.allclose(found.product[row], product, atol=2e-6)
    assert found.positions.tolist() == [int(torch.isin(row.scopes, torch.tensor(codes)).sum()) for row in prepared]


def test_captum_agrees(model, prepared):
    row = prepared[0]

    class Odds(nn.Module):
        def forward(self, embeddings):
            logits = model.logits(
                model.decoder.backbone(inputs_embeds=embeddings, use_cache=False).last_hidden_state[:, -1]
            )
            scores = torch.stack([logits[0, list(model.letters[name])].logsumexp(0) for name in row.letters])
            return log_odds(scores)[:1]

    found = model.attribute([row], [("A",)], "all")
    for layer, site in enumerate(model.decoder.sites):
        theirs = LayerGradientXActivation(Odds(), site.down)
        embeddings = row.embeddings.clone()[None]
        wanted = theirs.attribute(embeddings, attribute_to_layer_input=True)[0].sum(0).detach().numpy()
        assert np.allclose(found.attributed[0, 0, layer], wanted, atol=2e-5)


def test_a_neuron_switched_off_by_a_little_moves_log_odds_by_its_attribution(model, prepared):
    found = model.attribute(prepared, [row.letters for row in prepared]).attributed
    layer, neuron = np.unravel_index(np.abs(found[0, 0]).argmax(), found.shape[2:])
    value = torch.ones(len(prepared), model.info.width)
    value[:, neuron] -= 0.01
    untouched, off = (
        np.array([score.logp for score in model.score(prepared, gains)]) for gains in (None, Gains({int(layer): value}))
    )
    odds = [logp[:, 0] - np.logaddexp(logp[:, 1], logp[:, 2]) for logp in (untouched, off)]
    assert np.allclose((odds[0] - odds[1]) / 0.01, found[0, :, layer, neuron], rtol=0.05, atol=1e-3)


def test_what_cannot_be_attributed_is_said(model, prepared):
    with pytest.raises(ValueError, match="as many for every row"):
        model.attribute(prepared, [("A",), ("A", "B"), ("A",)])
    with pytest.raises(ValueError, match="letter 'Q' is none of the row's letters A, B, C"):
        model.attribute(prepared, [("Q",)] * 3)
    with torch.inference_mode():
        inside = model.attribute(prepared[:1], [("A",)])
    assert np.array_equal(inside.attributed, model.attribute(prepared[:1], [("A",)]).attributed)
    with pytest.raises(ValueError, match="before it is fed back"):
        model.attribute(prepared, [("A",)] * 3, "answer")


def test_gradients_of_another_layer_fail_the_proof(model, prepared, monkeypatch):
    case = check.Case(model, list(prepared), [], "rows")
    proof = check.GRADIENTS["gradients tell what small gains do"]
    measured, tolerance, _ = proof(case)
    assert measured < tolerance
    real = type(model).attribute

    def swapped(self, rows, options, scope="all"):
        found = real(self, rows, options)
        return type(found)(found.attributed[:, :, ::-1].copy(), found.gradient, found.product, found.positions)

    monkeypatch.setattr(type(model), "attribute", swapped)
    measured, tolerance, _ = proof(case)
    assert measured > 5 * tolerance
