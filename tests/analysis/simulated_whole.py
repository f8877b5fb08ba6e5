"""A study in parts with planted effects, written without a model: what the tables and the page of the whole are tested on.

Two corpora, "first" and "second". Every item has a score per option: noise of the item, a bonus for its true label, and
what a set does to it. In the first corpus the bonus of the emotion comes from the voice: noise leaves none of it, a
transcript 0.6 of it. Sets take ``HURT`` times a strength from the score of their target on items of that target:

    own sets                                      1
    sets of the other corpus, fused sets          0.4, 0.6
    emotion sets on the word, word sets on the emotion, and sets on text: 0.05 from the right option of every item
    matched draws                                 0.1 of the same

Steering raises the target's option on every item by ``LIFT`` times the strength. Under the sets the model also writes
down every eighth word wrongly, and every tenth at baseline and under matched draws.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

EMOTIONS, WORDS = ("anger", "fear", "neutral"), ("nie", "tak")
FUSED = ("fused: overlap", "fused: joint", "fused: consistency")
HURT, LIFT, NOISE, MATCHED, BONUS = 2.5, 1.2, 0.1, 0.1, 2.5
DRAWS, ALPHA = 2, 0.5
HEADLINE = {"selector": "cas", "budget": 0.05, "alpha": ALPHA, "scope": "all"}
MODEL = {
    "id": "planted", "family": "none", "revision": None, "checksum": "0" * 64, "layers": 4, "width": 512, "hidden": 128,
    "vocab": 600, "site": "gate", "audio_first": True, "padding_side": "left", "dtype": "float32", "device": "cpu",
    "trained_on": [], "recommended_budget": 0.05, "trained_speakers": [],
}  # fmt: skip
Row = dict[str, Any]


def write_whole(folder: Path, speakers: int = 6, clips: int = 4, seed: int = 0, fused: Sequence[str] = FUSED) -> Path:
    """Write the folder of a whole study and return it; ``clips`` is per speaker and emotion, even."""
    rng = np.random.default_rng(seed)
    cards = []
    for corpus, other in (("first", "second"), ("second", "first")):
        heard = _clips(corpus, speakers, clips)
        voice = rng.gumbel(size=(len(heard), len(EMOTIONS))) + BONUS * _own(heard, "emotion", EMOTIONS)
        word = {"first.word": 0.05} if corpus == "first" else {}
        cards += [
            _part(folder, corpus, "main", corpus, heard, voice, rng, own=EMOTIONS, lent=word, lent_targets=WORDS),
            _part(folder, f"{corpus}.shared", "shared", corpus, heard, voice, rng, lent={corpus: 1.0, other: 0.4} | dict.fromkeys(fused, 0.6)),
        ]  # fmt: skip
        if corpus == "first":
            cards += _probes(folder, heard, voice, rng)
        cards.append(_part(folder, f"{corpus}.text", "side effect", corpus, _questions(), None, rng, lent={corpus: 0.05}, presentation="text"))  # fmt: skip
    lost = _part(folder, "second.word", "column", "second", _clips("second", speakers, 2), None, rng, column="word", labels=WORDS)  # fmt: skip
    cards.append(lost | {"failed": "fewer than two labels of word can be identified: nie 3, tak 41"})
    rank = {"main": 0, "column": 1, "shared": 2}
    cards.sort(key=lambda card: rank.get(card["role"], 3))
    _agreement().write_parquet(folder / "agreement.parquet")
    (folder / "study.toml").write_text('name = "planted"\n')
    (folder / "manifest.json").write_text(json.dumps(_manifest(cards), indent=1))
    return folder


def _probes(folder: Path, heard: list[Row], voice: np.ndarray, rng: np.random.Generator) -> list[Row]:
    """The first corpus's word, what is heard in place of the voice, and the task of writing it down."""
    few, emotion = heard[: len(heard) // 2 * 2 : 2], BONUS * _own(heard, "emotion", EMOTIONS)
    words = rng.gumbel(size=(len(heard), len(WORDS))) + BONUS * _own(heard, "word", WORDS)
    cards = [
        _part(folder, "first.word", "column", "first", heard, words, rng, column="word", labels=WORDS, own=WORDS, lent={"first": 0.05})
    ]  # fmt: skip
    for presentation, kept in (("noise", 0.0), ("transcript", 0.6)):
        scores = (rng.gumbel(size=voice.shape) + kept * emotion)[::2]
        cards.append(
            _part(folder, f"first.{presentation}", "grounding", "first", few, scores, rng, lent={"first": kept}, presentation=presentation)
        )  # fmt: skip
    cards.append(
        _part(folder, "first.transcription", "side effect", "first", few, None, rng, lent={"first": 1.0}, presentation="transcription")
    )  # fmt: skip
    _activity(heard, rng).write_parquet(folder / "parts" / "first" / "set_activity.parquet")
    return cards


def _clips(corpus: str, speakers: int, clips: int) -> list[Row]:
    rows: list[Row] = []
    for speaker in range(speakers):
        for emotion in EMOTIONS:
            for take in range(clips):
                rows.append({
                    "clip": f"{corpus}/{speaker}/{emotion}/{take}", "corpus": corpus, "speaker": f"s{speaker}", "emotion": emotion,
                    "fold": f"s{speaker}", "word": WORDS[(take + speaker) % 2], "take": take,
                    "transcript": f"to jest {WORDS[(take + speaker) % 2]} numer {take + 1}",
                })  # fmt: skip
    return rows


def _questions() -> list[Row]:
    """Text-only questions, each with options of its own."""
    return [
        {"clip": f"q{n}", "corpus": "text-questions", "speaker": None, "emotion": None, "fold": str(n % 5), "answer": f"right {n}"}
        | {"options": [f"right {n}", f"wrong {n}", f"other {n}"]}
        for n in range(12)
    ]  # fmt: skip


def _own(heard: Sequence[Row], column: str, labels: Sequence[str]) -> np.ndarray:
    return np.array([[row[column] == label for label in labels] for row in heard], dtype=float)


def _part(
    folder: Path,
    name: str,
    role: str,
    of: str,
    heard: Sequence[Row],
    scores: np.ndarray | None,
    rng: np.random.Generator,
    own: Sequence[str] = (),
    lent: Mapping[str, float] | None = None,
    lent_targets: Sequence[str] = EMOTIONS,
    column: str | None = None,
    labels: Sequence[str] = EMOTIONS,
    presentation: str = "audio",
) -> Row:
    """Write one part's folder and return its card; ``own`` are the targets of its own sets, ``lent`` the strengths of others'."""
    path = folder / "parts" / name
    for sub in ("answers", "units"):
        (path / sub).mkdir(parents=True, exist_ok=True)
    label = column or ("answer" if presentation == "text" else "emotion")
    items = [
        {"item": n, "side": "both", "label": label, "truth": row[label], "fate": "used", "evaluated": True, "wording": "lettered", "order": 0, "duration_s": 1.0}
        | {"options": list(labels)} | row
        for n, row in enumerate(heard)
    ]  # fmt: skip
    pl.DataFrame(items, infer_schema_length=None, schema_overrides={"speaker": pl.String}).write_parquet(
        path / "items.parquet"
    )
    conditions: list[Row] = [{"condition": "baseline", "kind": "baseline"}]
    conditions += [one for target in own for one in _acts(target, None)]
    conditions += [one for source in lent or {} for target in lent_targets for one in _acts(target, source)]
    if role == "main":  # another budget, another strength: not the headline
        conditions.append(conditions[1] | {"condition": "deactivate/more", "budget": 0.1, "headline": False})
    types = {"alpha": pl.Float64, "headline": pl.Boolean, "source": pl.String, "draw": pl.Int64, "budget": pl.Float64}
    frame = pl.DataFrame(
        [dict.fromkeys((*_acts("", None)[0], "alpha")) | one for one in conditions], infer_schema_length=None
    )
    frame.cast({key: types[key] for key in types if key in frame.columns}).write_parquet(path / "conditions.parquet")
    strengths = {None: 1.0} | dict(lent or {})
    if presentation == "transcription":
        pl.concat([_written(one, items) for one in conditions]).write_parquet(path / "answers" / "a.parquet")
    else:
        shown = [row["options"] for row in items]
        right = np.array([[option == row["truth"] for option in row["options"]] for row in items], dtype=float)
        base = rng.gumbel(size=right.shape) + 2 * right if scores is None else scores
        asked = [_answers(one, base, right, shown, strengths[one.get("source")], rng) for one in conditions]
        pl.concat(asked).write_parquet(path / "answers" / "a.parquet")
    (path / "units" / "a.json").write_text("{}")
    study = {
        "name": f"planted.{name}",
        "seed": 0,
        "identify": {"label": label},
        "question": {"presentation": presentation},
    }
    counts = {"clips": len(items), "used": len(items), "not needed": 0, "excluded": 0, "quarantined": 0}
    manifest = {
        "format": 1,
        "emoscope": "0.1.0",
        "model": MODEL,
        "study": study,
        "headline": HEADLINE,
        "counts": counts,
    }
    manifest |= {
        "emotions": list(labels),
        "identifiable": dict.fromkeys(own, 30),
        "timing": {"total_s": 9.0, "peak_memory_gb": 1.0},
    }
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))
    corpus = "text-questions" if presentation == "text" else of
    return {"name": name, "role": role, "corpus": corpus, "of": of, "column": column, "presentation": presentation,
            "folder": f"parts/{name}", "failed": None}  # fmt: skip


