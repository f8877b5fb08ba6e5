"""A run folder with planted effects, written without a model: what the report is developed and tested on.

Every item has a score per option: noise, a bonus for the true emotion, and what a condition does to it.
A target set takes ``HURT`` from its emotion's items and a little from everything else; controls take far
less; steering adds ``alpha * LIFT`` to the target's option on every item.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.neurons.sets import NeuronSet, load_group, safe_name, save_group

SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
THREE = ("anger", "fear", "happiness")
HURT, LIFT = 1.6, 1.0
CONTROL = {"target": 1.0, "matched": 0.12, "random": 0.03, "shuffled": 0.2, "fewer": 0.7}
BUDGET = {0.05: 1.0, 0.1: 1.2}
SELECTOR = {"cas": 1.0, "mad": 0.8, "lape": 0.5, "lap": 0.25}
POSITION = {"all": 1.0, "audio": 0.1, "text": 0.9, "decision": 0.2}
TO = {"zero": 1.0, "mean": 0.8}
LAYERS, WIDTH, SCOPE = 4, 512, "audio+answer"
WAYS = ("two-pass", "mix", "mix-own", "mix-outputs", "union")
ALPHAS = (0.25, 0.5, 1.0, 2.0)


def write_run(
    folder: Path,
    emotions: tuple[str, ...] = SEVEN,
    speakers: int | None = 10,
    per_cell: int = 6,
    only: tuple[str, ...] = ("baseline", "null", "deactivate", "steer", "reliance", *WAYS),
    seed: int = 0,
    unidentifiable: tuple[str, ...] = (),
    block: int = 128,
) -> Path:
    """Write a run folder and return it; ``speakers=None`` leaves speakers unknown."""
    rng = np.random.default_rng(seed)
    for name in ("answers", "units", "sets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    items = _items(emotions, speakers, per_cell)
    items.write_parquet(folder / "items.parquet", compression="zstd")
    targets = tuple(e for e in emotions if e not in unidentifiable)
    sets = _sets(folder, targets, sorted(set(items["fold"])), rng)
    sets.write_parquet(folder / "sets.parquet", compression="zstd")
    _neurons(folder, targets)
    conditions = _conditions(targets, only)
    conditions.write_parquet(folder / "conditions.parquet", compression="zstd")
    _answers(folder, items, conditions, emotions, rng, block)
    (folder / "study.toml").write_text(
        'name = "planted"\nseed = 0\n[headline]\nselector = "cas"  # fixed before <evaluation>\n'
    )
    (folder / "manifest.json").write_text(json.dumps(_manifest(items, emotions, unidentifiable), indent=1))
    return folder


def _items(emotions: tuple[str, ...], speakers: int | None, per_cell: int) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for s in range(speakers or 5):
        for e, emotion in enumerate(emotions):
            for take in range(per_cell):
                turn = (e + take) % len(emotions)
                rows.append(
                    {"item": len(rows), "clip": f"s{s:02d}_{emotion}_{take}", "corpus": "planted"}
                    | {"speaker": f"s{s:02d}" if speakers else None, "session": None, "split": None}
                    | {"fold": f"s{s:02d}" if speakers else str(s), "side": "both", "label": "emotion"}
                    | {
                        "truth": emotion,
                        "emotion": emotion,
                        "word": ("nie", "tak")[take % 2],
                        "wording": "lettered",
                        "order": 0,
                    }
                    | {"options": [*emotions[turn:], *emotions[:turn]], "duration_s": 1.0 + 0.01 * take}
                    | {
                        "checksum": hashlib.sha256(f"{s}{e}{take}".encode()).hexdigest(),
                        "fate": "used",
                        "why": None,
                        "evaluated": True,
                    }
                )
    for n, (fate, why) in enumerate([("excluded", "trained on by this model")] * 3 + [("quarantined", "silent")]):
        rows.append(rows[n] | {"item": len(rows), "clip": f"lost_{n}", "fate": fate, "why": why, "evaluated": False})
    return pl.DataFrame(rows, infer_schema_length=None)


def set_id(selector: str, control: str, draw: int, budget: float = 0.05, size: int | None = None) -> str:
    end = "" if control == "target" else f"~fewer{size}~draw{draw}" if control == "fewer" else f"~{control}{draw}"
    return f"{selector}@{budget:g}:{SCOPE}{end}"


def _families() -> list[tuple[str, str, int]]:
    found = [(selector, "target", 0) for selector in SELECTOR]
    return found + [
        ("cas", c, d) for c, draws in (("matched", 10), ("random", 5), ("shuffled", 5)) for d in range(draws)
    ]


def _swept() -> list[tuple[str, int, float, int | None]]:
    """The headline's selector at another budget with its controls, and from fewer clips: (control, draw, budget, size)."""
    found: list[tuple[str, int, float, int | None]] = [("target", 0, 0.1, None)]
    found += [("matched", draw, 0.1, None) for draw in range(2)]
    return found + [("fewer", 0, 0.05, size) for size in (5, 20)]


