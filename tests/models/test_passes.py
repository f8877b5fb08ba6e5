"""Rows in one line, last positions alone, passes that begin later."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from emoscope.interventions.intervention import sparse_gains
from emoscope.interventions.kinds import deactivate, steer
from emoscope.models.audio_lm import Gains, Prepared, ProofFailed
from emoscope.models.passes import LastPositions, Line, Start, Starts, pack, room, shared
from emoscope.models.values import ANSWER, DECISION


def varied(model, rows, positions=None):
    """Another change of many neurons for each row."""
    draw = torch.Generator().manual_seed(0)
    shape = rows, model.info.width
    return Gains({layer: torch.rand(shape, generator=draw) * 3 - 0.5 for layer in range(model.info.layers)}, positions)


def at(*scopes, rows):
    return torch.tensor([[scope in scopes for scope in range(4)]] * rows)


def orders_of(row, last):
    """The same prompt with other embeddings in its last positions, as under another order of letters."""
    values = row.embeddings.clone()
    values[-last:] = values[-last:].flip(0) * 1.1
    return [row, replace(row, embeddings=values)]


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("scopes", [(0, 1, 2, 3), (0,), (1, 2), (2,)])
def test_rows_in_one_line_answer_as_padded_ones(model, prepared, close, scopes, few, monkeypatch):
    monkeypatch.setattr("emoscope.models.hooks.FEW", few)  # neurons gathered, or all multiplied
    gains = varied(model, len(prepared), at(*scopes, rows=len(prepared)))
    padded, line = model.next_logits(prepared, gains), pack(prepared, model.device)
    assert (padded - model.next_logits(prepared)).abs().amax(1).min() > 10 * close
    assert (model.next_logits(line, gains) - padded).abs().max() < close
    for one, other in zip(model.score(line, gains), model.score(prepared, gains), strict=True):
        assert one.letter == other.letter
        assert abs(one.logp - other.logp).max() < 2 * close
    assert line.embeddings.shape[1] == sum(map(len, prepared))


def test_means_and_strengths_of_interventions_act_in_a_line(model, prepared, close):
    info = model.info
    changes = [
        deactivate([1, 50, 90]),
        steer([3, 44], 2.0, "audio"),
        deactivate([2], positions="text"),
        deactivate([7]),
    ]
    gains = sparse_gains(info, [change for change, _ in zip(changes, prepared, strict=True)])
    line = pack(prepared, model.device)
    assert (model.next_logits(line, gains) - model.next_logits(prepared, gains)).abs().max() < close


def test_a_beginning_is_shared_by_rows_that_are_alike(model, prepared, close):
    rows = [*orders_of(prepared[0], 9), *orders_of(prepared[1], 5), prepared[2]]
    assert [shared(rows[0], rows[1]), shared(rows[2], rows[3])] == [len(rows[0]) - 9, len(rows[2]) - 5]
    places = [0, 0, 1, 1, 2]
    gains = sparse_gains(model.info, [deactivate([1, 50]), deactivate([3, 90]), steer([60], 3.0)]).of(places)
    line = pack(rows, model.device, places)
    apart = pack(rows, model.device)
    assert apart.embeddings.shape[1] - line.embeddings.shape[1] == len(rows[0]) + len(rows[2]) - 14
    alone = torch.cat([model.next_logits([row], gains.of([place])) for place, row in enumerate(rows)])
    assert (model.next_logits(line, gains) - alone).abs().max() < close
    assert (model.next_logits(apart, gains) - alone).abs().max() < close
    # rows that are alike from beginning to end still have a last position each
    same = pack([prepared[0]] * 3, model.device, [0, 0, 0])
    assert same.embeddings.shape[1] == len(prepared[0]) + 2
    assert (model.next_logits(same) - model.next_logits([prepared[0]])).abs().max() < close


def test_rows_that_begin_alike_by_chance_share_nothing(prepared):
    rows = orders_of(prepared[0], 3)
    assert pack(rows, torch.device("cpu"), ["a", "b"]).embeddings.shape[1] == 2 * len(rows[0])
    other = replace(rows[0], position_ids=torch.arange(len(rows[0])) + 1)
    assert shared(replace(rows[0], position_ids=torch.arange(len(rows[0]))), other) == 0


def test_last_positions_answer_as_whole_rows(model, prepared, close):
    rows = [*orders_of(prepared[0], 9), *prepared[1:]]
    gains = varied(model, len(rows), at(DECISION, rows=len(rows)))
    padded, line = model.next_logits(rows, gains), pack(rows, model.device, [0, 0, 1, 2, 3])
    last = model.last_positions(line)
    assert last.embeddings.shape[1] == len(last) == len(rows)
    # one after the other: none sees what another has left
    for change, wanted in ((gains, padded), (None, model.next_logits(rows)), (gains, padded)):
        assert (model.next_logits(last, change) - wanted).abs().max() < close
    with pytest.raises(ValueError, match="have no last positions to ask alone"):
        model.last_positions(model.batch(rows))


def test_the_last_layer_works_on_last_positions_alone(model, prepared):
    seen = []
    handles = [site.down.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1])) for site in model.decoder.sites]  # fmt: skip
    try:
        model.next_logits(pack(prepared, model.device))
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [sum(map(len, prepared))] * (model.info.layers - 1) + [len(prepared)]


def test_a_pass_in_a_line_leaves_the_model_as_it_was(model, prepared):
    before, config = model.next_logits(prepared), model.decoder.backbone.config
    usual = config._attn_implementation
    model.next_logits(pack(prepared, model.device))
    with pytest.raises(ValueError, match="gains of layer 0"):
        model.next_logits(pack(prepared, model.device), Gains({0: torch.ones(len(prepared), 3)}))
    assert config._attn_implementation == usual
    assert torch.equal(model.next_logits(prepared), before)
    for ask, why in (
        (lambda line: model.generate(line), "cannot write"),
        (lambda line: model.score(line, observe=object()), "are observed by score_lines"),
        (lambda line: model.score_lines([line], [object()], object()), "as a whole"),
    ):
        with pytest.raises(ValueError, match=why):
            ask(pack(prepared, model.device))
    with pytest.raises(ValueError, match="no rows"):
        pack([], model.device)


class Raw:
    """Keeps the activation and the product of every layer."""

    def __init__(self):
        self.seen = {}

    def observe(self, layer, activation, product, scopes):
        self.seen[layer, int(scopes.flatten()[0]) == ANSWER] = activation.clone(), product.clone(), scopes.clone()


def test_rows_in_lines_are_observed_and_answered_as_padded_ones(model, prepared, close):
    padded, lines, answers, passes = Raw(), [Raw(), Raw()], Raw(), []
    wanted = model.score(prepared, observe=padded)
    places = [[3, 0], [2, 1]]
    made = [pack([prepared[row] for row in rows], model.device, whole=True) for rows in places]
    hook = model.decoder.backbone.register_forward_hook(lambda *_: passes.append(1))
    found = model.score_lines(made, lines, answers)
    hook.remove()
    assert len(passes) == len(made) + 1  # the answers of all rows in one
    rows = [row for line in places for row in line]
    for one, row in zip(found, rows, strict=True):
        assert one.letter == wanted[row].letter
        assert abs(one.logp - wanted[row].logp).max() < 2 * close
    for layer in range(model.info.layers):
        for which in (0, 1):
            most = padded.seen[layer, False][which].abs().max()
            whole, after = padded.seen[layer, False], padded.seen[layer, True][which]
            for line, numbers in zip(lines, places, strict=True):
                each = line.seen[layer, False][which].split([len(prepared[row]) for row in numbers])
                for part, row in zip(each, numbers, strict=True):
                    assert (part[:, 0] - whole[which][row][whole[2][row] >= 0]).abs().max() < 1e-4 * most
            assert (answers.seen[layer, True][which] - after[rows]).abs().max() < 1e-4 * most
    assert not any(answering for _, answering in (*lines[0].seen, *lines[1].seen))
    assert {answering for _, answering in answers.seen} == {True}


def test_an_intervention_around_it_acts_on_lines_and_their_answers(model, prepared):
    padded, line, answers = Raw(), Raw(), Raw()
    with model.under(deactivate(range(60))):
        model.score(prepared, observe=padded)
        model.score_lines([pack(prepared, model.device, whole=True)], [line], answers)
    assert line.seen[0, False][1][..., :40].abs().max() == answers.seen[0, True][1][..., :40].abs().max() == 0
    after = padded.seen[2, True][1]
    assert (answers.seen[2, True][1] - after).abs().max() < 1e-4 * after.abs().max()


@pytest.mark.parametrize("window", [2, 20, 500])
def test_an_answer_looks_back_no_further_than_its_window(window):
    draw = torch.Generator().manual_seed(0)
    heads, lengths = 2, ((7, 3), (12,))
    left, module = [], torch.nn.Identity()
    for batch in lengths:
        rows = [Prepared(torch.zeros(n, 4), torch.ones(n, dtype=torch.int8), ("A",)) for n in batch]
        line = replace(pack(rows, torch.device("cpu"), whole=True).layout, left={})
        line.attend(module, *(torch.randn(1, heads, sum(batch), 8, generator=draw) for _ in range(3)), None, window)
        left.append(line.left)
    before = [tuple(each.clone() for each in part[module]) for part in left]
    layout = LastPositions(tuple(torch.tensor(batch) + 1 for batch in lengths), tuple(left), ANSWER)
    query, key, value = (torch.randn(1, heads, 3, 8, generator=draw) for _ in range(3))
    found = layout.attend(module, query, key, value, None, window)[0]
    for number, (batch, row) in enumerate([(0, 0), (0, 1), (1, 0)]):
        n = lengths[batch][row]
        keys, values = (torch.cat([old[row, :, :n], new[0, :, number, None]], 1) for old, new in zip(before[batch], (key, value), strict=True))  # fmt: skip
        keys, values = keys[:, -window:], values[:, -window:]
        weights = (query[0, :, number, None] @ keys.mT / 8**0.5).softmax(-1)
        assert torch.allclose(found[number], (weights @ values)[:, 0], atol=1e-6)


@pytest.mark.parametrize("window", [3, 20, 500])
def test_attention_within_a_window(window):
    draw = torch.Generator().manual_seed(0)
    lengths, heads = (7, 30, 1), 2
    rows = [Prepared(torch.zeros(n, 4), torch.ones(n, dtype=torch.int8), ("A",)) for n in lengths]
    line = pack(rows, torch.device("cpu")).layout
    assert isinstance(line, Line)
    query, key, value = (torch.randn(1, heads, sum(lengths), 8, generator=draw) for _ in range(3))
    found = line.attend(torch.nn.Identity(), query, key, value, None, window)[0]
    begun = 0
    for n in lengths:
        for place in range(n):
            first = begun + max(0, place + 1 - window)
            part = slice(first, begun + place + 1)
            weights = (query[0, :, begun + place, None] @ key[0, :, part].mT / 8**0.5).softmax(-1)
            assert torch.allclose(found[begun + place], (weights @ value[0, :, part])[:, 0], atol=1e-6)
        begun += n


def test_a_later_start_of_a_line_is_exact(model, prepared):
    line, layers = pack(prepared, model.device), model.info.layers
    every, start = varied(model, len(prepared)), None
    for layer in range(layers + 1):
        gains = Gains({later: value for later, value in every.values.items() if later >= layer})
        start = model.begin(line, layer, start)
        assert (start.product is None) is (layer == layers)
        # twice: gains change a copy of the product
        for _ in range(2):
            assert torch.equal(model.next_logits(line, gains, start=start), model.next_logits(line, gains))
        alone = model.begin(line, layer)
        assert torch.equal(model.next_logits(line, gains, start=alone), model.next_logits(line, gains))


def test_what_a_layer_does_before_its_product_is_not_done_again(model, prepared):
    line, seen = pack(prepared, model.device), []
    start = model.begin(line, 1)
    for layer, site in enumerate(model.decoder.sites):
        for name in ("gate", "up", "down"):
            getattr(site, name).register_forward_hook(lambda *_, who=(layer, name): seen.append(who))
    for block in model.decoder.blocks:
        block.self_attn.o_proj.register_forward_hook(lambda *_: seen.append("attention"))
    model.next_logits(line, start=start)
    for module in model.decoder.backbone.modules():
        module._forward_hooks.clear()
    assert seen == [(1, "down"), "attention", (2, "gate"), (2, "up"), (2, "down")]


def test_products_are_kept_where_they_need_not_be_copied(model, valueless, prepared, monkeypatch):
    monkeypatch.setattr(model, "resumes", True)
    batch = pack(prepared, model.device)
    starts = Starts(model)
    start = starts.at(0, batch, 0)
    assert start is starts.at(0, batch, 0)
    assert start.product.shape == (1, sum(map(len, prepared)), model.info.width)
    assert starts.at(0, batch, 1).product is not None
    kept = batch.embeddings.nbytes
    assert Starts(model, limit=2 * kept).at(0, batch, 0) is None
    assert Starts(model, limit=2 * kept).at(0, batch, 1).product is None
    # elsewhere than on the CPU what is kept on the host has no product
    monkeypatch.setattr(valueless, "resumes", True)
    batch = valueless.batch(prepared)
    assert Starts(valueless, room=1 << 30).at(0, batch, 0).product.is_meta
    assert Starts(valueless, limit=1 << 30).at(0, batch, 0) is None
    # a decoder in whose layers no attention is found
    blocks = model.decoder.blocks
    for block in blocks:
        monkeypatch.setattr(type(block), "__getattr__", lambda module, name: (_ for _ in ()).throw(AttributeError(name)) if name == "self_attn" else torch.nn.Module.__getattr__(module, name))  # fmt: skip
    with pytest.raises(AttributeError):
        blocks[0].self_attn  # noqa: B018
    assert Starts(model).at(0, pack(prepared, model.device), 0) is None


def test_passes_may_begin_at_a_later_layer(model, prepared):
    batch, layers = model.batch(prepared), model.info.layers
    draw = torch.Generator().manual_seed(0)
    values = {layer: torch.rand(len(prepared), model.info.width, generator=draw) * 3 - 0.5 for layer in range(layers)}
    start = None
    for layer in range(1, layers + 1):
        gains = Gains({later: value for later, value in values.items() if later >= layer})
        start = model.begin(batch, layer, start, into=False)
        assert (start.layer, start.bytes) == (layer, batch.embeddings.numel() * 4)
        assert torch.equal(model.next_logits(batch, gains, start=start), model.next_logits(batch, gains))
        # the same from rows, and without an earlier start
        other = model.begin(prepared, layer)
        for one, two in zip(model.score(prepared, gains, start=other), model.score(batch, gains), strict=True):
            assert (one.logp == two.logp).all()
    with pytest.raises(ValueError, match=f"cannot begin at layer {layers + 1}: give one of 0 to {layers}"):
        model.begin(batch, layers + 1)
    with pytest.raises(ValueError, match="cannot begin at layer 1"):
        model.begin(batch, 1, start)
    # a gain in a layer that is not run is no silent omission
    with pytest.raises(ProofFailed, match="hooks did not fire once a pass"):
        model.score(batch, Gains({0: values[0]}), start=start)


def test_a_start_leaves_the_layers_as_they_were(model, prepared):
    blocks = model.decoder.blocks
    before = model.next_logits(prepared)
    start = model.begin(prepared, 1)
    blocks[0].forward = mine = lambda *args, **more: type(blocks[0]).forward(blocks[0], *args, **more)
    try:
        model.next_logits(prepared, start=start)
        assert blocks[0].forward is mine
    finally:
        del blocks[0].forward
    assert not any("forward" in module.__dict__ for module in model.decoder.backbone.modules())
    assert torch.equal(model.next_logits(prepared), before)


def test_starts_stay_within_their_memory(model, prepared, monkeypatch):
    batches, asked = [model.batch([row]) for row in prepared[:3]], []
    plain = type(model).begin
    monkeypatch.setattr(type(model), "begin", lambda *given: asked.append(given[2:]) or plain(*given))
    monkeypatch.setattr(model, "resumes", False)
    assert Starts(model).at(0, batches[0], 1) is None
    monkeypatch.setattr(model, "resumes", True)
    need = [batch.embeddings.numel() * 4 for batch in batches]
    starts = Starts(model, limit=need[0] + need[1])
    assert starts.at(0, batches[0], 0) is None
    assert [starts.at(n, batches[n], 1) is None for n in range(3)] == [False, False, True]
    assert starts.at(0, batches[0], 1) is starts.at(0, batches[0], 1)
    assert len(asked) == 2
    later = starts.at(0, batches[0], 2)
    assert asked[2][0] == 2
    assert asked[2][1].layer == 1
    assert not any(into for *_, into in asked)  # there is no room for products
    # back again: from the beginning
    assert starts.at(0, batches[0], 1).layer == 1
    assert asked[3] == (1, None, False)
    assert torch.equal(model.next_logits(batches[0], start=later), model.next_logits(batches[0]))
    # a batch that is larger than all that may be kept
    assert Starts(model, limit=need[0] - 1).at(0, batches[0], 1) is None


def test_starts_stay_on_the_device_as_far_as_it_has_room(valueless, prepared, monkeypatch):
    monkeypatch.setattr(valueless, "resumes", True)
    batches = [valueless.batch([row]) for row in prepared[:3]]
    need = [batch.embeddings.nbytes for batch in batches]
    starts = Starts(valueless, limit=0, room=need[0] + need[1])
    kept = [starts.at(number, batch, 1) for number, batch in enumerate(batches)]
    assert [None if start is None else start.on_host for start in kept] == [False, False, None]
    # what is kept is handed on as it is: no copy stands between it and the pass
    assert starts.at(0, batches[0], 1).output is kept[0].output
    assert Start(1, torch.ones(2), torch.device("cpu")).on_host
    assert room(torch.device("cpu")) == room(torch.device("meta")) == 0
