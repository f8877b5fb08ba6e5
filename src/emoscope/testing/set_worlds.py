"""Simulated studies for claims about sets: where neurons lie, what sets from few clips do, and those of another corpus.

Each world says by itself whether its claim is true (docs/calibration.md). Studies are judged by the functions that judge
a run's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import log_softmax

from emoscope.analysis.claim_rules import carries_over, crowds, hurts, modest
from emoscope.analysis.clusters import Neurons, clustered
from emoscope.analysis.contrasts import compare
from emoscope.analysis.declared import SUPPORTED, Evidence, gather, judge
from emoscope.analysis.effects import effects
from emoscope.analysis.estimate import holm
from emoscope.analysis.headline import carried, from_few
from emoscope.analysis.parts import Row, first
from emoscope.analysis.responses import Responses, log_odds
from emoscope.neurons.controls import shuffled_labels
from emoscope.schemas import as_table
from emoscope.testing.worlds import Answers, World, simulate
from emoscope.vocabulary import BASELINE, DEACTIVATE, MATCHED, TARGET

SEVERAL, CORPORA = 3, 3
"""Draws of clips of each size; corpora that exchange their sets."""
FULL, SIZES = 100, (10, 25, 50)
"""Clips per emotion of the full set and of smaller ones."""


@dataclass(frozen=True)
class Layout:
    """Mean activations of neurons on clips, in standard deviations of a clip's noise, from which sets are found.

    Attributes:
        crowded: whether emotions' sets lie more unevenly than those of shuffled labels.
        layers, width, emotions, speakers, clips: how many layers, neurons in each, emotions, speakers, and clips of
            each speaker and emotion; ``chosen``: neurons of each set; ``draws``: of shuffled labels.
        knowing: how many neurons know each emotion, and by how much they rise on its clips (``strength``).
        crowd: how much likelier they are in the last layer than in the first one, as a logarithm.
        louder: by how much the last layer's activations are larger than the first's, as a logarithm.
        together: standard deviation of what all neurons of a layer share on a clip, of that of each.
        elsewhere: whether neurons that know an emotion stand where those of shuffled labels do, but with the layers in
            the reverse order; ``crowd`` says nothing then.
    """

    crowded: bool = False
    layers: int = 12
    width: int = 100
    emotions: int = 5
    speakers: int = 10
    clips: int = 3
    chosen: int = 24
    draws: int = 19
    knowing: int = 0
    strength: float = 1.0
    crowd: float = 0.0
    louder: float = 0.0
    together: float = 0.0
    elsewhere: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """The sets of one study: what :func:`~emoscope.analysis.clusters.clustered` takes."""

    own: list[Neurons]
    sizes: np.ndarray
    shuffled: list[Neurons]


def find_sets(world: Layout, rng: np.random.Generator) -> Found:
    """Sets by the mean on an emotion's clips minus that on the others', for all speakers, without each, and shuffled.

    Example:
        >>> found = find_sets(Layout(draws=2), np.random.default_rng(0))
        >>> len(found.own), len(found.shuffled), len(found.own[0]["0"])
        (11, 2, 24)
    """
    truth = np.tile(np.repeat(np.arange(world.emotions), world.clips), world.speakers)
    speaker = np.repeat(np.arange(world.speakers), world.emotions * world.clips)
    place = np.arange(world.layers) / (world.layers - 1)
    active = rng.standard_normal((len(truth), world.layers, world.width), dtype=np.float32)
    if world.together:
        active += world.together * rng.standard_normal((len(truth), world.layers, 1), dtype=np.float32)
    active *= np.exp(world.louder * place).astype(np.float32)[:, None]
    units = [(f"{one}", None) for one in speaker]
    labels = [shuffled_labels(truth, units, rng) for _ in range(world.draws + world.elsewhere)]
    active = active.reshape(len(truth), -1)
    if world.knowing:
        likely = np.repeat(np.exp(world.crowd * place), world.width)
        # one further draw says where: sets of shuffled labels, with the layers in the reverse order
        mirror = _sets(active, labels.pop(), world) if world.elsewhere else {}
        for emotion in range(world.emotions):
            if world.elsewhere:
                counts = np.bincount(mirror[f"{emotion}"] // world.width, minlength=world.layers)[::-1]
                know = np.concatenate([
                    layer * world.width + rng.choice(world.width, count, replace=False) for layer, count in enumerate(counts)
                ])  # fmt: skip
            else:
                know = rng.choice(len(likely), world.knowing, replace=False, p=likely / likely.sum())
            loud = np.exp(world.louder * place)[know // world.width]
            active[np.ix_(truth == emotion, know)] += (world.strength * loud).astype(np.float32)
    without = [speaker != one for one in range(world.speakers)]
    own = [_sets(active[heard], truth[heard], world) for heard in (np.ones(len(truth), dtype=bool), *without)]
    sizes = np.bincount(speaker).astype(float)
    return Found(own, sizes, [_sets(active, names, world) for names in labels])


def _sets(active: np.ndarray, names: np.ndarray, world: Layout) -> Neurons:
    """The neurons of each name by the mean on its clips minus the mean of the other names' means."""
    member = (names == np.arange(world.emotions)[:, None]).astype(np.float32)
    means = (member @ active) / member.sum(axis=1, keepdims=True)
    scores = means - means.mean(axis=0)  # the same order as minus the others' mean
    best = np.argpartition(-scores, world.chosen, axis=1)[:, : world.chosen]
    return {f"{emotion}": np.sort(neurons) for emotion, neurons in enumerate(best)}


