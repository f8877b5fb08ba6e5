"""What a verdict rests on: comparisons within speakers beyond control sets, against a slow re-implementation."""

import numpy as np
import pytest
from scipy.stats import norm

from emoscope.analysis.accuracy import uar
from emoscope.analysis.effects import heard_and_leant, verdicts
from emoscope.analysis.load import read_run
from emoscope.analysis.pairs import Clips
from emoscope.analysis.parts import Part
from emoscope.testing.worlds import World, simulate
from tests.analysis.slow_verdicts import slow_verdict
from tests.helpers.runs import write_simulation
from tests.helpers.slowly import Families, Slow

CLIPS = Clips(np.tile(np.repeat([0, 1, 2], 3), 6), np.repeat(np.arange(6), 9), np.repeat(np.arange(6), 9), 3)


def computed(folder):
    part = Part.alone(read_run(folder))
    return part.changed(uar=uar(part.run, part.by_scoring))


@pytest.mark.parametrize(
    "more",
    [{}, {"seed": 1}, {"speakers": 4}, {"speakers": None, "recordings": 6}, {"bonus": 0.0}, {"matched": 1}, {"fewer_options": True},
     {"letter_mass": 0.4}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("intervention", ["evidence", "uneven"])
def test_every_number_of_a_simulated_run(tmp_path, intervention, more):
    folder = write_simulation(tmp_path / "run", intervention, **({"speakers": 6, "clips": 3} | more))
    part = computed(folder)
    (row,) = verdicts(part).to_dicts()
    slow = Slow(folder)
    families = Families(slow)
    (key,) = families.declared
    expected = slow_verdict(slow, families, key, part.uar(), row["unreliable"])
    for name, value in expected.items():
        assert row[name] == (pytest.approx(value, rel=1e-7, abs=1e-9) if isinstance(value, float) else value), name


def logp(rng, shift=0.0):
    """Log-probabilities under one set a target; ``shift`` of the own option, dimensions that broadcast to (target, item)."""
    scores = rng.normal(size=(3, len(CLIPS.truth), 3)) + 1.5 * np.eye(3)[CLIPS.truth]
    scores[range(3), :, range(3)] += shift
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def test_no_shift_of_a_speaker_moves_evidence():
    draws = [logp(np.random.default_rng(n)) for n in range(1, 4)]
    habits = np.random.default_rng(9).normal(size=(3, 6))[:, CLIPS.speaker]
    plain, shifted = (
        heard_and_leant(CLIPS, logp(np.random.default_rng(0), shift), draws, range(3)) for shift in (0.0, habits)
    )
    assert shifted[0] == plain[0]
    assert shifted[1].estimate != pytest.approx(plain[1].estimate)


def test_confidence_that_is_lost_takes_no_evidence_by_itself():
    draws = [logp(np.random.default_rng(n)) for n in range(1, 4)]
    plain = logp(np.random.default_rng(0))
    shrunk = 0.8 * plain
    shrunk -= np.logaddexp.reduce(shrunk, axis=-1, keepdims=True)
    before, after = (heard_and_leant(CLIPS, each, draws, range(3)) for each in (plain, shrunk))
    assert after[0] == before[0]
    assert after[1].estimate != pytest.approx(before[1].estimate)


@pytest.mark.parametrize("reacts", [0.0, 0.5])
def test_it_does_where_clips_react_to_sets_by_as_much_as_before(reacts):
    world = World(
        emotions=3, speakers=300, clips=3, draws=2, separation=(1.0, 0.0), alike=0.0, own_loss=0.0, effects=reacts,
        confidence=0.2, alphas=(),
    )  # fmt: skip
    study = simulate(world, np.random.default_rng(1))
    evidence, _ = heard_and_leant(study.clips, *study.off, range(3))
    # two clips lie 2 nat apart; each of both differences holds the clip's own two logits and two reactions
    known = 100 * (norm.cdf(1 / np.sqrt(1 + (reacts / 0.8) ** 2)) - norm.cdf(1 / np.sqrt(1 + reacts**2)))
    assert known == 0 if reacts == 0 else known < -1
    assert evidence.estimate == pytest.approx(known, abs=1e-9 if reacts == 0 else 0.4)


def test_sets_that_differ_make_the_error_larger():
    rng = np.random.default_rng(0)
    alike, unlike = (
        heard_and_leant(CLIPS, logp(np.random.default_rng(0)), [logp(np.random.default_rng(0), shift) for shift in spread], range(3))
        for spread in ((0.0, 0.0, 0.0), 2 * rng.normal(size=3))
    )  # fmt: skip
    assert alike[1].low == alike[1].high == 0
    assert unlike[1].high - unlike[1].low > 2


def test_a_corpus_of_speakers_with_one_emotion_has_no_verdict():
    clips = Clips(np.arange(6) % 3, np.arange(6), np.arange(6), 3)
    own = np.log(np.full((3, 6, 3), 1 / 3))
    assert heard_and_leant(clips, own, [own, own], range(3)).startswith(
        "fewer than 5 speakers have clips of an emotion"
    )
