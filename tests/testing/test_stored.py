"""The nulls of a finished run: what is permuted, which draws pose as targets, and what the example run says."""

from pathlib import Path

import numpy as np
import pytest

from emoscope.analysis.declared import CLAIMS, gather, judge
from emoscope.analysis.headline import Asked, declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import build_responses
from emoscope.testing.stored import count, main, permuted, posing
from tests.helpers.planted import THREE, write_run

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"


def asked(clips=5, draws=6, alphas=(0.5, 1.0), targets=3):
    rng = np.random.default_rng(0)
    truth = np.tile(np.arange(3), clips * 6)
    speaker = np.repeat(np.arange(6), 3 * clips)
    answers = rng.normal(size=(len(truth), 3)) + 3 * np.eye(3)[truth]

    def under():
        own, *others = answers + rng.normal(size=(1 + draws, targets, *answers.shape))
        return own, others

    return Asked(
        Clips(truth, speaker, speaker, 3), answers, under(), {alpha: under() for alpha in alphas}, range(3), 0.5
    )


def test_labels_are_exchanged_among_the_clips_of_a_speaker_alone():
    before = asked()
    after = permuted(before, np.random.default_rng(0))
    assert (after.clips.truth != before.clips.truth).any()
    np.testing.assert_array_equal(after.clips.counts, before.clips.counts)
    assert after.untouched is before.untouched
    again = permuted(before, np.random.default_rng(0))
    assert after.clips.truth.tolist() == again.clips.truth.tolist()


def test_every_draw_poses_once_beside_all_others():
    before = asked()
    found = list(posing(before))
    assert len(found) == 6
    for place, one in enumerate(found):
        for (own, others), (_, draws) in ((one.off, before.off), (one.amplified[1.0], before.amplified[1.0])):
            assert own is draws[place]
            assert [id(each) for each in others] == [id(each) for n, each in enumerate(draws) if n != place]
    few = before._replace(amplified={0.5: (before.off[0], before.off[1][:2])})
    assert [len(one.amplified) for one in posing(few)] == [1, 1, 0, 0, 0, 0]
    assert [one.off for one in posing(before._replace(off=None, amplified={}))] == []


def test_studies_are_judged_as_runs_are():
    before = asked()
    null = count("as it is", [before])
    found = judge(gather(*before))
    for claim in CLAIMS:
        assert null.supported[claim.name] == (found[claim.name].verdict == "supported")
        assert null.studies[claim.name] == 1


def test_permuted_labels_of_the_example_run_support_next_to_nothing():
    run = read_run(EXAMPLE)
    found = declared_evidence(run, build_responses(run)).asked
    null = count("permuted labels", (permuted(found, np.random.default_rng(seed)) for seed in range(40)))
    assert null.studies["exists"] == 40
    # a few permutations tell emotions apart by chance
    assert max(null.supported.values()) <= 2, null.supported
    # their tests alone: at 2.5 % each in one direction, five and more of 40 are rarer than 1 in 250
    assert all(null.alone[claim.name] < 5 for claim in CLAIMS), null.alone


def test_draws_of_the_example_run_are_no_targets():
    run = read_run(EXAMPLE)
    null = count("draws as targets", posing(declared_evidence(run, build_responses(run)).asked))
    assert null.studies["exists"] == null.testable["exists"] == 19
    assert sum(null.supported.values()) == 0


def test_the_command_prints_a_row_a_claim(tmp_path, capsys):
    folder = write_run(tmp_path / "run", THREE, 6, 4)
    assert main([str(folder), "--permutations", "3"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == [claim.name for claim in CLAIMS] * 2
    assert {row[2] for row in rows[:6]} == {"3"}
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 1
    assert "nothing was asked" in capsys.readouterr().out


def test_a_true_loss_is_found_by_the_same_count():
    before = asked()
    own = before.off[0] - 2 * np.eye(3)[before.clips.truth][None] * np.eye(3)[:, None]
    null = count("a loss", [before._replace(off=(own, before.off[1]))])
    assert null.supported["exists"] == null.alone["exists"] == 1


@pytest.mark.parametrize("alpha", [None, 0.7])
def test_an_alpha_that_was_not_asked_counts_no_study(alpha):
    null = count("no alpha", [asked()._replace(alpha=alpha)])
    assert null.studies["steers"] == 0
    assert null.studies["exists"] == 1