def crowding(world: Layout, rng: np.random.Generator) -> list[str]:
    """The verdict on *crowds* in one study."""
    found = find_sets(world, rng)
    return [crowds(clustered(found.own, found.sizes, found.shuffled, world.layers, world.width)).verdict]


@dataclass(frozen=True)
class Few:
    """What sets from few clips keep of what the full set does.

    Attributes:
        enough: whether they keep at least 80 % of the evidence that it takes.
        world: of the full set and of matched ones; there are as many draws of these as it says.
        loss, shift: shares of its relative loss and of its shift; for the rest they are as matched sets are.
    """

    enough: bool
    world: World
    loss: float
    shift: float = 0.0


def few_clips(study: Few, rng: np.random.Generator) -> tuple[Answers, list[np.ndarray]]:
    """A study with its matched sets alone as controls, and the logits under sets from few clips, (target, item, option).

    The latter are draws of :data:`SEVERAL` for each of :data:`SIZES`, in this order.
    """
    draws, seed = study.world.draws, int(rng.integers(2**63))
    world = replace(study.world, draws=draws + SEVERAL * len(SIZES), alphas=())

    # the same study again and again: it draws the same numbers, whatever its sets do
    def again(changed: World) -> Answers:
        return simulate(changed, np.random.default_rng(seed))

    whole = again(world)
    shifted = again(replace(world, loss=0.0)).off[0]
    lost = again(replace(world, shift=0.0)).off[0]
    kept = study.loss * (whole.off[0] - shifted) + study.shift * (whole.off[0] - lost)
    few = [each + kept for each in whole.off[1][draws:]]
    return replace(whole, off=(whole.off[0], whole.off[1][:draws])), few


def enough(study: Few, rng: np.random.Generator) -> list[str]:
    """The verdict on *modest* in one study."""
    answers, few = few_clips(study, rng)
    clips, (own, controls) = answers.clips, answers.off

    def gathered(draws: Sequence[np.ndarray]) -> Evidence:
        return gather(clips, answers.untouched, (own, draws), {}, range(clips.options), None)

    sizes = [
        from_few(gathered([*controls, *few[SEVERAL * place : SEVERAL * (place + 1)]]), SEVERAL, size)
        for place, size in enumerate(SIZES)
    ]
    share = judge(gathered(controls))["disproportionate"].verdict
    return [modest(hurts(share, _excess_self(answers)), FULL, sizes).verdict]


def _excess_self(answers: Answers) -> Row | None:
    """The row of table ``effects`` that says what target sets do to accuracy on their emotions' clips."""
    clips = answers.clips
    labels = tuple(f"emotion {code}" for code in range(clips.options))
    rows: list[Row] = [{"condition": BASELINE, "kind": BASELINE}]
    logits = [answers.untouched]
    for draw, under in enumerate((answers.off[0], *answers.off[1])):
        about = {"kind": DEACTIVATE, "control": MATCHED if draw else TARGET, "draw": draw, "headline": not draw}
        rows += [about | {"condition": f"{draw}-{label}", "target": label, "role": "headline"} for label in labels]
        logits += list(under)
    stacked = np.stack(logits)
    speakers = tuple(f"speaker {code:04}" for code in range(int(clips.speaker.max()) + 1))
    responses = Responses(
        labels, np.arange(len(clips.truth)), clips.truth, clips.speaker, speakers, 0, 100 / clips.options,
        {row["condition"]: place for place, row in enumerate(rows)}, stacked.argmax(axis=-1), log_odds(log_softmax(stacked, axis=-1)),
    )  # fmt: skip
    compared = compare(responses, as_table("conditions", rows))
    return first(effects([case for case in compared if case.headline]), measure="excess_self")


