"""Fused scores: three neurons worked out by hand, and random stores against a slow, obvious computation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from emoscope.neurons.fusion import Scale, consistency, overlap, pooled, rank_fused
from emoscope.neurons.ranking import SelectionPlan, select_from_sums, tie_order
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import Statistics, cas, find_selector

from .helpers import activity_of_counts, random_activity

EMOTIONS = ("anger", "fear")

# Two corpora, one clip of each emotion, three neurons. At how many positions they fire, of how many:
#
#   corpus 1   anger 6 2 3 of 10    P = .6 .2 .3        CAS   anger  .4   -   .1
#              fear  2 4 2 of 10    P = .2 .4 .2              fear    -  .2    -
#   corpus 2   anger 5 6 1 of 10    P = .5 .6 .1        CAS   anger  .2  .4    -
#              fear  9 6 12 of 30   P = .3 .2 .4              fear    -   -   .3
#
# Corpus 1: mean .7/3 = .233333, variance (.166667^2 + .033333^2 + .133333^2)/3 = .0155556, std .124722
#           z = 1.336306 (neuron 0, anger), -.267261 (1, fear), -1.069045 (2, anger); the lowest is -1.069045
# Corpus 2: mean .3, variance (.1^2 + .1^2 + 0)/3 = .00666667, std .0816497
#           z = -1.224745 (0, anger), 1.224745 (1, anger), 0 (2, fear); the lowest is -1.224745
FIRED = ([[6, 2, 3], [2, 4, 2]], [[5, 6, 1], [9, 6, 12]])
POSITIONS = ([10, 10], [10, 30])
NO = -np.inf
Z = (
    np.array([[1.336306, NO, -1.069045], [NO, -0.267261, NO]]),
    np.array([[-1.224745, 1.224745, NO], [NO, NO, 0.0]]),
)
SCALES = (Scale(), Scale())
SCALES[0].add(np.array([0.1, 0.2, 0.4]))  # the mean 0.7 / 3, the variance 0.0155556
SCALES[1].add(np.array([0.2, 0.3, 0.4]))  # the mean 0.3, the variance 0.0066667
MOMENTS = ((0.7 / 3, 0.0155556**0.5, 0.1), (0.3, 0.0066667**0.5, 0.2))


def worked_statistics():
    found = []
    for fired, positions in zip(FIRED, POSITIONS, strict=True):
        rate = np.array(fired) / np.array(positions)[:, None]
        found.append(Statistics(rate, rate, np.array(positions, float), EMOTIONS))
    return found


def test_scores_are_standardised_within_a_corpus():
    for given, moments, expected in zip(worked_statistics(), MOMENTS, Z, strict=True):
        found = Scale()
        for neuron in range(3):
            found.add(cas(given)[:, neuron])
        np.testing.assert_allclose([found.mean, found.std, found.lowest], moments, 1e-5)
        np.testing.assert_allclose(found(cas(given)), expected, atol=1e-6)


def test_overlap_takes_the_weakest_corpus_of_those_that_agree():
    # only neuron 0 prefers the same emotion twice: the smaller of 1.336306 and -1.224745
    np.testing.assert_array_equal(overlap(Z), [[-1.224745, NO, NO], [NO, NO, NO]])
    # preferences may tie, as where every emotion above LAPE's bar has the same entropy
    twice = np.array([[1.0], [1.0]])
    np.testing.assert_array_equal(overlap([twice, np.array([[3.0], [2.0]])]), [[1.0], [NO]])


def test_consistency_lowers_what_differs_between_corpora():
    # anger, neuron 0: (1.336306 - 1.224745)/2 = .055781, spread (1.336306 + 1.224745)/2 = 1.280526
    #           .055781 - .3 * 1.280526 = -.328377
    #        neuron 1: not eligible in corpus 1, so the lowest there, -1.069045, and 1.224745
    #           .077850 - .3 * 1.146895 = -.266219
    #        neuron 2: -1.069045 and the lowest of corpus 2, -1.224745: -1.146895 - .3 * .077850 = -1.170250
    # fear,  neuron 0: eligible in neither
    #        neuron 1: -.267261 and -1.224745: -.746003 - .3 * .478742 = -.889626
    #        neuron 2: -1.069045 and 0: -.534522 - .3 * .534522 = -.694879
    found = consistency(Z, SCALES, 0.3)
    np.testing.assert_allclose(found, [[-0.328377, -0.266219, -1.170250], [NO, -0.889626, -0.694879]], atol=2e-5)
    # without a weight it is the mean
    assert consistency(Z, SCALES, 0.0)[0, 0] == pytest.approx(0.055781, abs=1e-5)


def test_joint_adds_counts_not_rates():
    # anger (6 + 5, 2 + 6, 3 + 1) of 20, fear (2 + 9, 4 + 6, 2 + 12) of 40
    both = pooled(worked_statistics())
    np.testing.assert_allclose(both.rate, [[0.55, 0.4, 0.2], [0.275, 0.25, 0.35]])
    np.testing.assert_allclose(both.mean, both.rate)
    np.testing.assert_array_equal(both.positions, [20, 40])
    np.testing.assert_allclose(cas(both), [[0.275, 0.15, NO], [NO, NO, 0.15]])
    assert both.variance is None
    spread = (np.array([1.0, 4.0, 0.0]), np.array([3.0, 0.0, 0.0]))
    known = [dataclasses.replace(one, variance=v) for one, v in zip(worked_statistics(), spread, strict=True)]
    np.testing.assert_array_equal(pooled(known).variance, [2, 2, 0])


def test_equal_rates_stay_equal_when_they_are_pooled():
    # 1 / 49 * 49 is less than 1: a margin in the last bit would make a neuron without a margin eligible.
    # Anger 3 and fear 1 of t positions in corpus 1, 1 and 3 of t + 1 in corpus 2: 4 of 2 t + 1 for both
    for t in range(3, 99):
        positions = np.array([t, t]), np.array([t + 1, t + 1])
        rates = np.array([[3], [1]]) / t, np.array([[1], [3]]) / (t + 1)
        given = [Statistics(r, r, p.astype(float), EMOTIONS) for r, p in zip(rates, positions, strict=True)]
        assert cas(pooled(given)).max() == -np.inf


def two_items(activity):
    return SelectionPlan(activity, [Selection("all", np.arange(2), np.arange(2), EMOTIONS)], "audio")


def test_ties_go_to_the_larger_mean_activation_over_corpora(tmp_path):
    # neurons 0 and 1 fire alike; their mean activations for anger are .5 and .4, and 0 and .9: .25 and .65
    fired, positions = [[5, 5, 3], [2, 2, 2]], [10, 10]
    means = ([[0.5, 0.4, 0.1], [0.1, 0.1, 0.1]], [[0.0, 0.9, 0.1], [0.1, 0.1, 0.1]])
    stores = [activity_of_counts(tmp_path / f"{n}.zarr", fired, positions, one) for n, one in enumerate(means)]
    plans = [two_items(store) for store in stores]
    ways = ("overlap", "joint", "consistency")
    for order in (plans, plans[::-1]):
        ranked = rank_fused(order, {"all": [0, 0]}, find_selector("cas"), ways, 0.3, 1)
        for way in ways:
            anger = ranked[way, "all"].take(1)[0]
            assert (anger.neurons.tolist(), anger.columns["tied_at_cut"]) == ([1], 2), way


def test_the_worked_example_from_stored_activity(tmp_path):
    plans = [
        two_items(activity_of_counts(tmp_path / f"{number}.zarr", fired, positions))
        for number, (fired, positions) in enumerate(zip(FIRED, POSITIONS, strict=True))
    ]
    ways = ("overlap", "joint", "consistency")
    ranked = rank_fused(plans, {"all": [0, 0]}, find_selector("cas"), ways, 0.3, 1)
    chosen = {way: [one.neurons.tolist() for one in ranked[way, "all"].take(1)] for way in ways}
    assert chosen == {"overlap": [[0], []], "joint": [[0], [2]], "consistency": [[1], [2]]}
    with pytest.raises(ValueError, match="fusion 'mean' is not known: choose from overlap, joint, consistency"):
        rank_fused(plans, {"all": [0, 0]}, find_selector("cas"), ["mean"], 0.3, 1)


def test_the_scale_does_not_depend_on_the_pieces():
    scores = np.random.default_rng(0).normal(50, 1e-3, 1000)
    for cuts in ([], [1, 2, 500], range(0, 1000, 7)):
        found = Scale()
        for piece in np.split(scores, cuts):
            found.add(piece)
        assert (found.mean, found.std) == (pytest.approx(scores.mean(), rel=1e-12), pytest.approx(scores.std(), rel=1e-9))  # fmt: skip
    nothing = Scale()
    nothing.add(np.array([-np.inf]))
    assert (nothing.mean, nothing.std, nothing.lowest) == (0.0, 0.0, 0.0)


# --- random stores -----------------------------------------------------------------------------------------------

THREE = ("anger", "fear", "sadness")
SCOPE = "audio+answer"


def slow_scores(selector, rate, mean, floor=0.3):
    """Scores of all neurons at once, neuron by neuron."""
    scores = np.full(rate.shape, -np.inf)
    bar = np.sort(rate, axis=None)[round(floor * rate.size) - 1]
    for neuron in range(rate.shape[1]):
        p, m = rate[:, neuron], mean[:, neuron]
        best = int(p.argmax())
        if selector == "cas" and np.sort(p)[-1] > np.sort(p)[-2]:
            scores[best, neuron] = np.sort(p)[-1] - np.sort(p)[-2]
        elif selector == "mad":
            scores[:, neuron] = [m[e] - np.delete(m, e).mean() for e in range(len(p))]
        elif selector == "lape" and p.max() > bar:
            q = p[p > 0] / p.sum()
            best = max(np.flatnonzero(p == p.max()), key=lambda e: m[e])
            scores[best, neuron] = (q * np.log(q)).sum()
    return scores


def slow_fused(selector, corpora, way, weight):
    """Fused scores and the means that decide between ties, from what fires in each corpus: (K, S, T)."""
    rates = [(fired / tokens[:, None], summed / tokens[:, None]) for fired, summed, tokens in corpora]
    if way == "joint":
        fired, summed, tokens = (sum(one[part] for one in corpora) for part in range(3))
        return slow_scores(selector, fired / tokens[:, None], summed / tokens[:, None]), summed / tokens[:, None]
    z = []
    for rate, mean in rates:
        scores = slow_scores(selector, rate, mean)
        known = scores[np.isfinite(scores)]
        z.append((scores - known.mean()) / (known.std() + 1e-9))
    emotions, neurons = z[0].shape
    fused = np.full((emotions, neurons), -np.inf)
    for emotion in range(emotions):
        for neuron in range(neurons):
            here = [one[emotion, neuron] for one in z]
            if way == "overlap" and all(one[:, neuron].argmax() == emotion for one in z) and min(here) > -np.inf:
                fused[emotion, neuron] = min(here)
            if way == "consistency" and max(here) > -np.inf:
                here = [max(value, one[np.isfinite(one)].min()) for value, one in zip(here, z, strict=True)]
                fused[emotion, neuron] = np.mean(here) - weight * np.std(here)
    return fused, np.mean([mean for _, mean in rates], axis=0)


def slow_best(scores, means, size, seed):
    order = tie_order(np.arange(scores.shape[1]), seed)
    chosen = []
    for score, mean in zip(scores, means, strict=True):
        known = [n for n in range(len(score)) if score[n] > -np.inf]
        known.sort(key=lambda n: (-round(score[n], 12), -mean[n], order[n]))
        chosen.append(sorted(known[:size]))
    return chosen


def dense(activity, rows, labels):
    """K and S (emotion, neuron) and T (emotion,) of some items, from every layer read whole."""
    read = [np.concatenate([one(layer, SCOPE) for layer in range(activity.layers)], axis=1)
            for one in (activity.read_counts, activity.read_sums)]  # fmt: skip
    tokens = activity.tokens(SCOPE)
    groups = [rows[labels == e] for e in range(len(THREE))]
    return *(np.stack([one[g].sum(axis=0) for g in groups]) for one in read), np.array([tokens[g].sum() for g in groups])  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fusion")
    return [random_activity(folder / f"{n}.zarr", items=40 + n, layers=2, width=45, seed=n)[0] for n in range(3)]


@pytest.mark.parametrize("selector", ["cas", "lape"])
def test_fusion_from_stores_is_the_slow_computation(stores, selector):
    rng = np.random.default_rng(1)
    labels = [rng.integers(0, 3, store.items) for store in stores]
    parts = [np.arange(store.items) for store in stores]
    # the first corpus has two folds, the others one selection that stands for both
    half = [parts[0][:25], parts[0][12:]]
    selections = [
        [Selection(n, rows, labels[0][rows], THREE) for n, rows in enumerate(half)],
        *([Selection("all", parts[n], labels[n], THREE)] for n in (1, 2)),
    ]
    plans = [SelectionPlan(store, made, SCOPE, floor=0.3) for store, made in zip(stores, selections, strict=True)]
    folds, ways = {"one": (0, 0, 0), "two": (1, 0, 0)}, ("overlap", "joint", "consistency")
    ranked = rank_fused(plans, folds, find_selector(selector), ways, 0.3, 7, seed=5)
    for fold, rows in zip(folds, half, strict=True):
        sums = [dense(stores[0], rows, labels[0][rows]), *(dense(stores[n], parts[n], labels[n]) for n in (1, 2))]
        for way in ways:
            scores, means = slow_fused(selector, sums, way, 0.3)
            found = [one.neurons.tolist() for one in ranked[way, fold].take(7)]
            assert found == slow_best(scores, means, 7, 5), (fold, way)
            assert sum(map(len, found)) >= (3 if way == "overlap" else 9)


def test_joint_sets_are_those_of_the_sums_of_all_corpora(stores):
    # one list for all emotions, whose bar is that of the pooled rates
    rng = np.random.default_rng(2)
    selections = [Selection("all", np.arange(one.items), rng.integers(0, 3, one.items), THREE) for one in stores]
    plans = [SelectionPlan(store, [one], SCOPE, floor=0.5) for store, one in zip(stores, selections, strict=True)]
    fired, summed, tokens = (
        sum(parts) for parts in zip(*(dense(a, one.items, one.labels) for a, one in zip(stores, selections, strict=True)), strict=True)
    )  # fmt: skip
    ranked = rank_fused(plans, {"all": [0, 0, 0]}, find_selector("lape-original"), ["joint"], 0.3, 20, 4)
    expected = select_from_sums(fired, tokens, summed, "lape-original", 20, seed=4, floor=0.5)
    for one, other in zip(ranked["joint", "all"].take(20), expected, strict=True):
        np.testing.assert_array_equal(one.neurons, other.neurons)
        assert len(one)
