"""The tables about the neuron sets themselves: sizes, matching, and the words that neurons write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import polars as pl

from emoscope.neurons.selection import load_set
from emoscope.report.content import CONTROLS, MATCHED_IN, Content, name_selector, number

SHOWN_TOKENS = 6
"""Tokens named per emotion and direction."""

FOUND_ON = {
    "misses": "found on misses", "hits-as-misses": "as many hits as misses", "false-alarms": "found on false alarms",
    "hits-as-false-alarms": "as many hits as false alarms",
}  # fmt: skip
"""How the sets of the baseline's outcomes are called."""


def sets(content: Content) -> pl.DataFrame | None:
    """Sizes wanted and reached, ties and negative means, over folds and emotions."""
    found = content.run.sets.filter(pl.col("control") != "fewer")
    if found.is_empty():
        return None
    grouped = found.group_by("selector", "budget", "scope", "control", maintain_order=True).agg(
        pl.col("draw").n_unique().alias("draws"), pl.col("n").min(), pl.col("size_wanted").max(),
        pl.col("size_reached").min().alias("least"), pl.col("size_reached").max().alias("most"),
        pl.col("tied_at_cut").max(), (100 * pl.col("share_negative_mean").mean()).alias("negative"),
        (100 * pl.col("letter_share").max()).alias("letter"),
    )  # fmt: skip
    order = [*CONTROLS, *FOUND_ON]
    called = CONTROLS | FOUND_ON
    rows = [
        {
            "neurons": f"{name_selector(row['selector'])}, {called.get(row['control'], row['control'])}",
            "budget (%)": number(100 * (row["budget"] or 0), 2), "scope": row["scope"], "draws": str(row["draws"]),
            "clips per emotion": str(row["n"] if row["n"] is not None else "–"), "size wanted": str(row["size_wanted"]),
            "size reached": _range(row["least"], row["most"]),
            "tied at the cut (most)": str(row["tied_at_cut"] if row["tied_at_cut"] is not None else "–"),
            "negative mean (%)": number(row["negative"]), "behind one letter (most, %)": number(row["letter"]),
        }
        for row in sorted(
            grouped.iter_rows(named=True),
            key=lambda r: (content.selectors.index(r["selector"]) if r["selector"] in content.selectors else 99,
                           r["budget"] or 0, r["scope"] or "", order.index(r["control"]) if r["control"] in order else 9),
        )
    ]  # fmt: skip
    frame = pl.DataFrame(rows)
    return frame if found["letter_share"].count() else frame.drop("behind one letter (most, %)")


def matching(content: Content) -> pl.DataFrame | None:
    """How like the headline's sets their matched controls are, per covariate."""
    found = content.own(content.sized(content.tables.matching))
    grouped = found.group_by("covariate", maintain_order=True).agg(
        pl.col("smd_mean").mean(), pl.col("smd_largest").max()
    )
    rows = [
        {
            "covariate": MATCHED_IN.get(row["covariate"], row["covariate"]),
            "mean difference (SD)": number(row["smd_mean"], 2), "largest difference (SD)": number(row["smd_largest"], 2),
        }
        for row in grouped.iter_rows(named=True)
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def words(content: Content) -> pl.DataFrame | None:
    """Per emotion, the tokens that most of the headline's neurons raise or lower."""
    found = content.neurons
    rows = []
    for emotion in _emotions(content):
        own = found.filter(pl.col("emotion") == emotion)
        counted = {
            way: Counter(token for tokens in own[way].to_list() for token in tokens or [])
            for way in ("raises", "lowers")
        }
        named = {
            way: sum(any(_is(token, emotion) for token in tokens or []) for tokens in own[way].to_list())
            for way in counted
        }
        rows.append({
            "emotion": emotion, "size": str(len(own)), "raise its own name": str(named["raises"]),
            "lower its own name": str(named["lowers"]), "raised most often": _commonest(counted["raises"]), "lowered most often": _commonest(counted["lowers"]),
        })  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def neurons(content: Content) -> pl.DataFrame | None:
    """A few neurons of each emotion with the tokens that they raise and lower."""
    emotions = _emotions(content)
    folds = _folds(content)
    count = 5 if len(emotions) <= 4 else 3
    rows = []
    for emotion in emotions:
        own = content.neurons.filter(pl.col("emotion") == emotion).rows(named=True)
        chosen = {
            neuron: sum(neuron in fold.get(emotion, ()) for fold in folds) for neuron in (row["neuron"] for row in own)
        }
        for row in sorted(own, key=lambda row: (-chosen[row["neuron"]], -row["layer"], row["index"]))[:count]:
            rows.append({
                "emotion": emotion, "layer": str(row["layer"]), "index": str(row["index"]),
                "folds": f"{chosen[row['neuron']]} of {len(folds)}" if len(folds) > 1 else "–",
                "raises": _tokens(row["raises"]), "lowers": _tokens(row["lowers"]),
            })  # fmt: skip
    if not rows:
        return None
    frame = pl.DataFrame(rows)
    return frame if len(folds) > 1 else frame.drop("folds")


def _emotions(content: Content) -> list[str]:
    there = set(content.neurons["emotion"])
    return [label for label in content.tables.panel.labels if label in there] or sorted(there)


def _folds(content: Content) -> list[dict[str, set[int]]]:
    """The neurons of the headline's sets in each fold; empty where they are not stored."""
    chosen = content.own(content.sized(content.run.sets)).filter(
        (pl.col("control") == "target") & (pl.col("fold") != "all")
    )
    found = []
    for name, fold in sorted(set(chosen.select("set", "fold").iter_rows())):
        with suppress(FileNotFoundError):
            group = load_set(content.run.folder / "sets", name, fold)
            found.append({emotion: set(neurons.tolist()) for emotion, neurons in group.items()})
    return found


def _commonest(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    readable = [(token, n) for token, n in ordered if "�" not in token and token.strip()]
    return ", ".join(f"{_visible(token)} ({n})" for token, n in readable[:SHOWN_TOKENS])


def _is(token: str, emotion: str) -> bool:
    return token.strip().lower() == emotion.lower()


def _tokens(tokens: Iterable[str] | None) -> str:
    return "  ".join(_visible(token) for token in tokens or [])


def _visible(token: str) -> str:
    """A token with its leading space shown, since it is part of the token."""
    return "".join("␣" if letter.isspace() else letter for letter in token) or "∅"


def _range(least: Any, most: Any) -> str:
    return "–" if least is None else (f"{least}" if least == most else f"{least} to {most}")
