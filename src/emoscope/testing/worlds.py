"""Simulated studies from a logit model: answers of a model under sets whose effects are known.

A clip of emotion e by speaker s has the logits mu[e] + speaker's habit + clip's own noise. A set changes them by what a
:class:`World` says. A *relative loss* f of an emotion lowers its separation from every other emotion by the share f;
whatever else a set does (shifts, scaling, noise) is added to that. The truth of every declared claim follows from these
effects, not from the simulated answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.special import log_softmax

from emoscope.analysis.answer_table import as_frame
from emoscope.analysis.pairs import Clips
from emoscope.vocabulary import BASELINE, DEACTIVATE, MATCHED, STEER


@dataclass(frozen=True)
class World:
    """Who is asked, and what target and control sets do. Logits and shifts are in nat, losses are shares.

    Attributes:
        emotions, speakers: how many.
        clips: of each speaker and emotion.
        sessions: how many groups of speakers are the independent units; 0 where every speaker is one.
        unequal: standard deviation of the log of speakers' numbers of clips.
        single: share of speakers who speak in one emotion only.
        dialogues: standard deviation of what all clips of a unit share in a set's effects, of each emotion.
        separation: how far the own option of a clip lies above the others, mean and standard deviation over emotions.
        alike: how much a clip of an emotion also raises the option after it.
        habit, noise: standard deviations of a speaker's and of a clip's own logits.
        favoured: logits that are added to the first option everywhere, so that it is at its ceiling and others at the floor.
        loss: relative loss of the own emotion under its set (a gain where below 0); under control sets, ``leak`` of it.
        neighbour: the same of the emotion after it, as a share of the own loss.
        others: the same of all other emotions, as a share of the own loss.
        varies: standard deviation over speakers of a set's own loss, as a share of it.
        shift: what target sets add to their own option on every clip.
        shift_varies: its standard deviation over speakers, as a share of it.
        control_shift: what control sets add to their own option.
        own_loss, own_shift: standard deviations of what each set, target or control, does to every emotion and option
            for reasons that have nothing to do with the emotion that it is named after.
        potent: the same of target sets alone, in place of ``own_loss``; 0 where they are like controls.
        confidence: share by which a target set shrinks all logits.
        aligned: how much more the set of an emotion does so where that emotion is well told apart.
        own_noise: standard deviation of noise that target sets add to their own option on every clip.
        potency, fragility: standard deviations of the logs of two numbers, one of a set and one of an emotion, whose
            product times ``product`` is the loss of every emotion under every set.
        product: their mean product, when switched off; 0 for none.
        effects: standard deviation of a clip's own reaction to any set, of each option.
        draws: of control sets.
        alphas: strengths of amplification; the last one up to 1 is not special.
        gain: relative gain of the own emotion when amplified by 1, likewise ``steer_shift`` its shift.
        curve: exponent of alpha in both.
        permuted: draws of sets found on permuted labels, switched off alone.
        kept, kept_of_others: which share of the neurons of the emotion that it is named after, and of every other emotion,
            such a set has, and so of their losses: mean and standard deviation (beta distributed; by default those of the
            59 shuffled draws of docs/example-run).
    """

    emotions: int = 7
    speakers: int = 25
    clips: int = 3
    sessions: int = 0
    unequal: float = 0.0
    single: float = 0.0
    dialogues: float = 0.0
    separation: tuple[float, float] = (2.3, 0.6)
    alike: float = 0.3
    habit: float = 0.4
    noise: float = 1.0
    favoured: float = 0.0
    loss: float = 0.0
    leak: float = 0.0
    neighbour: float = 0.0
    others: float = 0.0
    varies: float = 0.5
    shift: float = 0.0
    shift_varies: float = 0.0
    control_shift: float = 0.0
    own_loss: float = 0.01
    own_shift: float = 0.1
    potent: float = 0.0
    confidence: float = 0.0
    aligned: float = 0.0
    own_noise: float = 0.0
    potency: float = 0.0
    fragility: float = 0.0
    product: float = 0.0
    effects: float = 0.3
    draws: int = 10
    alphas: tuple[float, ...] = (0.25, 0.5, 1.0)
    gain: float = 0.0
    steer_shift: float = 0.0
    curve: float = 1.0
    permuted: int = 0
    kept: tuple[float, float] = (0.25, 0.20)
    kept_of_others: tuple[float, float] = (0.12, 0.14)

    def truths(self) -> dict[str, bool]:
        """Which declared claims are true here, from what the sets do: see docs/calibration.md."""
        specific = self.loss > 0 and self.leak < 1 and self.others < 1
        # a product of potency and fragility, and confidence lost where an emotion is well told apart, take more nats
        # from own pairs than from others as soon as the two go together
        found = {"exists": specific or self.product > 0 or (self.confidence > 0 and self.aligned != 0)}
        found |= {"disproportionate": specific or self.product > 0, "selective": specific and self.neighbour < 1}
        rises = self.gain > 0
        return found | dict.fromkeys(("steers", "grows"), rises) | {"steers selectively": rises and self.neighbour < 1}


Under = tuple[np.ndarray, list[np.ndarray]]  # under target sets, (target, item, option); under every control draw


class Doses(Mapping[float, Under]):
    """Answers at each strength of amplification, worked out when they are first asked for, and kept."""

    def __init__(self, alphas: Sequence[float], under: Callable[[float], Under]) -> None:
        self._alphas, self._under = alphas, under
        self._known: dict[float, Under] = {}

    def __getitem__(self, alpha: float) -> Under:
        if alpha not in self._alphas:
            raise KeyError(alpha)
        if alpha not in self._known:
            self._known[alpha] = self._under(alpha)
        return self._known[alpha]

    def __iter__(self) -> Iterator[float]:
        return iter(self._alphas)

    def __len__(self) -> int:
        return len(self._alphas)


@dataclass(frozen=True, eq=False)
class Answers:
    """A simulated study: who spoke, and logits (log-probabilities but for a constant of each item) without and under all sets.

    Attributes:
        untouched: dimensions (item, option).
        off: under target sets, (target, item, option), and under every control draw.
        amplified: the same for each alpha.
        expected: the pairwise changes that ``off`` has over many clips and speakers, of these very sets, the target
            sets first, nat, dimensions (1 + draw, target, emotion, emotion). Not told of worlds with ``product``.
        of_kind: the same averaged over sets of their kind.
        permuted: under every draw of sets found on permuted labels, (target, item, option).
    """

    clips: Clips
    untouched: np.ndarray
    off: Under
    amplified: Mapping[float, Under]
    expected: np.ndarray
    of_kind: np.ndarray
    permuted: Sequence[np.ndarray] = ()

    def to_frame(self) -> pl.DataFrame:
        """The study as a table that ``emoscope judge`` reads (docs/judge.md)."""
        names = [f"emotion {code}" for code in range(self.clips.options)]
        items = pl.DataFrame({
            "clip": [f"clip {code}" for code in range(len(self.untouched))],
            "speaker": [f"speaker {code:04}" for code in self.clips.speaker],
            "unit": [f"unit {code:04}" for code in self.clips.unit], "truth": [names[code] for code in self.clips.truth],
        })  # fmt: skip
        logits: dict[tuple[object, ...], np.ndarray] = {(BASELINE, None, None, None, None): self.untouched}
        acts = [(DEACTIVATE, None, self.off), *((STEER, alpha, under) for alpha, under in self.amplified.items())]
        for kind, alpha, (own, controls) in acts:
            for draw, sets in enumerate([own, *controls], start=-1):
                about = ("target", None) if draw < 0 else (MATCHED, draw)
                logits |= {(kind, alpha, *about, name): sets[code] for code, name in enumerate(names)}
        return as_frame(items, names, {each: log_softmax(values, axis=-1) for each, values in logits.items()})


def simulate(world: World, rng: np.random.Generator) -> Answers:
    """One study of a world.

    Example:
        >>> study = simulate(World(emotions=3, speakers=5, draws=5), np.random.default_rng(0))
        >>> study.off[0].shape, len(study.off[1]), list(study.amplified)
        ((3, 45, 3), 5, [0.25, 0.5, 1.0])
    """
    clips = _clips(world, rng)
    k, items = world.emotions, len(clips.truth)
    peaks = np.maximum(rng.normal(*world.separation, k), 0.3)
    means = np.diag(peaks) + world.alike * np.roll(np.eye(k), 1, axis=1)
    means[:, 0] += world.favoured
    speakers = int(clips.speaker.max()) + 1
    logits = means[clips.truth] + world.habit * rng.standard_normal((speakers, k))[clips.speaker]
    logits = logits + world.noise * rng.standard_normal((items, k))
    parts = _Parts(world, clips, logits, means, rng)
    # the same sets at every strength: what they do for reasons of their own grows with it
    reactions = [parts.reactions(place == 0) for place in range(1 + world.draws)]

    def under(loss: float, shift: float, dose: float) -> Under:
        own, *controls = (parts.sets(place == 0, loss, shift, dose, each) for place, each in enumerate(reactions))
        return own, controls

    def amplified(alpha: float) -> Under:
        dose = alpha**world.curve
        return under(-world.gain * dose, world.steer_shift * dose, alpha)

    kinds = np.stack([parts.expected(place == 0) for place in range(1 + world.draws)])
    apart = parts.apart
    own = np.stack([losses[:, :, None] + losses[:, None, :] for losses, *_ in reactions]) * apart
    off = under(world.loss, world.shift, -1.0)
    permuted = [
        parts.sets(False, world.loss, 0.0, -1.0, parts.reactions(False), parts.kept()) for _ in range(world.permuted)
    ]
    return Answers(clips, logits, off, Doses(world.alphas, amplified), kinds + own, kinds, permuted)


def _clips(world: World, rng: np.random.Generator) -> Clips:
    k = world.emotions
    sizes = np.maximum(1, np.round(world.clips * np.exp(world.unequal * rng.standard_normal(world.speakers)))).astype(
        int
    )
    counts = np.repeat(sizes[:, None], k, axis=1)
    single = rng.random(world.speakers) < world.single
    only = rng.integers(0, k, world.speakers)
    counts[single] = np.where(np.arange(k) == only[single, None], k * sizes[single, None], 0)
    speaker = np.repeat(np.arange(world.speakers), counts.sum(axis=1))
    truth = np.concatenate([np.repeat(np.arange(k), row) for row in counts])
    unit = speaker * world.sessions // world.speakers if world.sessions else speaker
    return Clips(truth, speaker, unit, k)


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the sets of one study share."""

    world: World
    clips: Clips
    logits: np.ndarray
    means: np.ndarray
    rng: np.random.Generator

    def reactions(self, target: bool) -> tuple[np.ndarray, ...]:
        """What sets of all names do for reasons of their own: losses, shifts, and every clip's own reaction."""
        world, k = self.world, self.world.emotions
        losses = ((target and world.potent) or world.own_loss) * self.rng.standard_normal((k, k))
        shifts = world.own_shift * self.rng.standard_normal((k, k))
        items = world.effects * self.rng.standard_normal((k, *self.logits.shape), dtype=np.float32)
        if world.dialogues:
            shared = self.rng.standard_normal((k, self.clips.units, k, k), dtype=np.float32)
            items += world.dialogues * shared[:, self.clips.unit, self.clips.truth]
        return losses, shifts, items

    def sets(
        self,
        target: bool,
        loss: float,
        shift: float,
        dose: float,
        reaction: tuple[np.ndarray, ...],
        kept: np.ndarray | None = None,
    ) -> np.ndarray:
        """Logits under one set a name, dimensions (target, item, option); ``kept`` is what it has of the sets of emotions."""
        world, clips, k, rng = self.world, self.clips, self.world.emotions, self.rng
        losses, shifts, items = reaction
        speakers = int(clips.speaker.max()) + 1
        share = 1.0 if target else world.leak
        wanted = loss * (share * self._pattern() if kept is None else kept @ self._pattern())
        if target and dose < 0 and world.product:
            wanted = wanted + world.product * np.outer(
                np.exp(world.potency * rng.standard_normal(k)), np.exp(world.fragility * rng.standard_normal(k))
            )
        heavy = 1 + world.varies * rng.standard_normal((k, speakers))
        moved = wanted[:, clips.truth] * heavy[:, clips.speaker] + dose * losses[:, clips.truth]  # (set, item)
        change = dose * (items + shifts[:, None]) + moved[..., None] * self.apart[clips.truth]
        own = (
            shift * (1 + world.shift_varies * rng.standard_normal((k, speakers))) if target else np.zeros((k, speakers))
        )
        own = own if target else own + world.control_shift
        change[range(k), :, range(k)] += own[:, clips.speaker]
        if target and world.own_noise:
            change[range(k), :, range(k)] += world.own_noise * rng.standard_normal((k, len(clips.truth)))
        if target and world.confidence:
            change -= self.shrink[:, None, None] * self.logits
        return self.logits + change

    def kept(self) -> np.ndarray:
        """Which share of every emotion's neurons the sets of one draw of permuted labels have, (name, emotion)."""
        own, others = (self._shares(*about) for about in (self.world.kept, self.world.kept_of_others))
        return np.where(np.eye(self.world.emotions, dtype=bool), own, others)

    def _shares(self, mean: float, spread: float) -> np.ndarray:
        size, k = mean * (1 - mean) / spread**2 - 1, self.world.emotions
        return self.rng.beta(mean * size, (1 - mean) * size, (k, k))

    @property
    def apart(self) -> np.ndarray:
        """The untouched separations over many clips, nat, dimensions (emotion, emotion)."""
        return np.asarray(self.means.diagonal()[:, None] - self.means - self.means.T + self.means.diagonal())

    @property
    def shrink(self) -> np.ndarray:
        """By which share each target set shrinks all logits, dimension (target)."""
        peaks = self.means.diagonal()
        differ = (peaks - peaks.mean()) / (peaks.std() or 1.0)
        return np.asarray(self.world.confidence * (1 + self.world.aligned * differ))

    def expected(self, target: bool) -> np.ndarray:
        """The pairwise changes of target or control sets when switched off, over many of them."""
        wanted = (1.0 if target else self.world.leak) * self.world.loss * self._pattern()
        shrunk = wanted[:, :, None] + wanted[:, None, :] + (self.shrink[:, None, None] if target else 0)
        return np.asarray(-shrunk * self.apart)

    def _pattern(self) -> np.ndarray:
        world, k = self.world, self.world.emotions
        found = np.full((k, k), world.others) + (1 - world.others) * np.eye(k)
        after = np.roll(np.eye(k), 1, axis=1)
        return np.asarray(np.where(after > 0, np.maximum(found, world.neighbour), found))