@dataclass(frozen=True)
class Exchange:
    """Corpora whose sets act on each other's clips: what they do there is that of a world's target sets."""

    acts: bool
    world: World


def carrying(study: Exchange, rng: np.random.Generator) -> list[str]:
    """The verdicts on *transfer* of every ordered pair of corpora in one study, whose own sets all hold."""
    world = replace(study.world, alphas=())
    tests = []
    for _ in range(CORPORA * (CORPORA - 1)):
        found = simulate(world, rng)
        tests.append(carried(gather(found.clips, found.untouched, found.off, {}, range(world.emotions), None)))
    adjusted = holm([test.p for test in tests])
    return [carries_over(test, p, SUPPORTED, None, True).verdict for test, p in zip(tests, adjusted, strict=True)]


CROWDS: Mapping[str, Layout] = {
    "no neuron knows an emotion": Layout(),
    "they lie in all layers alike": Layout(knowing=40),
    "no neuron knows an emotion; later layers are louder": Layout(louder=0.3),
    "they lie in all layers alike; later layers are louder": Layout(knowing=40, louder=0.3),
    "neurons of a layer move together": Layout(together=0.5),
    "neurons of a layer move together; those that know an emotion lie in all alike": Layout(knowing=40, together=0.5),
    "as uneven as shuffled labels, in other layers": Layout(knowing=24, louder=0.3, clips=6, elsewhere=True),
    "they crowd a little": Layout(True, knowing=40, crowd=2.0),
    "they crowd": Layout(True, knowing=40, crowd=4.0),
}
LOSES = World(emotions=4, speakers=15, loss=0.15)
MODEST: Mapping[str, Few] = {
    "few clips find nothing": Few(False, LOSES, 0.0),
    "few clips find nothing; all sets shift answers": Few(False, replace(LOSES, shift=-1.0, control_shift=-1.0), 0.0),
    "half of the loss": Few(False, LOSES, 0.5),
    "70 % of the loss": Few(False, LOSES, 0.7),
    "the shift of the full set, none of its loss": Few(False, replace(LOSES, shift=-1.0), 0.0, 1.0),
    "a larger shift of the full set, none of its loss": Few(False, replace(LOSES, shift=-2.0), 0.0, 1.0),
    "nine tenths of the loss": Few(True, LOSES, 0.9),
    "all of the loss": Few(True, LOSES, 1.0),
    "all of the loss and of a shift": Few(True, replace(LOSES, shift=-1.0), 1.0, 1.0),
}
HOSTS = World(emotions=4, speakers=15)
TRANSFER: Mapping[str, Exchange] = {
    "no effect beyond matched sets": Exchange(False, HOSTS),
    "answer shift": Exchange(False, replace(HOSTS, shift=-0.5, shift_varies=1.0)),
    "answer shift under matched sets, too": Exchange(False, replace(HOSTS, shift=-0.5, control_shift=-0.5)),
    "all sets have effects of their own": Exchange(False, replace(HOSTS, own_loss=0.05, own_shift=0.5)),
    "sets with much larger effects of their own": Exchange(False, replace(HOSTS, potent=0.15)),
    "a third of a loss of 15 %": Exchange(True, replace(HOSTS, loss=0.05)),
    "half of a loss of 15 %": Exchange(True, replace(HOSTS, loss=0.075)),
}

Study = Callable[[np.random.Generator], list[str]]


def claims() -> dict[tuple[str, str], tuple[bool, Study]]:
    """(claim, world) -> whether the claim is true there, and a function that gives the verdicts of one study."""
    found: dict[tuple[str, str], tuple[bool, Study]] = {}
    found |= {("crowds", name): (world.crowded, partial(crowding, world)) for name, world in CROWDS.items()}
    found |= {("modest", name): (world.enough, partial(enough, world)) for name, world in MODEST.items()}
    return found | {("transfer", name): (world.acts, partial(carrying, world)) for name, world in TRANSFER.items()}