def _sets(folder: Path, targets: tuple[str, ...], folds: list[str], rng: np.random.Generator) -> pl.DataFrame:
    """Sets found on everything and, where they are compared between folds, those of each fold."""
    rows, size = [], 102
    for selector, control, draw in _families():
        lean = np.repeat([0.1, 0.2, 0.5, 0.2] if control == "target" else [0.25] * 4, WIDTH)
        matched = control == "matched"
        chosen = {
            e: np.sort(rng.choice(LAYERS * WIDTH, size=size, replace=False, p=lean / lean.sum())) for e in targets
        }
        for fold in ["all", *(folds if control in ("target", "shuffled") else [])]:
            for emotion in targets:
                rows.append(
                    {"set": set_id(selector, control, draw), "selector": selector, "budget": 0.05, "scope": SCOPE}
                    | {
                        "site": "gate",
                        "label": "emotion",
                        "source": "planted",
                        "control": control,
                        "draw": draw,
                        "n": 30,
                    }
                    | {"fold": fold, "emotion": emotion, "size_wanted": size, "size_reached": size, "tied_at_cut": 3}
                    | {"share_negative_mean": 0.02, "smd_frequency": 0.05 if matched else None}
                    | {"smd_magnitude": 0.31 if matched else None, "smd_down_norm": 0.02 if matched else None}
                    | {"well_matched": False if matched else None}
                )
            kept = chosen if fold == "all" else {e: rng.permutation(found)[:70] for e, found in chosen.items()}
            place = folder / "sets" / safe_name(set_id(selector, control, draw)) / f"{fold}.safetensors"
            save_group(place, {e: NeuronSet(e, np.sort(found), LAYERS, WIDTH) for e, found in kept.items()})
    later = np.random.default_rng(1)  # so that what follows is drawn as it would be without these sets
    for control, draw, budget, clips in _swept():
        name, count = set_id("cas", control, draw, budget, clips), round(budget * LAYERS * WIDTH)
        for fold in ["all", *(folds if control == "fewer" else [])]:
            about = {
                "set": name,
                "selector": "cas",
                "budget": budget,
                "scope": SCOPE,
                "site": "gate",
                "label": "emotion",
            }
            about |= {
                "source": "planted",
                "control": control,
                "draw": draw,
                "size": clips,
                "n": clips or 30,
                "fold": fold,
            }
            rows += [about | {"emotion": e, "size_wanted": count, "size_reached": count} for e in targets]
            drawn = {e: np.sort(later.choice(LAYERS * WIDTH, size=count, replace=False)) for e in targets}
            place = folder / "sets" / safe_name(name) / f"{fold}.safetensors"
            save_group(place, {e: NeuronSet(e, found, LAYERS, WIDTH) for e, found in drawn.items()})
    return pl.DataFrame(rows, infer_schema_length=None)


def _neurons(folder: Path, targets: tuple[str, ...]) -> None:
    """What the neurons of the headline's sets write: the first its emotion's own name, others odd tokens."""
    rows = []
    for emotion, found in load_group(
        folder / "sets" / safe_name(set_id("cas", "target", 0)) / "all.safetensors"
    ).items():
        for place, neuron in enumerate(found.neurons.tolist()):
            raises = [f" {emotion}", "A", "<b>"] if place == 0 else ["B", "\n", "\ufffd"]
            rows.append((neuron, *divmod(neuron, WIDTH), emotion, raises, [" No", "C"]))
    schema = {"neuron": pl.Int64, "layer": pl.Int64, "index": pl.Int64, "emotion": pl.String,
              "raises": pl.List(pl.String), "lowers": pl.List(pl.String)}  # fmt: skip
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "neurons.parquet")


