"""Proofs pass on a sound model and fail on a broken one."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from emoscope.commands import model_check
from emoscope.models import check
from emoscope.models.check import SAME, check_model, run_proofs
from emoscope.models.families.whisper import AudioFlamingo3
from emoscope.models.registry import wrap
from tests.models.conftest import sound


def by_name(proofs):
    return {proof.name: proof for proof in proofs}


def test_all_proofs_pass_on_a_sound_model(model):
    proofs = check_model(model)
    assert {proof.status for proof in proofs} == {"passed"}, [p for p in proofs if p.status != "passed"]
    assert len({proof.name for proof in proofs}) == len(proofs) == 17
    for proof in proofs:
        if proof.measured is not None:
            assert proof.tolerance is not None
            assert proof.measured <= proof.tolerance
    assert "synthetic" in by_name(proofs)["requests prepared"].note


def test_a_clip_is_used_where_there_is_one(model):
    proofs = by_name(check_model(model, sound(1.5, 0)))
    assert "the clip (1.5 s)" in proofs["requests prepared"].note
    assert {proof.status for proof in proofs.values()} == {"passed"}


def test_the_cheap_proofs(model, prepared):
    proofs = run_proofs(model, prepared)
    assert [proof.name for proof in proofs] == list(check.RUN_PROOFS)
    assert {proof.status for proof in proofs} == {"passed"}
    # one row cannot show that a batch equals single rows: that is no success
    assert by_name(run_proofs(model, prepared[:1]))["batch equals single"].status == "not run"


def test_a_family_without_an_official_path_is_not_run(model, monkeypatch):
    monkeypatch.delattr(type(model), "full_logits")
    proof = by_name(check_model(model))["cached audio equals the full forward"]
    assert (proof.status, proof.measured) == ("not run", None)
    assert "declares no official path" in proof.note


def broken(model, **methods):
    """The model in a subclass with some methods replaced."""
    kind = type("Broken", (type(model),), methods)
    return kind(model.model, model.processor, "broken", "")


def test_a_wrong_padding_side_is_found(model, prepared):
    proofs = by_name(run_proofs(broken(model, padding_side="right", read_prompt=last_column), prepared))
    assert proofs["batch equals single"].status == "failed"
    assert proofs["batch equals single"].measured > 0.1


def last_column(self, batch, use_cache=False):
    output = self.decoder.backbone(inputs_embeds=batch.embeddings, attention_mask=batch.mask, use_cache=use_cache)
    return output.last_hidden_state[:, -1], output.past_key_values


def test_clips_that_leak_into_each_other_are_found(model):
    def hear(self, clips):
        heard = [super(type(self), self).hear([clip])[0] for clip in clips]
        return [one + 0.1 * sum(other.mean() for other in heard) for one in heard]

    proof = by_name(check_model(broken(model, hear=hear)))["cached audio equals the full forward"]
    assert proof.status == "failed"


def test_gains_of_the_first_row_for_all_are_found(model):
    def own_gains(self, gains, rows):
        first = gains and {layer: value[:1].expand(rows, -1) for layer, value in gains.values.items()}
        return None if gains is None else type(gains)(first)

    proofs = by_name(check_model(broken(model, _gains=own_gains)))
    assert proofs["gains per row equal single runs"].status == "failed"
    assert proofs["gains per row equal single runs while generating"].status == "failed"
    # every row of this one has the same gain: it still agrees with the weights
    assert proofs["gain by hook equals column edit"].status == "passed"


def test_gains_that_do_nothing_are_found(model):
    proofs = by_name(check_model(broken(model, _gains=lambda self, gains, rows: None)))
    for name in ("gain by hook equals column edit", "gains per row equal single runs"):
        assert proofs[name].status == "failed", name


def test_a_site_that_is_not_what_it_seems_is_found(model, prepared):
    mlp = model.decoder.backbone.layers[1].mlp
    plain = mlp.act_fn
    mlp.act_fn = torch.nn.Tanh()
    other = wrap(model.model, model.processor)
    mlp.act_fn = plain
    proof = by_name(run_proofs(other, prepared))["site exact"]
    assert proof.status == "failed"
    assert proof.measured > proof.tolerance


def test_products_that_are_no_numbers_are_found(model, prepared):
    weight = model.decoder.backbone.layers[1].mlp.up_proj.weight.detach()
    kept = weight[0].clone()
    weight[0] = torch.nan
    try:
        proof = by_name(run_proofs(model, prepared))["site exact"]
    finally:
        weight[0] = kept
    assert proof.status == "failed"
    assert np.isnan(proof.measured)


def test_an_mlp_that_goes_around_the_hooks_is_found(model, prepared):
    mlp = model.decoder.backbone.layers[1].mlp
    mlp.forward = lambda x: torch.nn.functional.linear(
        mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x), mlp.down_proj.weight
    )
    try:
        proofs = by_name(run_proofs(model, prepared))
    finally:
        del mlp.forward
    assert proofs["hooks fired as often as they must"].status == "failed"
    assert "did not fire once a pass" in proofs["hooks fired as often as they must"].note
    assert proofs["site exact"].status == "failed"


def test_layers_that_cannot_start_later_are_run_in_full(model, prepared):
    first, last = (model.decoder.blocks[place].mlp for place in (0, -1))
    left = []
    # a decoder whose last layer reads what the first one left: it is not there in a pass that begins later
    handles = [first.register_forward_hook(lambda *_: left.append(0)), last.register_forward_hook(lambda *_: left.pop() and None)]  # fmt: skip
    try:
        proof = by_name(run_proofs(model, prepared))["a later start is exact or unused"]
    finally:
        for handle in handles:
            handle.remove()
    assert (proof.status, model.resumes) == ("passed", False)
    assert proof.note == "not used, every pass runs in full: IndexError: pop from empty list"


def test_a_layer_that_changes_its_input_in_place_is_found(model, prepared, monkeypatch):
    last = model.decoder.blocks[-1]
    monkeypatch.setattr(
        last, "forward", lambda hidden, *a, **k: type(last).forward(last, hidden.mul_(1.01), *a, **k), raising=False
    )
    proof = by_name(run_proofs(model, prepared))["a later start is exact or unused"]
    assert proof.note.startswith("not used, every pass runs in full: logits differ")
    assert not model.resumes


def test_weights_that_do_not_come_back_are_found(model, prepared, monkeypatch):
    plain = type(model.decoder).scaled

    @contextmanager
    def careless(self, gains):
        with plain(self, gains):
            yield
        for layer in gains:
            self.sites[layer].down.weight.detach().mul_(1 + 1e-6)

    kept = [site.down.weight.detach().clone() for site in model.decoder.sites]
    with monkeypatch.context() as patch:
        patch.setattr(type(model.decoder), "scaled", careless)
        proof = by_name(run_proofs(model, prepared))["weights restored bit for bit"]
    with torch.no_grad():
        for site, weight in zip(model.decoder.sites, kept, strict=True):
            site.down.weight.copy_(weight)
    assert proof.status == "failed"


def test_answers_recorded_of_other_rows_let_rows_be_padded(model, prepared):
    def score_lines(self, lines, observe, answer):
        # the prompts are recorded rightly, the answers of the pooled pass in another order of lines
        return AudioFlamingo3.score_lines(self, lines[::-1], observe[::-1], answer)

    name = "rows in one line answer and are recorded as padded ones, or are padded"
    assert by_name(run_proofs(model, prepared))[name].measured is not None
    assert model.packs
    wrong = broken(model, score_lines=score_lines)
    proof = by_name(run_proofs(wrong, prepared))[name]
    assert (proof.status, proof.measured) == ("passed", None)
    assert proof.note.startswith("rows are padded")
    assert not wrong.packs


def test_sampling_is_told_from_the_likeliest_token(model):
    def write(self, prepared, gains=None, max_new_tokens=20, keep_logits=False):
        tokens, logits = super(type(self), self).write(prepared, gains, max_new_tokens, keep_logits)
        return (tokens + 1) % 40, logits

    assert by_name(check_model(broken(model, write=write)))["likelihood and generation agree"].status == "failed"


def test_a_measure_that_is_not_a_number_fails(model):
    proof = check._proof("nan", lambda case: (float("nan"), 1.0, ""), None)
    assert proof.status == "failed"
    assert np.isnan(proof.measured)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_lower_precision_passes_with_its_own_tolerance(folder, dtype):
    from emoscope.models.registry import load_model

    proofs = check_model(load_model(folder, dtype="bfloat16"))
    assert {proof.status for proof in proofs} == {"passed"}, [p for p in proofs if p.status != "passed"]
    assert by_name(proofs)["batch equals single"].tolerance == SAME["bfloat16"]


@pytest.mark.parametrize(("gap", "code"), [(None, 0), ("not run", 4), ("failed", 4)])
def test_the_command_ends_with_the_exit_code_of_its_rows(folder, monkeypatch, capsys, gap, code):
    if gap == "not run":
        monkeypatch.delattr(AudioFlamingo3, "full_logits")
    elif gap == "failed":
        monkeypatch.setattr(AudioFlamingo3, "full_logits", lambda self, requests: torch.zeros(3, self.info.vocab))
    assert model_check(str(folder)) == code
    shown = capsys.readouterr().out
    assert shown.count("passed") == (16 if gap else 17)
    assert gap is None or gap in shown
