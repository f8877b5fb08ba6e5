"""A run folder with planted effects of all that a page can show: what the report is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.neurons.sets import NeuronSet, NeuronSets, load_group, safe_name
from tests.helpers.runs import (
    ALPHA,
    BUDGET,
    MANIFEST,
    MODEL,
    SELECTOR,
    Row,
    acts,
    answers,
    items,
    set_id,
    table,
    write_tables,
)

SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
THREE = ("anger", "fear", "happiness")
LAYERS, WIDTH, SCOPE = 4, 512, "audio+answer"
WAYS = ("two-pass", "mix", "mix-own", "mix-outputs", "union")
ALPHAS = (0.25, 0.5, 1.0, 2.0)
KINDS = ("baseline", "null", "deactivate", "steer", "reliance", *WAYS)
HURT, LIFT = 1.6, 1.0
"""In nat: what a target set takes from its emotion's items, and what steering adds to the target's option on every item,
times alpha. Sets do a little to everything else, too; of all that, these sets, positions and means do a part:"""
SELECTORS = {"cas": 1.0, "mad": 0.8, "lape": 0.5, "lap": 0.25}
PART: dict[str, dict[Any, float]] = {
    "selector": SELECTORS,
    "control": {"target": 1.0, "matched": 0.12, "random": 0.03, "shuffled": 0.2, "fewer": 0.7},
    "positions": {"all": 1.0, "audio": 0.1, "text": 0.9, "decision": 0.2},
    "budget": {0.05: 1.0, 0.1: 1.2},
    "to": {"zero": 1.0, "mean": 0.8, None: 1.0},
}
FAMILIES = [
    *((selector, "target", 0) for selector in SELECTORS),
    *((SELECTOR, c, d) for c, draws in (("matched", 10), ("random", 5), ("shuffled", 5)) for d in range(draws)),
]
"""Selector, control and draw of the sets at the headline's budget."""
SWEPT: list[Row] = [{"control": "target", "budget": 0.1}]
SWEPT += [{"control": "matched", "draw": draw, "budget": 0.1} for draw in range(2)]
SWEPT += [{"control": "fewer", "size": size} for size in (5, 20)]
"""Sets of the headline's selector at another budget with their controls, and from fewer clips."""


def write_run(
    folder: Path,
    emotions: tuple[str, ...] = SEVEN,
    speakers: int | None = 10,
    per_cell: int = 6,
    only: tuple[str, ...] = KINDS,
    seed: int = 0,
    unidentifiable: tuple[str, ...] = (),
) -> Path:
    """Write a run folder with all that a page can show and return it; ``speakers=None`` leaves speakers unknown."""
    rng = np.random.default_rng(seed)
    shown = _items(emotions, speakers, per_cell)
    targets = tuple(e for e in emotions if e not in unidentifiable)
    folder.mkdir(parents=True, exist_ok=True)
    _sets(folder, targets, sorted(set(shown["fold"])), rng).write_parquet(folder / "sets.parquet")
    _neurons(folder).write_parquet(folder / "neurons.parquet")
    conditions = [
        row | {"generated": row.get("headline", False)} for row in _conditions(targets) if row["kind"] in only
    ]
    conditions = [row | {"generated": True} if row["kind"] == "baseline" else row for row in conditions]
    units = _units(shown.filter(pl.col("status") == "used"), conditions, emotions, rng)
    cut_short = units.pop("a-unfinished")
    write_tables(folder, shown, conditions, units, _manifest(shown, emotions, unidentifiable))
    # its answers exist, its record does not, so nobody may read it
    cut_short.write_parquet(folder / "answers" / "a-unfinished.parquet")
    study = 'name = "planted"\nseed = 0\n[headline]\nselector = "cas"  # fixed before <evaluation>\n'
    (folder / "study.toml").write_text(study)
    return folder


def _items(emotions: tuple[str, ...], speakers: int | None, per_cell: int) -> pl.DataFrame:
    rows: list[Row] = []
    for s, (e, emotion), take in product(range(speakers or 5), enumerate(emotions), range(per_cell)):
        voice, turn = f"s{s:02d}" if speakers else None, (e + take) % len(emotions)
        row = {"clip": f"s{s:02d}_{emotion}_{take}", "speaker": voice, "fold": voice or str(s), "truth": emotion}
        row |= {"emotion": emotion, "word": ("nie", "tak")[take % 2], "wording": "lettered", "order": 0}
        row |= {"options": [*emotions[turn:], *emotions[:turn]], "duration_s": 1.0 + 0.01 * take}
        rows.append(row | {"checksum": hashlib.sha256(f"{s}{e}{take}".encode()).hexdigest()})
    lost = [("excluded", "trained on by this model")] * 3 + [("quarantined", "silent")]
    rows += [
        rows[n] | {"clip": f"lost_{n}", "status": status, "why": why, "evaluated": False}
        for n, (status, why) in enumerate(lost)
    ]
    return items(rows)