def _acts(target: str, source: str | None) -> list[Row]:
    """Deactivation and steering of one target's set, and of its matched draws."""
    rows = []
    for kind, (control, draw) in [(kind, one) for kind in ("deactivate", "steer") for one in [("target", 0), *(("matched", d) for d in range(DRAWS))]]:  # fmt: skip
        name = (
            "cas@0.05:all" + ("" if control == "target" else f"~matched{draw}") + (f"~from={source}" if source else "")
        )
        rows.append({
            "condition": f"{kind}/{target}/{name}" + ("" if kind == "deactivate" else f"/alpha={ALPHA}"), "kind": kind, "target": target,
            "set": name, "to": "zero" if kind == "deactivate" else None, "alpha": None if kind == "deactivate" else ALPHA, "positions": "all",
            "layers": "all", "selector": "cas", "budget": 0.05, "scope": "all", "control": control, "draw": draw, "source": source,
            "headline": control == "target" and source is None,
        })  # fmt: skip
    return rows


def _answers(
    condition: Row, base: np.ndarray, right: np.ndarray, shown: Sequence[Sequence[str]], strength: float, rng: np.random.Generator
) -> pl.DataFrame:  # fmt: skip
    scores, kind = base.copy(), condition["kind"]
    if kind != "baseline":
        scores += NOISE * rng.normal(size=scores.shape)
        strength *= MATCHED if condition["control"] == "matched" else 1.0
        if condition["target"] in shown[0]:
            place = shown[0].index(condition["target"])
            scores[:, place] += ALPHA * LIFT * strength if kind == "steer" else -HURT * strength * right[:, place]
        else:
            scores -= HURT * strength * right
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) + np.log(0.9)
    order = [sorted(range(len(options)), key=lambda n: options[n]) for options in shown]  # canonical, for these labels
    answer = [options[best] for options, best in zip(shown, scores.argmax(axis=1), strict=True)]
    return pl.DataFrame({
        "item": np.arange(len(base)), "condition": condition["condition"], "scoring": "likelihood", "answer": answer, "form": "letter",
        "text": None, "correct": right[np.arange(len(base)), scores.argmax(axis=1)] == 1,
        "logp": [row[places].tolist() for row, places in zip(logp, order, strict=True)], "letter_mass": 0.9,
    }, schema_overrides={"text": pl.String})  # fmt: skip


