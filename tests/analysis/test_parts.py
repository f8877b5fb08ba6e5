"""The headline's rows, and those of other selectors that are shown beside them."""

from pathlib import Path

import polars as pl

from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part
from emoscope.schemas import empty
from emoscope.vocabulary import with_roles

HEADLINE = {"selector": "mad", "budget": 0.05, "scope": "all", "alpha": 0.5}


def test_other_selectors_are_shown_at_the_headlines_strength():
    usual = {"budget": 0.05, "scope": "all", "control": "target", "draw": None, "positions": "all", "layers": "all"}
    rows = [
        usual | {"kind": kind, "selector": selector, "alpha": alpha, "to": to}
        for selector in ("mad", "cas")
        for kind, alpha, to in (("steer", 0.25, None), ("steer", 0.5, None), ("deactivate", None, "zero"))
    ]
    effects = with_roles(
        pl.DataFrame(rows, schema_overrides={"draw": pl.Int64, "alpha": pl.Float64, "to": pl.String}), HEADLINE
    )
    nothing = (empty(name) for name in ("items", "sets", "conditions", "answers"))
    part = Part.alone(Run(Path("none"), *nothing, {"headline": HEADLINE})).changed(effects=effects)
    assert part.of_selectors("steer").select("selector", "alpha").rows() == [("mad", 0.5), ("cas", 0.5)]
    assert part.of_selectors("deactivate")["selector"].to_list() == ["mad", "cas"]