def _sets(folder: Path, targets: tuple[str, ...], folds: list[str], rng: np.random.Generator) -> pl.DataFrame:
    """Sets found on everything and, where they are compared between folds, those of each fold."""
    rows: list[Row] = []
    saved: dict[str, dict[str, dict[str, NeuronSet]]] = {}  # set -> fold -> emotion

    def save(fold: str, found: Mapping[str, np.ndarray], control: str, draw: int = 0, **more: Any) -> None:
        family = {"selector": SELECTOR, "budget": BUDGET, "size": None} | more
        name, count = set_id(control, draw, scope=SCOPE, **family), round(family["budget"] * LAYERS * WIDTH)
        row = family | {"set": name, "scope": SCOPE, "site": "gate", "label": "emotion", "source": "planted"}
        row |= {"control": control, "draw": draw, "n": family["size"] or 30, "fold": fold}
        row |= {"size_wanted": count, "size_reached": count}
        if not {"size", "budget"} & set(more):
            row |= {"tied_at_cut": 3, "share_negative_mean": 0.02}
        if control == "matched" and "budget" not in more:
            row |= {"smd_frequency": 0.05, "smd_magnitude": 0.31, "smd_down_norm": 0.02, "well_matched": False}
        rows.extend(row | {"emotion": emotion} for emotion in targets)
        group = {emotion: NeuronSet(emotion, np.sort(its), LAYERS, WIDTH) for emotion, its in found.items()}
        saved.setdefault(name, {})[fold] = group

    for selector, control, draw in FAMILIES:
        lean = np.repeat([0.1, 0.2, 0.5, 0.2] if control == "target" else [0.25] * 4, WIDTH)
        chosen = {e: np.sort(rng.choice(LAYERS * WIDTH, 102, replace=False, p=lean / lean.sum())) for e in targets}
        save("all", chosen, control, draw, selector=selector)
        for fold in folds if control in ("target", "shuffled") else []:
            kept = {e: rng.permutation(found)[:70] for e, found in chosen.items()}
            save(fold, kept, control, draw, selector=selector)
    later = np.random.default_rng(1)  # so that what follows is drawn as it would be without these sets
    for swept in SWEPT:
        count = round(swept.get("budget", BUDGET) * LAYERS * WIDTH)
        for fold in ["all", *(folds if swept["control"] == "fewer" else [])]:
            save(fold, {e: later.choice(LAYERS * WIDTH, size=count, replace=False) for e in targets}, **swept)
    for name, folds_of in saved.items():
        NeuronSets(folds_of.pop("all"), folds_of).save(folder / "sets" / safe_name(name))
    return table(rows, "sets")


