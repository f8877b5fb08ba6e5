"""The table of single layers from the rows of the slow tables, each looked up by itself."""

from __future__ import annotations

from tests.analysis.slow import Row, benjamini_hochberg, mean


def slow_profile(effects: list[Row], layers: list[Row]) -> list[Row]:
    """A row for each layer in which the headline's sets were switched off alone."""

    def look_up(set_, layer: int, control: str, measure: str) -> Row | None:
        found = [
            row
            for row in effects
            if row["kind"] == "deactivate"
            and row["to"] == "zero"
            and row["positions"] == "all"
            and row["layers"] == str(layer)
            and (row["selector"], row["budget"], row["scope"]) == set_
            and (row["control"], row["measure"]) == (control, measure)
            and (control == "target" or row["draw"] is None)
        ]
        assert len(found) < 2
        return found[0] if found else None

    single = [row for row in effects if row["kind"] == "deactivate" and row["layers"].isdigit()]
    sets = {(row["selector"], row["budget"], row["scope"]) for row in single}
    table = []
    for set_ in sets:
        mine = []
        for layer in sorted({int(row["layers"]) for row in single}):
            row = dict(zip(("selector", "budget", "scope"), set_, strict=True)) | {"layer": layer}
            held = [
                one["neurons"]
                for one in layers
                if (one["selector"], one["budget"], one["scope"]) == set_
                and one["control"] == "target"
                and one["layer"] == layer
            ]
            row |= {"neurons": mean(held), "neurons_min": min(held), "neurons_max": max(held)}
            parts = {
                "gap": look_up(set_, layer, "target", "gap"),
                "matched_gap": look_up(set_, layer, "matched", "gap"),
                "excess_gap": look_up(set_, layer, "target", "excess_gap"),
            }
            for name, part in parts.items():
                row |= {
                    name: part and part["estimate"],
                    f"{name}_low": part and part["low"],
                    f"{name}_high": part and part["high"],
                }
            last = parts["excess_gap"] or parts["gap"]
            row |= {"speakers": last["speakers"], "reason": last["reason"], "excess_gap_p": last["p"] if parts["excess_gap"] else None}  # fmt: skip
            row["hollow"] = any(part["hollow"] for part in parts.values() if part)
            mine.append(row)
        adjusted = benjamini_hochberg([row["excess_gap_p"] for row in mine])
        table += [row | {"excess_gap_q": q} for row, q in zip(mine, adjusted, strict=True)]
    return table
