from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import emoscope as es
from emoscope.cli import ask as ask_in_terminal
from emoscope.corpora import load_audio, polish_folder
from emoscope.models.audio_lm import Request
from emoscope.models.statistics import ScopeStatistics
from emoscope.questions import Question

CLIP = polish_folder() / "m1.a_nie_3.flac"


def test_the_mean_over_seconds_is_what_listening_stores() -> None:
    model, neurons = es.load_model("tiny"), [7, 513, 2047]
    shown = es.activations(model, CLIP, neurons, options=("anger", "fear"))
    question = Question("emotion", ("anger", "fear"))
    statistics = ScopeStatistics(model.info.layers, model.info.width, rows=1)
    model.score(model.prepare([Request(load_audio(CLIP), question.text, question.letters)]), observe=statistics)
    stored = statistics.block().means["audio"].reshape(-1)[neurons]
    np.testing.assert_allclose(shown.mean("time"), stored, rtol=2e-3, atol=1e-3 * np.abs(shown).max())
    duration = len(load_audio(CLIP)) / 16_000
    assert 0 < shown.time[0] < shown.time[-1] < duration
    assert shown.layer.values.tolist() == [0, 1, 3]


def test_neurons_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="2048"):
        es.activations(es.load_model("tiny"), CLIP, [2048])


def test_pairs_of_layer_and_index_are_these_neurons() -> None:
    model = es.load_model("tiny")
    pairs = es.activations(model, CLIP, [(1, 88), (0, 3)])
    assert pairs.neuron.values.tolist() == [3, 600]
    np.testing.assert_array_equal(pairs, es.activations(model, CLIP, [3, 600]))


def test_an_answer_says_how_sure_it_is_and_what_is_written() -> None:
    model, sets = es.load_model("tiny"), {"anger": np.arange(0, 2048, 4)}
    answer = es.ask(model, CLIP, options=["anger", "fear"])
    question = Question("emotion", ("anger", "fear"))
    prepared = model.prepare([Request(load_audio(CLIP), question.text, question.letters)])
    (score,) = model.score(prepared)
    assert [answer.logp[name] for name in ("anger", "fear")] == score.logp.tolist()
    assert answer.letter_mass == pytest.approx(np.exp(score.logp).sum(), rel=1e-6)
    assert answer.text == model.generate(prepared)[0]
    assert answer == dict(answer) != es.ask(model, CLIP, options=["anger", "fear"], under=es.steer(sets["anger"], 4.0))
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert repr(answer).startswith(f"Answer({next(iter(answer))} 0.")
    assert "letter mass" in answer._repr_html_()
    with pytest.raises(KeyError, match="joy was not an option: there are"):
        answer["joy"]
    # what is written is written under the same intervention
    off = es.deactivate(np.arange(2048))
    with model.under(off):
        wanted = model.generate(prepared)[0]
    assert es.ask(model, CLIP, options=["anger", "fear"], under=off).text == wanted


def test_any_question_can_be_asked() -> None:
    model = es.load_model("tiny")
    own = es.ask(model, CLIP, question="Is it {loud}?", options=["yes", "no"])
    assert own.question == "Is it {loud}? (A) yes (B) no Answer with the letter only."
    whole = es.ask(model, CLIP, question="Choose.\n{options_by_line}\nLetter:", options=["yes", "no"])
    assert whole.question == "Choose.\n(A) yes\n(B) no\nLetter:"
    assert set(whole) == {"yes", "no"}
    # in a question of one's own, words are not looked up
    assert len(es.ask(model, CLIP, question="Which word fits?", options=["happy", "joyful"])) == 2