def _neurons(folder: Path) -> pl.DataFrame:
    """What the neurons of the headline's sets write: the first its emotion's own name, others odd tokens."""
    path = folder / "sets" / safe_name(set_id("target", scope=SCOPE)) / "all.safetensors"
    odd, usual = ["B", "\n", "\ufffd"], {"lowers": [" No", "C"]}
    return table(
        (
            usual | {"neuron": neuron, "layer": neuron // WIDTH, "index": neuron % WIDTH, "emotion": emotion}
            | {"raises": odd if place else [f" {emotion}", "A", "<b>"]}
            for emotion, found in load_group(path).items() for place, neuron in enumerate(found)
        ), "neurons",
    )  # fmt: skip


def _conditions(targets: tuple[str, ...]) -> list[Row]:
    rows: list[Row] = [{"condition": "baseline", "kind": "baseline"}, {"condition": "null", "kind": "null"}]

    def add(kind: str, target: str | None, control: str = "target", draw: int = 0, **more: Any) -> None:
        rows.append(acts(kind, target, control, draw, scope=SCOPE, **more))

    like = [("target", 0), *(("matched", draw) for draw in range(5))]
    for emotion in targets:
        for selector, control, draw in FAMILIES:
            which = {} if selector == SELECTOR else {"selector": selector}
            add("deactivate", emotion, control, draw, **which)
            if control in ("target", "matched"):
                add("deactivate", emotion, control, draw, to="mean", **which)
                for alpha in ALPHAS if selector == SELECTOR and control == "target" else (ALPHA,):
                    add("steer", emotion, control, draw, **which, **({} if alpha == ALPHA else {"alpha": alpha}))
        for positions, one in product(("audio", "text", "decision"), like):
            add("deactivate", emotion, *one, positions=positions)
    for name, to in product(("all", *(f"layer={layer}" for layer in range(LAYERS)), "union"), ("zero", "mean")):
        end = "" if to == "zero" else f"/to={to}"
        about = {"positions": "all", "layers": name.removeprefix("layer="), "to": to}
        rows.append({"condition": f"reliance/{name}{end}", "kind": "reliance", "headline": False} | about)
    for part, one, emotion in product(("0-1", "2-3"), like[:4], targets):
        add("deactivate", emotion, *one, layers=part)
    for one, way in product(like[:4], WAYS):
        add(way, None, *one)
    for swept, emotion in product(SWEPT, targets):
        add("deactivate", emotion, **swept)
        if swept["control"] == "fewer":
            add("steer", emotion, **swept)
    for part, one, emotion in product((*map(str, range(LAYERS)), "2-3 reselected"), like[:3], targets):
        add("deactivate", emotion, *one, layers=part)
    return rows


def _units(
    used: pl.DataFrame, conditions: Sequence[Row], emotions: tuple[str, ...], rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    voices, truth = used["fold"].to_list(), used["truth"].to_list()
    lean = {voice: rng.normal(0, 0.25, (len(emotions), len(emotions))) for voice in sorted(set(voices))}
    shift = np.stack([lean[voice] for voice in voices])  # speakers differ in what sets do to them
    own = np.array([[label == emotion for emotion in emotions] for label in truth])
    base = rng.normal(0, 1, own.shape) + 1.8 * own
    shown, units = [emotions] * len(used), {"a-unfinished": answers("baseline", -base[:5], [emotions] * 5, truth[:5])}
    asked = [row for row in conditions if row["kind"] not in ("two-pass", "mix-outputs")]  # read off the steered ones
    for number, row in enumerate(asked):
        scores = base + rng.normal(0, 0.01 if row["kind"] in ("baseline", "null") else 0.1, base.shape)
        if row.get("target") is not None:
            m, size = emotions.index(row["target"]), np.prod([part[row[key]] for key, part in PART.items()])
            if row["kind"] == "deactivate":
                scores[:, m] -= size * (HURT * own[:, m] + 0.2 + shift[:, m, m])
            else:
                scores[:, m] += size * row["alpha"] * (LIFT + shift[:, m, m])
        elif row["kind"] == "reliance":
            keep = {"all": 0.0, "union": 0.3}.get(row["layers"], 0.8)
            scores = keep * scores + (1 - keep) * (np.arange(len(emotions)) == 1)
        frame = units[f"u{number:04d}-l"] = answers(row["condition"], scores, shown, truth, 0.99)
        if row["generated"]:  # every 50th written answer cannot be read
            lost = pl.int_range(pl.len()) % 50 == 49
            units[f"u{number:04d}-g"] = frame.with_columns(
                scoring=pl.lit("generation"),
                text=pl.lit("A"),
                answer=pl.when(~lost).then("answer"),
                form=pl.when(lost).then(pl.lit("unparsable")).otherwise("form"),
                correct=pl.col("correct") & ~lost,
            )
    return units


def _manifest(shown: pl.DataFrame, emotions: tuple[str, ...], unidentifiable: tuple[str, ...]) -> Row:
    statuses = dict(shown["status"].value_counts().iter_rows())
    proofs = [
        ("a changed neuron changes the logits as the column edit does", "passed", 0.0, 1e-5, ""),
        ("weights restored bit for bit", "passed", 0.0, 0.0, ""),
        ("generated answers in a batch equal single ones", "not run", None, None, "no time"),
    ]
    trained = {"trained_on": [{"corpus": "planted", "where": {"take": ["1", "2"]}}]}
    return MANIFEST | {
        "model": MODEL | trained | {"trained_speakers": ["s00", "s01", "x"]},
        "corpora": [{"id": "planted", "title": "Planted voices", "licence": "none", "citation": "none"}],
        "study": {"name": "planted", "seed": 0, "identify": {"label": "emotion"}},
        "proofs": [dict(zip(("name", "status", "measured", "tolerance", "note"), one, strict=True)) for one in proofs],
        "environment": {"python": "3.11", "torch": "2.13.0", "threads": 2},
        "counts": {"clips": len(shown), "used": statuses["used"], "not needed": 0, "excluded": 3, "quarantined": 1},
        "headline": MANIFEST["headline"] | {"scope": SCOPE},
        "emotions": list(emotions),
        "identifiable": {e: "not identifiable (3 correct)" if e in unidentifiable else 30 for e in emotions},
    }
