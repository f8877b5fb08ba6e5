"""Runs with known effects that no model made: in memory, as run folders, and as studies of several parts.

A run is items, conditions and answers. Answers follow a multinomial logit: every option of an item has a score, noise
and a bonus where it is the true label, which a condition changes; the answer is the option with the largest score, and
the stored log-probabilities are the scores up to a constant. Items stay the same under all conditions, so that all else
is equal. :mod:`tests.helpers.planted` writes the run that pages are tested on, :mod:`tests.helpers.planted_parts`
studies in parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.load import Run
from emoscope.chapters.results import study_tables
from emoscope.schemas import conform, empty, tables

Row = dict[str, Any]
EMOTIONS = ("anger", "fear", "neutral")
BONUS, STRENGTH, NOISE = 2.5, 1.0, 0.1
"""In nat: what an item's own emotion scores more, what an intervention takes, and what it adds at random."""
SELECTOR, BUDGET, ALPHA = "cas", 0.05, 0.5
"""The headline."""
MODEL: Row = {"id": "planted", "family": "none", "revision": None, "checksum": "0" * 64, "layers": 4, "width": 512}
MODEL |= {"hidden": 128, "vocab": 600, "site": "gate", "audio_first": True, "padding_side": "left", "dtype": "float32"}
MODEL |= {"device": "cpu", "trained_on": [], "recommended_budget": 0.05, "trained_speakers": []}
MANIFEST: Row = {"format": 1, "emoscope": "0.1.0", "model": MODEL, "timing": {"total_s": 93.2, "peak_memory_gb": 2.1}}
MANIFEST |= {"headline": {"selector": SELECTOR, "budget": BUDGET, "alpha": ALPHA, "scope": "all"}}

NAMES = tuple(
    name for name, table in tables().items() if table.file.startswith("tables/") and name not in study_tables()
)
"""Names of the result tables of a run."""


def table(rows: Iterable[Row], name: str) -> pl.DataFrame:
    """Rows as a table of that name; absent columns are null, further ones stay."""
    return conform(pl.DataFrame(list(rows), infer_schema_length=None), name)


def items(rows: Iterable[Row], label: str = "emotion") -> pl.DataFrame:
    """The items table: used and evaluated items, but for what the rows say."""
    usual = {"corpus": "planted", "side": "both", "label": label, "status": "used", "evaluated": True}
    return table(({"item": n} | usual | row for n, row in enumerate(rows)), "items")


def set_id(control: str, draw: int = 0, size: int | None = None, source: str | None = None, **family: Any) -> str:
    """The name of a set, as runs write it."""
    name = "{selector}@{budget:g}:{scope}".format(**{"selector": SELECTOR, "budget": BUDGET, "scope": "all"} | family)
    end = {"target": "", "fewer": f"~fewer{size}~draw{draw}"}.get(control, f"~{control}{draw}")
    return name + end + (f"~from={source}" if source else "")


def acts(kind: str, target: str | None, control: str = "target", draw: int = 0, **more: Any) -> Row:
    """A condition on the headline's set of one emotion, or of all; ``more`` says in what it differs."""
    usual = {"selector": SELECTOR, "budget": BUDGET, "scope": "all", "positions": "all", "layers": "all"}
    usual |= {"to": "zero", "alpha": None} if kind == "deactivate" else {"to": None, "alpha": ALPHA}
    row = usual | {"size": None, "source": None} | more
    name = set_id(
        control, draw, row["size"], row["source"], **{key: row[key] for key in ("selector", "budget", "scope")}
    )
    parts = [kind, target, name, f"alpha={row['alpha']}" if row["alpha"] else None]
    parts += [f"{word}={row[key]}" for key, word in (("positions", "at"), ("to", "to"), ("layers", "layers"))
              if row[key] not in (None, "all", "zero")]  # fmt: skip
    headline = control == "target" and target is not None and not {key for key in more if key != "scope"}
    about = {"condition": "/".join(filter(None, parts)), "kind": kind, "target": target, "set": name}
    return about | row | {"control": control, "draw": draw, "headline": headline}


def answers(
    condition: str, scores: np.ndarray, shown: Sequence[Sequence[str]], truth: Sequence[str], letter_mass: float = 0.9
) -> pl.DataFrame:
    """What a condition answers by likelihood.

    Args:
        condition: its name.
        scores: (item, option), in nat; -inf where an option is not offered.
        shown: the options of each item, in the order of the scores.
        truth: the true labels.
        letter_mass: the probability of all letters together.
    """
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) + np.log(letter_mass)
    answer = [options[best] for options, best in zip(shown, scores.argmax(axis=1), strict=True)]
    order = [sorted(range(len(options)), key=options.__getitem__) for options in shown]  # canonical, for these labels
    found = [[row[n] for n in places if row[n] > -np.inf] for row, places in zip(logp.tolist(), order, strict=True)]
    columns = {"item": np.arange(len(scores)), "condition": condition, "scoring": "likelihood", "form": "letter"}
    columns |= {"answer": answer, "correct": [a == t for a, t in zip(answer, truth, strict=True)], "logp": found}
    return conform(pl.DataFrame(columns | {"letter_mass": letter_mass}), "answers")