FEW = World(speakers=10, sessions=5, emotions=4, clips=12)
"""The smaller of both designs whose power has a criterion (docs/calibration.md)."""

NULLS: Mapping[str, World] = {
    "nothing": World(),
    "answer shift": World(shift=-0.5, steer_shift=0.5),
    "answer shift, differing between speakers": World(shift=-0.5, shift_varies=1.0, steer_shift=0.5),
    "answer shift under controls, too": World(shift=-0.5, steer_shift=0.5, control_shift=-0.3),
    "sets with effects of their own": World(own_loss=0.05, own_shift=0.5),
    "sets with large effects of their own": World(own_loss=0.15, own_shift=1.0),
    "target sets with larger effects of their own": World(own_loss=0.05, potent=0.1),
    "target sets with much larger effects of their own": World(own_loss=0.01, potent=0.15),
    "loss of confidence": World(confidence=0.2),
    "loss of confidence, aligned with separability": World(confidence=0.2, aligned=0.5),
    "noise on the own option": World(own_noise=1.0),
    "floor and ceiling": World(favoured=3.0, shift=-0.5, shift_varies=0.5, steer_shift=0.5),
    "all emotions hit alike": World(loss=0.15, others=1.0),
    "controls that hold as much": World(loss=0.15, leak=1.0),
    "two emotions hit alike": World(loss=0.15, neighbour=1.0, gain=0.1),
    "potency times fragility": World(product=0.1, potency=0.6, fragility=0.6),
    "dialogue blocks": replace(FEW, dialogues=0.3, own_loss=0.05),
    "unequal speakers": World(unequal=1.0, clips=5, own_loss=0.05),
    "most speakers in one emotion only": World(speakers=60, single=0.6, unequal=0.5, own_loss=0.05),
}
"""Worlds in which some declared claims are false, each at seven emotions and 25 speakers unless its name says otherwise."""

