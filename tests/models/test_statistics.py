"""Statistics per scope against a slow count of the raw activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from emoscope.models.statistics import AT_ONCE, ELEMENTS, ScopeStatistics, half, lines_apart
from emoscope.models.values import ProofFailed


class Raw:
    """Keeps everything."""

    def __init__(self):
        self.seen = {}

    def observe(self, layer, activation, product, scopes):
        answering = int(scopes.flatten()[0]) == 3
        self.seen[layer, answering] = activation.clone(), product.clone(), scopes.clone()


@pytest.mark.parametrize("site", ["gate", "product"])
def test_statistics_equal_a_slow_count(model, prepared, site):
    raw = Raw()
    model.score(prepared, observe=raw)
    statistics = ScopeStatistics(model.info.layers, model.info.width, len(prepared), site)
    model.score(prepared, observe=statistics)
    block = statistics.block()
    for layer in range(model.info.layers):
        activation, product, scopes = raw.seen[layer, False]
        a = (activation if site == "gate" else product).numpy().astype(np.float64)
        after = raw.seen[layer, True][0 if site == "gate" else 1].numpy()
        for row in range(len(prepared)):
            for scope, code in (("audio", 0), ("text", 1)):
                own = a[row, scopes[row].numpy() == code]
                assert (block.counts[scope][row, layer] == (own > 0).sum(0)).all()
                np.testing.assert_allclose(block.means[scope][row, layer], own.mean(0), rtol=2e-3, atol=1e-6)
                assert block.tokens[row, code] == len(own)
            decision = a[row, scopes[row].numpy() == 2]
            assert decision.shape[0] == 1
            np.testing.assert_allclose(block.values["decision"][row, layer], decision[0], rtol=2e-3, atol=1e-6)
            np.testing.assert_allclose(block.values["answer"][row, layer], after[row, 0], rtol=2e-3, atol=1e-6)
        own = scopes.numpy() != -1
        np.testing.assert_allclose(block.abs_sum[layer], np.abs(a[own]).sum(0), rtol=1e-4)
        summed = product.numpy()[own]
        np.testing.assert_allclose(
            block.product_sum[layer], summed.sum(0), rtol=0, atol=1e-5 * np.abs(summed).sum(0).max()
        )
    assert block.positions == sum(map(len, prepared))
    assert (block.tokens[:, 2:] == 1).all()
    assert block.tokens.dtype == np.int32
    assert {array.dtype for array in block.counts.values()} == {np.dtype(np.uint16)}
    assert {array.dtype for array in (*block.means.values(), *block.values.values())} == {np.dtype(np.float16)}


def test_a_block_may_come_in_several_batches_in_any_order(model, prepared):
    whole = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
    model.score(prepared, observe=whole)
    parts = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
    for rows in ([3, 1], [0], [2]):
        model.score([prepared[row] for row in rows], observe=parts.of(rows))
    whole, parts = whole.block(), parts.block()
    for scope in ("audio", "text"):
        # an activation that is zero but for rounding may fire in one batch and not in another
        differ = np.abs(whole.counts[scope].astype(int) - parts.counts[scope])
        assert differ.sum() <= 3 < whole.counts[scope].sum() / 1000
    for scope in ("decision", "answer"):
        np.testing.assert_allclose(
            whole.values[scope], parts.values[scope], rtol=2e-3, atol=1e-3 * np.abs(whole.values[scope]).max()
        )
    np.testing.assert_allclose(whole.abs_sum, parts.abs_sum, rtol=1e-4)
    assert (whole.tokens == parts.tokens).all()


def test_rows_are_widened_in_pieces(monkeypatch, model, prepared):
    whole = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
    model.score(prepared, observe=whole)
    monkeypatch.setattr("emoscope.models.statistics.ELEMENTS", 1)
    pieces = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
    model.score(prepared, observe=pieces)
    whole, pieces = whole.block(), pieces.block()
    assert ELEMENTS > 1
    for scope in ("audio", "text"):
        assert (whole.counts[scope] == pieces.counts[scope]).all()
    np.testing.assert_allclose(whole.product_sum, pieces.product_sum, rtol=0, atol=1e-5 * whole.abs_sum.max())


@pytest.mark.parametrize(("together", "in_cache"), [(1, 1), (2, 10**9), (8, 100), (8, 10**9)])
@pytest.mark.parametrize("site", ["gate", "product"])
def test_rows_in_one_line_are_counted_as_a_slow_count_does(monkeypatch, site, together, in_cache):
    monkeypatch.setattr("emoscope.models.statistics.TOGETHER", together)
    monkeypatch.setattr("emoscope.models.statistics.IN_CACHE", in_cache)
    draw, width, lengths = torch.Generator().manual_seed(0), 3, [4, 1, 9, 2, 2, 30]
    codes = [[1] * (n // 3) + [0] * (n - 1 - n // 3) + [2] for n in lengths]
    scopes = torch.tensor([code for row in codes for code in row], dtype=torch.int8)[:, None]
    statistics = ScopeStatistics(2, width, 8, site)
    rows = [7, 0, 3, 2, 6, 5]
    observer, answers = statistics.of(rows, lengths), statistics.of(rows)
    raw = [[torch.randn(n, 1, width, generator=draw) for _ in range(4)] for n in (sum(lengths), len(rows))]
    for layer in (0, 1):
        observer.observe(layer, *raw[0][2 * layer : 2 * layer + 2], scopes)
    for layer in (0, 1):
        answers.observe(layer, *raw[1][2 * layer : 2 * layer + 2], torch.full((len(rows), 1), 3, dtype=torch.int8))
    block = statistics.block()
    for layer in (0, 1):
        seen, after = (part[2 * layer + (site == "product")][:, 0] for part in raw)
        for number, (row, own) in enumerate(zip(rows, seen.split(lengths), strict=True)):
            for scope, code in (("audio", 0), ("text", 1)):
                part = own[torch.tensor(codes[number]) == code]
                assert (block.counts[scope][row, layer] == (part > 0).sum(0).numpy()).all()
                mean = part.mean(0) if len(part) else torch.zeros(width)
                np.testing.assert_allclose(block.means[scope][row, layer], mean, rtol=2e-3, atol=1e-6)
            np.testing.assert_allclose(block.values["decision"][row, layer], own[-1], rtol=2e-3, atol=1e-6)
            np.testing.assert_allclose(block.values["answer"][row, layer], after[number], rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(block.abs_sum[layer], seen.abs().sum(0), rtol=1e-5)
        np.testing.assert_allclose(block.product_sum[layer], raw[0][2 * layer + 1].sum((0, 1)), rtol=1e-4, atol=1e-4)
    assert block.tokens[rows].tolist() == [[n - 1 - n // 3, n // 3, 1, 1] for n in lengths]
    assert not block.tokens[[1, 4]].any()
    assert block.positions == sum(lengths)


def test_blocks_are_apart_by_their_largest_difference(model, prepared):
    def recorded(rows):
        seen = ScopeStatistics(model.info.layers, model.info.width, len(rows))
        model.score(rows, observe=seen)
        return seen.block()

    block = recorded(prepared)
    assert block.apart(block) == 0
    answer = block.values["answer"].astype(float)
    other = replace(block, values={**block.values, "answer": half(torch.from_numpy(answer + 1)).numpy()})
    assert other.apart(block) == pytest.approx(1 / np.abs(answer).max(), rel=0.01)
    broken = half(torch.from_numpy(answer)).numpy()
    broken[0, 0, 0] = np.nan
    assert np.isnan(replace(block, values={**block.values, "answer": broken}).apart(block))
    assert recorded(prepared[:-1]).apart(block) == np.inf
    assert 0 <= lines_apart(model, prepared) < 1e-3


def test_counts_may_differ_by_what_rounding_can_turn(model, prepared):
    size = model.info.layers, model.info.width, len(prepared)
    whole, single = ScopeStatistics(*size), ScopeStatistics(*size)
    model.score(prepared, observe=whole)
    for row, item in enumerate(prepared):
        model.score([item], observe=single.of([row]))
    block = whole.block()
    differing, most = single.block().turned(block)
    assert differing <= most < 5e-3  # few values: three more of them count
    rng = np.random.default_rng(0)
    counts = block.counts["audio"]
    shifted = {**block.counts, "audio": np.roll(counts, 1, axis=2)}
    assert replace(block, counts=shifted).apart(block) == np.inf
    swapped = {**block.counts, "audio": counts[::-1]}
    assert replace(block, counts=swapped).apart(block) == np.inf
    noise = {scope: (v + 0.01 * rng.standard_normal(v.shape)).astype(np.float16) for scope, v in block.values.items()}
    rough = replace(block, values=noise)
    assert most < rough.turned(block)[1] < replace(rough, counts=shifted).turned(block)[0]
    observed = np.mean([np.mean((noise[scope] > 0) != (v > 0)) for scope, v in block.values.items()])
    assert observed < rough.turned(block)[1]


def test_the_answer_is_the_models_own_letter(model, prepared, close):
    raw = Raw()
    scores = model.score(prepared, observe=raw)
    row, score = prepared[0], scores[0]
    forms = model.letters[score.letter]
    logits = model.next_logits([row])[0]
    token = forms[int(logits[list(forms)].argmax())]
    longer = torch.cat([row.embeddings, model.embed(torch.tensor([token]))])
    seen = Raw()
    from emoscope.models.hooks import hooked

    with torch.inference_mode(), hooked(model.decoder, None, seen, torch.ones(1, len(longer), dtype=torch.int8)):
        model.decoder.backbone(inputs_embeds=longer[None])
    for layer in range(model.info.layers):
        full = seen.seen[layer, False][0][0, -1]
        # as small a share of the activations as rounding is of the logits
        assert (full - raw.seen[layer, True][0][0, 0]).abs().max() < close / logits.abs().max() * full.abs().max()


def test_half_keeps_signs():
    values = torch.tensor([1e-12, -1e-12, 0.0, 3e5, -3e5, 0.1])
    kept = half(values).numpy()
    assert (np.sign(kept) == np.sign(values.numpy())).all()
    assert np.isfinite(kept).all()


def test_an_unknown_site_is_refused():
    with pytest.raises(ValueError, match="site 'up' is not known"):
        ScopeStatistics(1, 1, 1, "up")


def test_padding_is_counted_nowhere():
    activation = torch.tensor([[[9.0], [1.0], [2.0], [-3.0]]])
    statistics = ScopeStatistics(1, 1, 1)
    statistics.observe(0, activation, 2 * activation, torch.tensor([[-1, 0, 1, 2]], dtype=torch.int8))
    block = statistics.block()
    assert (block.abs_sum[0, 0], block.product_sum[0, 0], block.positions) == (6, 0, 3)
    assert (block.counts["audio"][0, 0, 0], block.counts["text"][0, 0, 0]) == (1, 1)
    assert (block.means["audio"][0, 0, 0], block.means["text"][0, 0, 0]) == (1, 2)
    assert block.values["decision"][0, 0, 0] == -3
    assert block.tokens.tolist() == [[1, 1, 1, 0]]


class Copies(TorchDispatchMode):
    """Counts what is copied from a device without numbers; whatever else would read one there fails on it."""

    def __init__(self, scopes: torch.Tensor) -> None:
        super().__init__()
        self.scopes, self.count = scopes, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].is_meta and kwargs.get("device") == torch.device("cpu"):
            self.count += 1
            given = args[0]
            return self.scopes if given.dtype == torch.int8 else torch.zeros(given.shape, dtype=given.dtype)
        return func(*args, **kwargs)


@pytest.mark.parametrize("site", ["gate", "product"])
def test_a_pass_waits_for_its_device_once_and_not_for_each_layer(site):
    layers, rows, positions, width = 28, 4, 6, 18944
    prompt = torch.tensor([[-1, 0, 0, 1, 1, 2]] * rows, dtype=torch.int8)
    every = torch.empty(rows, positions, width, device="meta", dtype=torch.bfloat16)
    statistics = ScopeStatistics(layers, width, rows, site)
    answer = torch.full((rows, 1), 3, dtype=torch.int8)
    # the codes; and once what has been found, as there are more than AT_ONCE bytes of it
    for scopes, part, times in ((prompt, every, 2), (answer, every[:, :1], 1)):
        with Copies(scopes) as copies:
            for layer in range(layers):
                # as hooks give them, codes of an answer are made anew for every layer
                statistics.observe(layer, part, part, scopes.to("meta"))
        assert copies.count == times
    assert AT_ONCE < layers * rows * width * 10 < 2 * AT_ONCE
    with Copies(scopes) as copies:
        block = statistics.block()
    assert copies.count == 2  # what is left of the results, and the sums
    assert block.tokens.tolist() == [[2, 2, 1, 1]] * rows


def test_a_row_with_two_decisions_is_refused():
    every = torch.ones(1, 3, 2)
    with pytest.raises(ProofFailed, match=r"rows have \[2\] positions of scope decision, not one"):
        ScopeStatistics(1, 2, 1).observe(0, every, every, torch.tensor([[1, 2, 2]], dtype=torch.int8))
