"""A study in parts with planted effects: what the tables and the page of several parts are tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.helpers.runs import ALPHA, BONUS, EMOTIONS, MANIFEST, NOISE, Row, acts, answers, items, table, write_tables

WORDS = ("nie", "tak")
FUSED = ("fused: overlap", "fused: joint", "fused: consistency")
DRAWS, TAKES, RAISES, MATCHED = 2, 2.5, 1.2, 0.1
"""Matched draws; in nat, what a set takes from its target's score on items of that target, and what steering adds to it,
times alpha, on every item; and the part of both that matched draws do."""


class PlantedStudy:
    """A study in parts on two corpora, "first" and "second", whose sets do ``TAKES`` and ``RAISES`` times a strength.

    That is 1 of own sets, 0.4 and 0.6 of those of the other corpus and fused ones, and 0.05, from the right option of
    every item, of emotion sets on the word, of word sets on the emotion, and of sets on text. In the first corpus the
    bonus of the emotion comes from the voice: noise leaves none of it, a transcript 0.6. Under the sets the model
    also writes down every eighth word wrongly, and every tenth at baseline and under matched draws.
    """

    def __init__(self, folder: Path, speakers: int, clips: int, seed: int) -> None:
        self.folder, self.speakers, self.clips = folder, speakers, clips
        self.rng, self.cards = np.random.default_rng(seed), list[Row]()

    def heard(self, corpus: str, clips: int) -> list[Row]:
        """The clips of a corpus."""
        rows: list[Row] = []
        for s, emotion, take in product(range(self.speakers), EMOTIONS, range(clips)):
            word = WORDS[(take + s) % 2]
            row = {"clip": f"{corpus}/{s}/{emotion}/{take}", "corpus": corpus, "speaker": f"s{s}", "fold": f"s{s}"}
            row |= {"emotion": emotion, "word": word, "take": take, "transcript": f"to jest {word} numer {take + 1}"}
            rows.append(row)
        return rows

    def scores(self, heard: Sequence[Row], column: str, labels: Sequence[str], bonus: float = BONUS) -> np.ndarray:
        """Noise, and a bonus for the true label; (clip, label)."""
        own = np.array([[row[column] == label for label in labels] for row in heard], dtype=float)
        return self.rng.gumbel(size=own.shape) + bonus * own

    def part(
        self,
        name: str,
        role: str,
        of: str,
        heard: Sequence[Row],
        scores: np.ndarray | None = None,
        own: Sequence[str] = (),
        transferred: Mapping[str, float] | None = None,
        targets: Sequence[str] = EMOTIONS,
        labels: Sequence[str] = EMOTIONS,
        **more: Any,
    ) -> None:
        """Write one part; ``own`` are the targets of its own sets, ``transferred`` the strengths of others'."""
        card = {"name": name, "role": role, "corpus": of, "of": of, "column": None, "presentation": "audio"}
        card |= {"folder": f"parts/{name}", "failed": None} | more
        label = card["column"] or ("answer" if card["presentation"] == "text" else "emotion")
        usual = {"wording": "lettered", "order": 0, "duration_s": 1.0, "options": list(labels)}
        rows = [usual | row | {"truth": row[label]} for row in heard]
        strengths: dict[str | None, float] = {None: 1.0} | dict(transferred or {})
        sets = [("target", 0), *(("matched", draw) for draw in range(DRAWS))]
        conditions: list[Row] = [{"condition": "baseline", "kind": "baseline"}]
        for source in strengths:
            about = {} if source is None else {"source": source}
            asked = product(own if source is None else targets, ("deactivate", "steer"), sets)
            conditions += [acts(kind, target, *one, **about) for target, kind, one in asked]
        if role == "main":  # another budget: not the headline
            conditions.append(conditions[1] | {"condition": "deactivate/more", "budget": 0.1, "headline": False})
        if card["presentation"] == "transcription":
            frames = [_written(one, rows) for one in conditions]
        else:
            right = np.array([[option == row["truth"] for option in row["options"]] for row in rows], dtype=float)
            base = self.rng.gumbel(size=right.shape) + 2 * right if scores is None else scores
            shown, truth = [row["options"] for row in rows], [row["truth"] for row in rows]
            given = [
                (one, self.changed(one, strengths[one.get("source")], base, right, shown[0])) for one in conditions
            ]
            frames = [answers(one["condition"], scores, shown, truth) for one, scores in given]
        study = {"name": f"planted.{name}", "seed": 0, "identify": {"label": label}}
        counts = {"clips": len(rows), "used": len(rows), "not needed": 0, "excluded": 0, "quarantined": 0}
        manifest = MANIFEST | {"study": study | {"question": {"presentation": card["presentation"]}}, "counts": counts}
        manifest |= {"emotions": list(labels), "identifiable": dict.fromkeys(own, 30)}
        write_tables(self.folder / card["folder"], items(rows, label), conditions, {"a": pl.concat(frames)}, manifest)
        self.cards.append(card)

    def changed(
        self, condition: Row, strength: float, base: np.ndarray, right: np.ndarray, options: Sequence[str]
    ) -> np.ndarray:
        """The scores under a condition."""
        if condition["kind"] == "baseline":
            return base
        scores = base + NOISE * self.rng.normal(size=base.shape)
        strength *= MATCHED if condition["control"] == "matched" else 1.0
        if condition["target"] not in options:
            return scores - TAKES * strength * right
        place = options.index(condition["target"])
        steers = condition["kind"] == "steer"
        scores[:, place] += ALPHA * RAISES * strength if steers else -TAKES * strength * right[:, place]
        return scores

    def probes(self, heard: Sequence[Row]) -> None:
        """The first corpus's word, what is heard in place of the voice, and the task of writing it down."""
        words, few = self.scores(heard, "word", WORDS), heard[: len(heard) // 2 * 2 : 2]
        word = {"column": "word", "labels": WORDS, "own": WORDS}
        self.part("first.word", "column", "first", heard, words, transferred={"first": 0.05}, **word)
        for presentation, kept in (("noise", 0.0), ("transcript", 0.6)):
            scores = self.scores(heard, "emotion", EMOTIONS, kept * BONUS)[::2]
            about = {"transferred": {"first": kept}, "presentation": presentation}
            self.part(f"first.{presentation}", "grounding", "first", few, scores, **about)
        about = {"transferred": {"first": 1.0}, "presentation": "transcription"}
        self.part("first.transcription", "side effect", "first", few, **about)
        rows = []
        for presentation, contrast in (("audio", 0.2), ("noise", 0.0), ("transcript", 0.05)):
            voices = sorted({row["speaker"] for row in heard})
            for speaker, e, t, control in product(voices, EMOTIONS, EMOTIONS, ("target", "matched")):
                more = contrast * (e == t) * (1.0 if control == "target" else MATCHED) + 0.02 * self.rng.normal()
                row = {"presentation": presentation, "scope": "text" if presentation == "transcript" else "audio"}
                row |= {"emotion": e, "truth": t, "speaker": speaker, "control": control, "items": 4}
                rows.append(row | {"mean_activation": 0.1 + more, "firing": 0.3 + more})
        table(rows, "set_activity").write_parquet(self.folder / "parts" / "first" / "set_activity.parquet")


def write_study(folder: Path, speakers: int = 6, clips: int = 4, seed: int = 0, fused: Sequence[str] = FUSED) -> Path:
    """Write the folder of :class:`PlantedStudy` and return it; ``clips`` is per speaker and emotion, even."""
    whole = PlantedStudy(folder, speakers, clips, seed)
    for corpus, other in (("first", "second"), ("second", "first")):
        heard = whole.heard(corpus, clips)
        voice, word = whole.scores(heard, "emotion", EMOTIONS), {"first.word": 0.05} if corpus == "first" else {}
        whole.part(corpus, "main", corpus, heard, voice, own=EMOTIONS, transferred=word, targets=WORDS)
        strengths = {corpus: 1.0, other: 0.4} | dict.fromkeys(fused, 0.6)
        whole.part(f"{corpus}.shared", "shared", corpus, heard, voice, transferred=strengths)
        if corpus == "first":
            whole.probes(heard)
        asked = {"corpus": "text-questions", "speaker": None, "emotion": None}
        options = [[f"right {n}", f"wrong {n}", f"other {n}"] for n in range(12)]  # each text-only question has its own
        questions = [
            asked | {"clip": f"q{n}", "fold": str(n % 5), "answer": own[0], "options": own}
            for n, own in enumerate(options)
        ]
        about = {"transferred": {corpus: 0.05}, "presentation": "text", "corpus": "text-questions"}
        whole.part(f"{corpus}.text", "side effect", corpus, questions, **about)
    failed = "fewer than two labels of word can be identified: nie 3, tak 41"
    lost = {"column": "word", "labels": WORDS, "failed": failed}
    whole.part("second.word", "column", "second", whole.heard("second", 2), **lost)
    rank = {"main": 0, "column": 1, "shared": 2}
    cards = sorted(whole.cards, key=lambda card: rank.get(card["role"], 3))
    agreement = [
        {"source": "first", "target": "second", "selector": selector, "emotion": emotion, "n": 40, "jaccard": found}
        | {"chance": 0.026, "jaccard_other": 0.05, "spearman": 2 * found, "spearman_other": 0.1}
        for (selector, found), emotion in product((("cas", 0.3), ("mad", 0.2)), EMOTIONS)
    ]
    pl.DataFrame(agreement).write_parquet(folder / "agreement.parquet")
    (folder / "study.toml").write_text('name = "planted"\n')
    probes = {"columns": ["word"], "grounding": ["noise", "transcript"], "side_effects": ["transcription", "text"]}
    study: Row = {"name": "planted", "seed": 0, "corpora": [{"id": "first"}, {"id": "second"}]}
    study |= {"identify": {"label": "emotion"}, "transfer": {"ask": True, "matched": DRAWS}}
    study |= {"probes": probes | {"items_per_emotion": 50, "matched": DRAWS}}
    manifest = MANIFEST | {"environment": {"python": "3.11"}, "study": study, "asked": "0" * 16, "parts": cards}
    manifest |= {"shared_emotions": list(EMOTIONS), "not_transferred": {}, "proofs": []}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def _written(condition: Row, rows: Sequence[Row]) -> pl.DataFrame:
    """What the model wrote down."""
    every, texts = 8 if condition.get("control") == "target" else 10, []
    for item, row in enumerate(rows):
        words = row["transcript"].split()
        texts.append(" ".join("x" if (3 * item + n) % every == 0 else word for n, word in enumerate(words)))
    usual = {"condition": condition["condition"], "scoring": "transcription", "form": "transcription"}
    return table((usual | {"item": item, "text": text} for item, text in enumerate(texts)), "answers")