REAL: Mapping[str, World] = {
    f"a loss of {100 * loss:.0f} %, a gain of {100 * gain:.0f} %": World(loss=loss, gain=gain)
    for loss, gain in ((0.05, 0.025), (0.1, 0.05), (0.15, 0.075), (0.3, 0.15))
} | {
    "a neighbour hit half as much": World(loss=0.15, gain=0.075, neighbour=0.5),
    "label leak of 0.4": World(loss=0.15, gain=0.075, leak=0.4),
    "a loss among sets with effects of their own": World(loss=0.15, gain=0.075, own_loss=0.05, own_shift=0.5),
}
"""Worlds with a real loss and gain of the own emotion."""


def star() -> dict[str, World]:
    """Every world at its base, and some with one factor varied at a time: emotions, speakers, sessions, draws.

    Example:
        >>> len(star()) <= 60
        True
    """
    found = {**NULLS, **REAL}
    varied = (
        "sets with effects of their own",
        "target sets with much larger effects of their own",
        "answer shift, differing between speakers",
        "two emotions hit alike",
    )
    designs: dict[str, dict[str, Any]] = {
        "3 emotions": {"emotions": 3}, "5 speakers": {"speakers": 5, "clips": 12},
        "10 speakers in 5 sessions, 4 emotions": {"speakers": 10, "sessions": 5, "emotions": 4, "clips": 12},
        "100 speakers, 1 clip each": {"speakers": 100, "clips": 1}, "19 draws": {"draws": 19}, "5 draws": {"draws": 5},
    }  # fmt: skip
    for name in (*varied, "a loss of 15 %, a gain of 8 %"):
        found |= {f"{name}; {design}": replace(found[name], **changed) for design, changed in designs.items()}
    return found
