"""Other tasks under the sets, and the activity of the sets, again: part of the slow tables of a study in parts."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import polars as pl

from tests.analysis.slow import Row, Slow, as_share, mean
from tests.analysis.slow_sources import level
from tests.analysis.slow_whole import Acts, Value, ends, joint


def slow_side_effects(folder: Path) -> list[Row]:
    cards = json.loads((folder / "manifest.json").read_text())["parts"]
    mains = [card for card in cards if card["role"] == "main"]
    return [row for main in mains for row in _of_corpus(folder, main, [c for c in cards if c["of"] == main["name"]])]


def _of_corpus(folder: Path, main: Row, mine: list[Row]) -> list[Row]:
    rows = []
    for card in [one for one in mine if one["role"] in ("main", "column", "side effect")]:
        place = folder / card["folder"]
        acts = Acts(place, None if card is main else main["name"])
        rates = _wrong(acts.slow) if card["presentation"] == "transcription" else None
        for act in acts.acts if rates is None else rates:
            row: Row = {"corpus": main["name"], "part": card["name"], "unit": "points", "kind": act[0], "alpha": act[1]}
            row["ability"] = card["column"] or ("emotion" if card is main else card["presentation"])
            if rates is not None:
                used = np.ones(len(acts.slow.items), dtype=bool)
                before, under, like, draws = rates[act]
                row |= {"measure": "WER", "chance": None, "hollow": False}
            else:
                own, matched = acts.acts[act]
                used, draws = acts.used([act], True), len(matched)

                def before(kept, acts=acts) -> float:
                    return level(acts.slow, "baseline", kept)

                def under(kept, acts=acts, keys=(own,)) -> float:
                    single = [acts.families.single[key] for key in keys]
                    return mean([level(acts.slow, c, kept) for one in single for c in one.values()])

                def like(kept, under=under, matched=matched) -> float:
                    return under(kept, keys=matched)

                row |= {"measure": "accuracy" if card["presentation"] == "text" else "UAR"}
                row["chance"] = mean([100 / len(item["options"]) for item in acts.slow.items])
                row["hollow"] = acts.hollow(act, True)
            first = joint([(acts.slow, before, used, 1)])
            first = first if rates is not None else as_share(first)
            change = joint([(acts.slow, lambda k, u=under, b=before: u(k) - b(k), used, 1)])
            excess = joint([(acts.slow, lambda k, u=under, c=like: u(k) - c(k), used, 1)])
            row |= {"n": int(used.sum()), "speakers": change["speakers"], "reason": change["reason"], "draws": draws}
            row |= {"baseline": first["estimate"], "baseline_low": first["low"], "baseline_high": first["high"]}
            row |= {"under": under(used), "matched": like(used), "p": excess["p"]}
            for name, found in (("change", change), ("excess", excess)):
                row |= {name: found["estimate"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
            rows.append(row)
    return rows if {row["part"] for row in rows} - {main["name"]} else []


def _wrong(slow: Slow) -> dict[tuple, tuple[Value, Value, Value, int]]:
    """Word error rates of texts whose words were replaced, never left out or added: words are compared by place."""
    errors: dict[str, np.ndarray] = {}
    place = {item["item"]: n for n, item in enumerate(slow.items)}
    words = np.array([len(item["transcript"].split()) for item in slow.items])
    for row in pl.read_parquet(slow.folder / "answers" / "a.parquet").to_dicts():
        said = slow.items[place[row["item"]]]["transcript"].split()
        wrong = sum(a != b for a, b in zip(said, row["text"].split(), strict=True))
        errors.setdefault(row["condition"], np.zeros(len(words)))[place[row["item"]]] = wrong

    def rate(conditions: list[str]) -> Value:
        return lambda kept: 100 * mean([errors[c][kept].sum() / words[kept].sum() for c in conditions])

    found = {}
    for act in {(row["kind"], row["alpha"]) for row in slow.conditions if row["kind"] != "baseline"}:
        mine = [row for row in slow.conditions if (row["kind"], row["alpha"]) == act]
        by = {
            control: [row["condition"] for row in mine if row["control"] == control]
            for control in ("target", "matched")
        }
        draws = len({row["draw"] for row in mine if row["control"] == "matched"})
        found[act] = (rate(["baseline"]), rate(by["target"]), rate(by["matched"]), draws)
    return found


def slow_selectivity(folder: Path) -> list[Row]:
    rows = []
    for corpus in sorted(place.name for place in (folder / "parts").iterdir()):
        path = folder / "parts" / corpus / "set_activity.parquet"
        stored = pl.read_parquet(path).to_dicts() if path.is_file() else []
        for presentation, measure in itertools.product(
            dict.fromkeys(row["presentation"] for row in stored), ("firing", "mean_activation")
        ):
            mine = [row for row in stored if row["presentation"] == presentation]
            emotions = sorted({row["emotion"] for row in mine})
            scale = 100 if measure == "firing" else 1

            def level_of(control, emotion, truth, left_out, mine=mine, measure=measure, scale=scale) -> float:
                some = [
                    row for row in mine
                    if (row["control"], row["emotion"], row["truth"]) == (control, emotion, truth) and row["speaker"] != left_out
                ]  # fmt: skip
                return scale * sum(row[measure] * row["items"] for row in some) / sum(row["items"] for row in some)

            def parts(control, chosen, left_out, level_of=level_of, emotions=emotions) -> tuple[float, float]:
                own = mean([level_of(control, e, e, left_out) for e in chosen])
                others = mean([mean([level_of(control, e, t, left_out) for t in emotions if t != e]) for e in chosen])
                return own, others

            sizes = {s: sum(row["items"] for row in mine if row["speaker"] == s and row["emotion"] == emotions[0] and row["control"] == "target") for s in sorted({row["speaker"] for row in mine})}  # fmt: skip
            for chosen in (emotions, *([e] for e in emotions)):
                own, others = parts("target", chosen, None)
                row = {"corpus": corpus, "presentation": presentation, "scope": mine[0]["scope"], "measure": measure}
                row |= {
                    "emotion": chosen[0] if len(chosen) == 1 else None,
                    "unit": "points" if measure == "firing" else "activation",
                }
                row |= {
                    "own": own,
                    "others": others,
                    "items": sum(sizes.values()),
                    "speakers": len(sizes),
                    "reason": None,
                }

                def apart(control, left_out, chosen=chosen, parts=parts) -> float:
                    first, second = parts(control, chosen, left_out)
                    return first - second

                row["matched"] = apart("matched", None)
                for name, some in (("estimate", ("target",)), ("excess", ("target", "matched"))):

                    def value(left_out, some=some, apart=apart) -> float:
                        return apart("target", left_out) - (apart("matched", left_out) if len(some) == 2 else 0)

                    without = [value(speaker) for speaker in sizes]
                    error = math.sqrt(
                        (len(sizes) - 1) / len(sizes) * sum((one - mean(without)) ** 2 for one in without)
                    )
                    df = sum(sizes.values()) ** 2 / sum(n * n for n in sizes.values()) - 1
                    reach = ends(value(None), error, df)
                    prefix = "" if name == "estimate" else "excess_"
                    row |= {name: value(None), f"{prefix}low": reach["low"], f"{prefix}high": reach["high"]}
                rows.append(row)
    return rows