def _conditions(targets: tuple[str, ...], only: tuple[str, ...]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []

    def add(condition: str, kind: str, **more: Any) -> None:
        empty: dict[str, Any] = dict.fromkeys(
            ("target", "set", "alpha", "to", "selector", "budget", "scope", "control", "draw")
        )
        shared = {"positions": "all", "layers": "all", "generated": False, "headline": False}
        rows.append({"condition": condition, "kind": kind} | empty | shared | more)

    def family(kind: str, emotion: str, selector: str, control: str, draw: int, **more: Any) -> None:
        which = set_id(selector, control, draw)
        end = f"/alpha={more['alpha']}" if "alpha" in more else ""
        end += f"/at={more['positions']}" if "positions" in more else ""
        end += f"/to={more['to']}" if "to" in more else ""
        about = {"selector": selector, "budget": 0.05, "scope": SCOPE, "control": control, "draw": draw}
        headline = selector == "cas" and control == "target" and end in ("", "/alpha=0.5")
        if kind == "deactivate":
            more = {"to": "zero"} | more
        more |= {"headline": headline, "generated": headline}
        add(f"{kind}/{emotion}/{which}{end}", kind, target=emotion, set=which, **about, **more)

    add("baseline", "baseline", generated=True)
    add("null", "null")
    for emotion in targets:
        for selector, control, draw in _families():
            family("deactivate", emotion, selector, control, draw)
            if control in ("target", "matched"):
                family("deactivate", emotion, selector, control, draw, to="mean")
            if control in ("target", "matched"):
                for alpha in ALPHAS if selector == "cas" and control == "target" else (0.5,):
                    family("steer", emotion, selector, control, draw, alpha=alpha)
        for positions in ("audio", "text", "decision"):
            family("deactivate", emotion, "cas", "target", 0, positions=positions)
            for draw in range(5):
                family("deactivate", emotion, "cas", "matched", draw, positions=positions)
    for name in ("all", *(f"layer={layer}" for layer in range(LAYERS)), "union"):
        for to in TO:
            end = "" if to == "zero" else f"/to={to}"
            add(f"reliance/{name}{end}", "reliance", layers=name.removeprefix("layer="), to=to)
    for part in ("0-1", "2-3"):
        for control, draw in (("target", 0), ("matched", 0), ("matched", 1), ("matched", 2)):
            which = set_id("cas", control, draw)
            about = {"selector": "cas", "budget": 0.05, "scope": SCOPE, "control": control, "draw": draw}
            for emotion in targets:
                name = f"deactivate/{emotion}/{which}/layers={part}"
                add(name, "deactivate", target=emotion, set=which, to="zero", layers=part, **about)
    for control, draw in (("target", 0), ("matched", 0), ("matched", 1), ("matched", 2)):
        for way in WAYS:
            which, about = set_id("cas", control, draw), {"selector": "cas", "budget": 0.05, "scope": SCOPE}
            add(f"{way}/{which}/alpha=0.5", way, set=which, alpha=0.5, control=control, draw=draw, **about)
    for control, draw, budget, clips in _swept():
        which = set_id("cas", control, draw, budget, clips)
        about = {"selector": "cas", "budget": budget, "scope": SCOPE, "control": control, "draw": draw, "size": clips}
        for emotion in targets:
            add(f"deactivate/{emotion}/{which}", "deactivate", target=emotion, set=which, to="zero", **about)
            if control == "fewer":
                name = f"steer/{emotion}/{which}/alpha=0.5"
                add(name, "steer", target=emotion, set=which, alpha=0.5, **about)
    for part in (*map(str, range(LAYERS)), "2-3 reselected"):
        for control, draw in (("target", 0), ("matched", 0), ("matched", 1)):
            which = set_id("cas", control, draw)
            about = {"selector": "cas", "budget": 0.05, "scope": SCOPE, "control": control, "draw": draw}
            for emotion in targets:
                name = f"deactivate/{emotion}/{which}/layers={part}"
                add(name, "deactivate", target=emotion, set=which, to="zero", layers=part, **about)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.filter(pl.col("kind").is_in(only))


def _answers(
    folder: Path,
    items: pl.DataFrame,
    conditions: pl.DataFrame,
    emotions: tuple[str, ...],
    rng: np.random.Generator,
    block: int,
) -> None:
    used = items.filter(pl.col("fate") == "used")
    truth = np.array([emotions.index(t) for t in used["truth"]])
    voices = used["fold"].to_list()
    lean = {voice: rng.normal(0, 0.25, (len(emotions), len(emotions))) for voice in sorted(set(voices))}
    shift = np.stack([lean[voice] for voice in voices])  # speakers differ in what sets do to them
    own = truth[:, None] == np.arange(len(emotions))
    base = rng.normal(0, 1, own.shape) + 1.8 * own
    asked = conditions.filter(~pl.col("kind").is_in(["two-pass", "mix-outputs"]))  # those are read off the steered ones
    for number, row in enumerate(asked.iter_rows(named=True)):
        scores = base + rng.normal(0, 0.01 if row["kind"] in ("baseline", "null") else 0.1, base.shape)
        if row["target"] is not None:
            m = emotions.index(row["target"])
            size = (
                SELECTOR[row["selector"]] * CONTROL[row["control"]] * POSITION[row["positions"]] * BUDGET[row["budget"]]
            )
            if row["kind"] == "deactivate":
                size *= TO[row["to"]]
                scores[:, m] -= size * (HURT * own[:, m] + 0.2 + shift[:, m, m])
            else:
                scores[:, m] += size * row["alpha"] * (LIFT + shift[:, m, m])
        elif row["kind"] == "reliance":
            keep = {"all": 0.0, "union": 0.3}.get(row["layers"], 0.8)
            scores = keep * scores + (1 - keep) * (np.arange(len(emotions)) == 1)
        for start in range(0, len(used), block):
            rows = slice(start, start + block)
            for scoring in ("likelihood", "generation") if row["generated"] else ("likelihood",):
                unit = f"u{number:04d}-{start:05d}-{scoring[0]}"
                _unit(folder, unit, row["condition"], scoring, used[rows], scores[rows], emotions)
                (folder / "units" / f"{unit}.json").write_text("{}")
    # a unit that was cut short: its answers exist, its record does not, so nobody may read it
    _unit(folder, "a-unfinished", "baseline", "likelihood", used[:5], -base[:5], emotions)


def _unit(
    folder: Path,
    unit: str,
    condition: str,
    scoring: str,
    items: pl.DataFrame,
    scores: np.ndarray,
    emotions: tuple[str, ...],
) -> None:
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) - 0.01
    answer = [emotions[a] for a in scores.argmax(axis=1)]
    written = scoring == "generation"
    frame = pl.DataFrame(
        {
            "item": items["item"], "condition": [condition] * len(items), "scoring": [scoring] * len(items),
            "answer": answer, "form": ["letter"] * len(items), "text": ["A"] * len(items) if written else [None] * len(items),
            "correct": [a == t for a, t in zip(answer, items["truth"], strict=True)],
            "logp": logp.tolist(), "letter_mass": [0.99] * len(items),
        },
        schema_overrides={"text": pl.String},
    )  # fmt: skip
    if written:  # every 50th answer cannot be read
        lost = pl.int_range(len(items)) % 50 == 49
        frame = frame.with_columns(
            pl.when(lost).then(None).otherwise("answer").alias("answer"),
            pl.when(lost).then(pl.lit("unparsable")).otherwise("form").alias("form"),
            (pl.col("correct") & ~lost).alias("correct"),
        )
    frame.write_parquet(folder / "answers" / f"{unit}.parquet", compression="zstd")