def write_tables(
    folder: Path, shown: pl.DataFrame, conditions: Iterable[Row], units: Mapping[str, pl.DataFrame], manifest: Row
) -> Path:
    """Write a run folder: items, conditions, the answers of each unit with its card, and the manifest."""
    for name in ("answers", "units"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shown.write_parquet(folder / "items.parquet")
    table(conditions, "conditions").write_parquet(folder / "conditions.parquet")
    for name, frame in units.items():
        frame.write_parquet(folder / "answers" / f"{name}.parquet")
        (folder / "units" / f"{name}.json").write_text("{}")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def small_run(
    speakers: Sequence[tuple[str | None, str]],
    said: Mapping[str, Sequence[str | None]],
    conditions: Sequence[Mapping[str, Any]] = (),
    generated: Mapping[str, Sequence[str | None]] | None = None,
    options: Sequence[str] = ("anger", "fear"),
    manifest: Mapping[str, Any] | None = None,
    logp: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> Run:
    """A run in memory: ``speakers`` are (speaker, truth) of the items, ``said`` an answer per item and condition.

    "-" stands for an item that was not asked. ``logp`` holds, per condition and item, the log-probabilities of the
    options in canonical order.
    """
    rows: list[Row] = [
        {"clip": f"c{n}", "corpus": None, "evaluated": None, "speaker": speaker, "truth": truth, "emotion": truth}
        for n, (speaker, truth) in enumerate(speakers)
    ]
    given = [
        {"item": n, "condition": condition, "scoring": scoring, "answer": answer, "letter_mass": 0.9}
        | {"logp": list(logp[condition][n]) if scoring == "likelihood" and condition in (logp or {}) else None}
        for scoring, found in (("likelihood", said), ("generation", generated or {}))
        for condition, answered in found.items()
        for n, answer in enumerate(answered)
        if answer != "-"
    ]
    listed = table(map(dict, conditions), "conditions") if conditions else empty("conditions")
    frame = items(row | {"options": list(options)} for row in rows)
    return Run(Path(), frame, empty("sets"), listed, table(given, "answers"), manifest or {})


def deactivations(control: str = "target", draw: int = 0, targets: Sequence[str] = ("anger", "fear")) -> list[Row]:
    """The conditions that switch one set per emotion off: "<target>", of controls "<target>~<control><draw>"."""
    end = "" if control == "target" else f"~{control}{draw}"
    named = ("kind", "target", "selector", "budget", "scope", "control", "draw", "positions", "layers", "to")
    rows = [(target, acts("deactivate", target, control, draw, scope="audio")) for target in targets]
    return [{"condition": target + end} | {name: row[name] for name in named} for target, row in rows]


Change = Callable[[np.ndarray, np.ndarray], Any]
INTERVENTIONS: dict[str, tuple[int, Change]] = {
    # the target's score falls by a constant on every item: nothing is lost but the readiness to say it
    "bias": (0, lambda own, strength: -strength.mean()),
    # the same, by another constant for each speaker
    "uneven": (0, lambda own, strength: -strength),
    # the target's items lose most of the bonus that sets them apart from the others', whose log-odds stay as they were
    "evidence": (0, lambda own, strength: -2 * strength * own),
    # the target's score loses what tells its items from the others', half of it on either side
    "shrunk": (0, lambda own, strength: np.where(own, -strength, strength)),
    # the score of the next emotion rises by a constant on every item; that of the target is untouched
    "rival": (1, lambda own, strength: 2 * strength),
    # only the noise that every intervention, the controls' too, adds
    "nothing": (0, lambda own, strength: 0.0),
}
"""Which option after the target changes, and by how much on items of the target's emotion and others; (item,)."""


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
    """Write a run folder with one of :data:`INTERVENTIONS` and return it.

    ``clips`` is per speaker and emotion. With ``speakers=None`` nobody knows who spoke, with ``fewer_options``
    every fifth item does not offer the emotion that follows its own.
    """
    rng, count = np.random.default_rng(seed), len(EMOTIONS)
    groups = speakers or recordings
    who = np.repeat(np.arange(groups), clips * count)
    truth = np.tile(np.repeat(np.arange(count), clips), groups)
    own = truth[:, np.newaxis] == np.arange(count)
    level = rng.gumbel(size=own.shape) + bonus * own
    force = (strength * (1 + 0.2 * rng.normal(size=groups)))[who]  # speakers differ in how much they are changed
    offered = np.ones(own.shape, dtype=bool)
    if fewer_options:
        offered[np.arange(0, len(truth), 5), (truth[::5] + 1) % count] = False
    labels = [EMOTIONS[t] for t in truth]
    shown = items(
        {
            "clip": f"c{n}",
            "speaker": f"s{g:02d}" if speakers else None,
            "fold": str(g),
            "truth": label,
            "emotion": label,
        }
        | {"options": [e for e, there in zip(EMOTIONS, offered[n], strict=True) if there]}
        for n, (g, label) in enumerate(zip(who, labels, strict=True))
    )
    rows: list[Row] = [{"condition": "baseline", "kind": "baseline"}]
    scores = {"baseline": level}
    for m, emotion in enumerate(EMOTIONS):
        for control, draw in [("target", 0), *[("matched", draw) for draw in range(matched)]]:
            name = f"deactivate/{emotion}/{control}{draw}"
            rows.append(acts("deactivate", emotion, control, draw) | {"condition": name, "set": None})
            found = scores[name] = level + NOISE * rng.normal(size=level.shape)
            if control == "target":
                shift, change = INTERVENTIONS[intervention]
                found[:, (m + shift) % count] += change(own[:, m], force)
    units = {
        f"{n:03d}": answers(name, np.where(offered, found, -np.inf), [EMOTIONS] * len(truth), labels, letter_mass)
        for n, (name, found) in enumerate(scores.items())
    }
    return write_tables(folder, shown, rows, units, {"study": {"identify": {"label": "emotion"}}})
