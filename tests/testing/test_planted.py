"""Written circuits: nothing else moves, the old path is gone, and the key is what switching off really does."""

import numpy as np
import polars as pl
import pytest
import torch

from emoscope.corpora import open_corpus
from emoscope.experiments.benchmark import SCOPES, listen, rank
from emoscope.models.registry import load_model
from emoscope.testing.old_path import COLUMNS, Voices
from emoscope.testing.planted import EACH, KINDS, plant

EMOTIONS = ("anger", "fear", "neutral")


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def voices(model):
    clips = [clip for clip in open_corpus("polish").clips if clip.labels["word"] in ("nie", "stop")]
    return Voices.of(model, [clip for clip in clips if clip.labels["take"] in "13"], EMOTIONS)


@pytest.fixture(scope="module")
def planted(model, voices):
    return plant(model, voices, seed=0)


def test_every_native_neuron_of_later_layers_keeps_its_bits(model, planted):
    width = model.info.width
    assert planted.model.info.width == width + COLUMNS
    for layer, (old, new) in enumerate(zip(model.decoder.sites, planted.model.decoder.sites, strict=True)):
        assert torch.equal(new.gate.weight[:width], old.gate.weight)
        assert torch.equal(new.up.weight[:width], old.up.weight)
        # the first layer no longer writes the directions of the old path
        assert torch.equal(new.down.weight[:, :width], old.down.weight) == (layer > 0)


def test_columns_that_are_not_written_are_zero(planted):
    for layer, site in enumerate(planted.model.decoder.sites):
        written = {each.index for each in planted.neurons if each.layer == layer}
        free = [n for n in range(planted.model.info.width - COLUMNS, planted.model.info.width) if n not in written]
        assert not site.down.weight[:, free].any()
        assert not site.gate.weight[free].any()
        assert bool(site.down.weight[:, sorted(written)].any(0).all())


def test_there_are_as_many_neurons_of_each_kind_for_each_emotion(planted):
    counts = {kind: sum(each.kind == kind for each in planted.neurons) for kind in KINDS}
    assert counts.pop("hearing") == EACH * (len(EMOTIONS) - 1)
    assert (counts.pop("relay"), counts.pop("answer")) == (EACH, EACH)
    assert set(counts.values()) == {EACH * len(EMOTIONS)}
    assert {each.emotion for each in planted.neurons if each.kind in ("relay", "answer")} == {planted.two_hop}


def test_what_voices_become_is_what_the_written_model_prepares(planted, voices):
    clip = next(clip for clip in open_corpus("polish").clips if clip.labels["word"] == "nie")
    again = Voices.of(planted.model, [clip], EMOTIONS).rows[0]
    known = planted.hear(voices).rows[0]
    torch.testing.assert_close(known.embeddings, again.embeddings, atol=1e-4, rtol=1e-4)


def test_without_its_circuits_the_model_does_not_hear_and_with_them_it_does(planted, voices):
    from emoscope.interventions.kinds import deactivate

    heard = planted.hear(voices)
    whole = heard.recall(heard.answers(planted.model))
    off = deactivate(planted.flat(planted.neurons))
    left = heard.recall(heard.answers(planted.model, lambda rows: off.gains(planted.model.info, rows)))
    assert whole > 0.6
    assert left < 0.5


def test_pairs_are_twice_the_same_neuron(planted):
    pair = [each.index for each in planted.neurons if each.kind == "pair" and each.emotion == 0]
    gate = planted.model.decoder.sites[0].gate.weight
    assert torch.equal(gate[pair[0]], gate[pair[1]])


def test_the_same_seed_writes_the_same_model(model, voices, planted):
    assert plant(model, voices, seed=0).model.info.checksum == planted.model.info.checksum


def test_mad_ranks_what_hears_before_what_pushes_on_every_clip_and_overlooks_the_quiet(planted, voices, tmp_path):
    heard = planted.hear(voices)
    answers, store = listen(planted, heard, tmp_path / "activity.zarr")
    np.testing.assert_allclose(answers, heard.answers(planted.model), atol=1e-4)
    ranks, clips = rank(planted, heard, answers, store, ["mad"])
    assert clips > 5
    assert sorted(ranks["scope"].unique()) == sorted(SCOPES)
    own = [(n, each.kind, EMOTIONS[each.emotion]) for n, each in enumerate(planted.neurons) if each.emotion is not None]
    written = pl.DataFrame(
        [(int(planted.flat([planted.neurons[n]])[0]), kind, emotion) for n, kind, emotion in own],
        schema=["neuron", "kind", "emotion"], orient="row",
    )  # fmt: skip
    audio = ranks.filter(scope="audio").join(written, on=["neuron", "emotion"])
    mean = dict(audio.group_by("kind").agg(pl.col("rank").mean()).iter_rows())
    assert mean["pair"] < mean["habit"]
    assert mean["pair"] < mean["quiet"]


def test_a_model_that_pads_on_the_right_is_refused(model, voices):
    class Right(type(model)):
        padding_side = "right"

    other = Right(model.model, model.processor, "other", "")
    with pytest.raises(ValueError, match="padding on the left"):
        plant(other, voices.part(np.arange(0, len(voices.rows), 9)), seed=0)