def _manifest(items: pl.DataFrame, emotions: tuple[str, ...], unidentifiable: tuple[str, ...]) -> dict[str, Any]:
    fates = dict(items["fate"].value_counts().iter_rows())
    return {
        "emoscope": "0.1.0",
        "model": {
            "id": "planted", "family": "none", "revision": None, "checksum": "0" * 64, "layers": LAYERS, "width": WIDTH,
            "hidden": 128, "vocab": 600, "site": "gate", "audio_first": True, "padding_side": "left", "dtype": "float32",
            "device": "cpu", "trained_on": [{"corpus": "planted", "where": {"take": ["1", "2"]}}], "recommended_budget": 0.05,
            "trained_speakers": ["s00", "s01", "x"],
        },
        "corpora": [{"id": "planted", "title": "Planted voices", "licence": "none", "citation": "none"}],
        "study": {"name": "planted", "seed": 0, "identify": {"label": "emotion"}},
        "proofs": [
            {"name": "a changed neuron changes the logits as the column edit does", "status": "passed", "measured": 0.0, "tolerance": 1e-5, "note": ""},
            {"name": "weights restored bit for bit", "status": "passed", "measured": 0.0, "tolerance": 0.0, "note": ""},
            {"name": "generated answers in a batch equal single ones", "status": "not run", "measured": None, "tolerance": None, "note": "no time"},
        ],
        "environment": {"python": "3.11", "torch": "2.13.0", "threads": 2},
        "timing": {"total_s": 93.2, "peak_memory_gb": 2.1},
        "counts": {"clips": len(items), "used": fates["used"], "not needed": 0, "excluded": 3, "quarantined": 1},
        "headline": {"selector": "cas", "budget": 0.05, "alpha": 0.5, "scope": SCOPE},
        "emotions": list(emotions),
        "identifiable": {e: "not identifiable (3 correct)" if e in unidentifiable else 30 for e in emotions},
    }  # fmt: skip