def another_set():
    from emoscope.neurons.sets import NeuronSet

    return NeuronSet("anger", np.array([1, 6]), 2, 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: es.ask(m, CLIP, options="anger"), r"options 'anger' is not a list: write for example options=\["),
        (lambda m: es.ask(m, CLIP, options=["happy", "happiness"]), "options 'happy' and 'happiness' are one emotion"),
        (lambda m: es.ask(m, CLIP, options=["Anger", "anger "]), "options 'Anger' and 'anger ' are one emotion"),
        (lambda m: es.ask(m, CLIP, options={"anger", "fear"}), "is a set, which has no order"),
        (lambda m: es.ask(m, CLIP, options=["anger", 3]), "3 is not a word"),
        (lambda m: es.ask(m, CLIP, options=["anger", ""]), "one is empty"),
        (lambda m: es.ask(m, CLIP, options=["anger"]), "1 options: a question needs between 2 and 26"),
        (lambda m: es.ask(CLIP, m), r"the arguments are in another order: write ask\(model, clip\)"),
        (lambda m: es.ask("tiny", CLIP), r'expected: give load_model\("tiny"\)'),
        (lambda m: es.ask(m, CLIP, under=another_set()), r'say what is done to the neurons, as in under=deactivate\(sets\["anger"\]\)'),
        (lambda m: es.ask(m, CLIP, under=[3]), "is no intervention: say what is done to the neurons"),
        (lambda m: es.ask(m, CLIP, under={"anger": [1]}), r'under=deactivate\(sets\["anger"\]\)'),
        (lambda m: es.ask(m, CLIP, under=es.deactivate(another_set())), "found in a model of 2 layers x 4"),
        (lambda m: es.ask(m, CLIP, label="gender"), "label 'gender': give what can be answered"),
        (lambda m: es.ask(m, CLIP, question="Who?"), "question 'Who.': give what can be answered"),
        (lambda m: es.ask(m, CLIP, question="Who?", options=["a", "b"], wording="listen first"), "has no place for a question"),
        (lambda m: es.activations(m, CLIP, [(0, 3), (4, 1)]), r"neuron \(4, 1\): tiny has layers 0 to 3 with neurons 0 to 511"),
        (lambda m: es.activations(m, CLIP, [0.5]), "type float64: give a row of whole numbers"),
        (lambda m: es.activations(m, CLIP, np.array([True, False])), "type bool: give a row of whole numbers"),
        (lambda m: es.activations(m, CLIP, {"anger": [1]}), "the sets of anger are given: say which emotion"),
        (lambda m: es.activations(m, CLIP, another_set()), "found in a model of 2 layers x 4"),
        (lambda m: es.activations(m, CLIP, 3), "neurons 3: give a neuron set"),
        (lambda m: es.activations(CLIP, m, [3]), "the arguments are in another order"),
    ],
)  # fmt: skip
def test_what_would_be_taken_for_something_else_is_refused(wrong, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        wrong(es.load_model("tiny"))


def test_samples_in_memory_are_heard_like_their_file() -> None:
    path = polish_folder() / "m1.a_nie_3.flac"
    samples, rate = soundfile.read(path, dtype="int16")
    model, options = es.load_model("tiny"), ("anger", "fear", "neutral")
    heard, read = (dict(es.ask(model, clip, options=options)) for clip in ((samples, rate), path))
    assert heard == pytest.approx(read, abs=1e-6)
    with pytest.raises(ValueError, match="samples: too short"):
        es.ask(model, (samples[:100], rate))
    with pytest.raises(ValueError, match=r"give a file, or \(samples, rate\)"):
        es.activations(model, samples, [1])


def test_an_answer_tells_how_its_clip_is_not_heard_as_it_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(CLIP, dtype="float32")
    opposed = np.stack([samples, -0.9 * samples], axis=1)
    soundfile.write(tmp_path / "a.wav", opposed, rate)
    model, said = es.load_model("tiny"), "its channels cancel each other: channel 1, the louder one, is heard alone"
    for clip in (tmp_path / "a.wav", (opposed, rate)):
        answer = es.ask(model, clip, options=["anger", "fear"])
        assert answer.told == (said,)
        assert repr(answer).endswith(f"; {said})")
        assert f"<p>{said}</p>" in answer._repr_html_()
    usual = es.ask(model, CLIP, options=["anger", "fear"])
    assert (usual.told, repr(usual).count(";")) == ((), 1)
    assert dict(answer) == pytest.approx(dict(usual), abs=1e-3)
    ask_in_terminal(tmp_path / "a.wav", options="anger,fear")
    assert capsys.readouterr().err.splitlines()[0] == f"note: {tmp_path / 'a.wav'}: {said}"