def _written(condition: Row, items: Sequence[Row]) -> pl.DataFrame:
    """What the model wrote down."""
    every, texts = 8 if condition.get("control") == "target" else 10, []
    for row in items:
        wrong = [(3 * row["item"] + n) % every == 0 for n in range(len(row["transcript"].split()))]
        texts.append(" ".join("x" if bad else word for word, bad in zip(row["transcript"].split(), wrong, strict=True)))
    types = {"answer": pl.String, "correct": pl.Boolean, "logp": pl.List(pl.Float64), "letter_mass": pl.Float64}
    written = {"item": [row["item"] for row in items], "condition": condition["condition"], "scoring": "transcription"}
    written |= {
        "answer": None,
        "form": "transcription",
        "text": texts,
        "correct": None,
        "logp": None,
        "letter_mass": None,
    }
    return pl.DataFrame(written, schema_overrides=types)


def _activity(heard: Sequence[Row], rng: np.random.Generator) -> pl.DataFrame:
    """Firing and mean activation of each emotion's set, and of its matched controls, per speaker and true emotion."""
    rows = []
    for presentation, contrast in (("audio", 0.2), ("noise", 0.0), ("transcript", 0.05)):
        for speaker in sorted({row["speaker"] for row in heard}):
            for emotion, truth, control in [
                (e, t, c) for e in EMOTIONS for t in EMOTIONS for c in ("target", "matched")
            ]:
                more = contrast * (emotion == truth) * (1.0 if control == "target" else MATCHED) + 0.02 * rng.normal()
                rows.append({
                    "presentation": presentation, "scope": "text" if presentation == "transcript" else "audio", "emotion": emotion,
                    "truth": truth, "speaker": speaker, "control": control,
                    "mean_activation": 0.1 + more, "firing": 0.3 + more, "items": 4,
                })  # fmt: skip
    return pl.DataFrame(rows)


def _agreement() -> pl.DataFrame:
    return pl.DataFrame([
        {"source": "first", "target": "second", "selector": selector, "emotion": emotion, "n": 40, "jaccard": found, "chance": 0.026,
         "jaccard_other": 0.05, "spearman": 2 * found, "spearman_other": 0.1}
        for selector, found in (("cas", 0.3), ("mad", 0.2)) for emotion in EMOTIONS
    ])  # fmt: skip


def _manifest(cards: list[Row]) -> Row:
    probes = {"columns": ["word"], "grounding": ["noise", "transcript"], "side_effects": ["transcription", "text"]}
    study = {
        "name": "planted",
        "seed": 0,
        "corpora": [{"id": "first"}, {"id": "second"}],
        "identify": {"label": "emotion"},
    }
    study |= {
        "probes": probes | {"items_per_emotion": 50, "matched": DRAWS},
        "transfer": {"ask": True, "matched": DRAWS},
    }
    return {
        "format": 1, "emoscope": "0.1.0", "model": MODEL, "headline": HEADLINE, "environment": {"python": "3.11"}, "proofs": [],
        "study": study, "asked": "0" * 16, "parts": cards, "shared_emotions": list(EMOTIONS), "not_transferred": {},
        "timing": {"total_s": 93.2, "peak_memory_gb": 2.1},
    }  # fmt: skip
