"""Run folders whose interventions are known: answer bias, lost evidence, or nothing.

Answers follow a multinomial logit: every option's score is a bonus on items of its emotion plus Gumbel noise
of the item, the answer is the option with the largest score, and the stored log-probabilities are the scores
up to a constant. An intervention changes the scores of items that stay the same, so all else is equal:

* ``bias``: the target's score falls by a constant on every item: nothing is lost but the readiness to say it;
* ``uneven``: the same, by another constant for each speaker;
* ``evidence``: the target's items lose most of the bonus that sets them apart from the others' items, whose
  log-odds stay as they were;
* ``shrunk``: the target's score loses what tells its items from the others', half of it on either side;
* ``rival``: the score of the next emotion rises by a constant on every item; that of the target is untouched;
* ``nothing``: only the noise that every intervention, the controls' too, adds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

EMOTIONS = ("anger", "fear", "neutral")
BONUS, STRENGTH, NOISE = 2.5, 1.0, 0.1
"""In nat: what an item's own emotion scores more, what an intervention takes, and what it adds at random."""


def _bias(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    scores[:, m] -= strength.mean()


def _uneven(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    scores[:, m] -= strength


def _evidence(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    scores[own, m] -= 2 * strength[own]


def _shrunk(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    scores[:, m] += np.where(own, -strength, strength)


def _rival(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    scores[:, (m + 1) % scores.shape[1]] += 2 * strength


def _nothing(scores: np.ndarray, m: int, own: np.ndarray, strength: np.ndarray) -> None:
    pass


INTERVENTIONS: dict[str, Callable[[np.ndarray, int, np.ndarray, np.ndarray], None]] = {
    "bias": _bias, "uneven": _uneven, "evidence": _evidence, "shrunk": _shrunk, "rival": _rival,
    "nothing": _nothing,
}  # fmt: skip


def write_simulation(
    folder: Path,
    intervention: str,
    speakers: int | None = 12,
    clips: int = 10,
    seed: int = 0,
    bonus: float = BONUS,
    strength: float = STRENGTH,
    matched: int = 3,
    letter_mass: float = 0.9,
    recordings: int = 12,
    fewer_options: bool = False,
) -> Path:
    """Write a run folder and return it.

    ``clips`` is per speaker and emotion. With ``speakers=None`` nobody knows who spoke, with ``fewer_options``
    every fifth item does not offer the emotion that follows its own.
    """
    rng = np.random.default_rng(seed)
    groups = speakers or recordings
    who = np.repeat(np.arange(groups), clips * len(EMOTIONS))
    truth = np.tile(np.repeat(np.arange(len(EMOTIONS)), clips), groups)
    own = truth[:, np.newaxis] == np.arange(len(EMOTIONS))
    level = rng.gumbel(size=own.shape) + bonus * own
    force = (strength * (1 + 0.2 * rng.normal(size=groups)))[who]  # speakers differ in how much they are changed
    for name in ("answers", "units"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    offered = np.ones(own.shape, dtype=bool)
    if fewer_options:
        offered[np.arange(0, len(truth), 5), (truth[::5] + 1) % len(EMOTIONS)] = False
    _items(speakers, who, truth, offered).write_parquet(folder / "items.parquet")
    rows = [_condition("baseline", "baseline")]
    scores = {"baseline": level}
    for m, emotion in enumerate(EMOTIONS):
        for control, draw in [("target", 0), *[("matched", draw) for draw in range(matched)]]:
            name = f"deactivate/{emotion}/{control}{draw}"
            about = {"target": emotion, "control": control, "draw": draw, "headline": control == "target"}
            rows.append(_condition(name, "deactivate") | about)
            scores[name] = level + NOISE * rng.normal(size=level.shape)
            if control == "target":
                INTERVENTIONS[intervention](scores[name], m, own[:, m], force)
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "conditions.parquet")
    for unit, (name, found) in enumerate(scores.items()):
        _answers(name, found, truth, offered, letter_mass).write_parquet(folder / "answers" / f"{unit:03d}.parquet")
        (folder / "units" / f"{unit:03d}.json").write_text("{}")
    (folder / "manifest.json").write_text(json.dumps({"study": {"identify": {"label": "emotion"}}}))
    return folder


def _items(speakers: int | None, who: np.ndarray, truth: np.ndarray, offered: np.ndarray) -> pl.DataFrame:
    rows = [
        {"item": n, "clip": f"c{n}", "corpus": "simulated", "speaker": f"s{g:02d}" if speakers else None}
        | {
            "fold": str(g),
            "side": "both",
            "label": "emotion",
            "truth": EMOTIONS[t],
            "options": [e for e, there in zip(EMOTIONS, offered[n], strict=True) if there],
        }
        | {"emotion": EMOTIONS[t], "fate": "used", "evaluated": True}
        for n, (g, t) in enumerate(zip(who, truth, strict=True))
    ]
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"speaker": pl.String})


def _condition(name: str, kind: str) -> dict[str, Any]:
    there = kind == "deactivate"
    return {
        "condition": name, "kind": kind, "target": None, "to": "zero" if there else None, "positions": "all",
        "layers": "all", "selector": "cas" if there else None, "budget": 0.05 if there else None,
        "scope": "all" if there else None, "alpha": None, "control": None, "draw": None, "headline": False,
    }  # fmt: skip


def _answers(
    condition: str, scores: np.ndarray, truth: np.ndarray, offered: np.ndarray, letter_mass: float
) -> pl.DataFrame:
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) + np.log(letter_mass)
    answer = np.where(offered, scores, -np.inf).argmax(axis=1)
    return pl.DataFrame(
        {
            "item": np.arange(len(truth)), "condition": [condition] * len(truth),
            "scoring": ["likelihood"] * len(truth), "answer": [EMOTIONS[a] for a in answer],
            "correct": answer == truth, "logp": [row[there].tolist() for row, there in zip(logp, offered, strict=True)], "letter_mass": [letter_mass] * len(truth),
        }
    )  # fmt: skip
