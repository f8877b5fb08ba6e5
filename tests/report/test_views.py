"""The headline's rows, and those of other selectors that are shown beside them."""

from __future__ import annotations

import polars as pl

from emoscope.report.views import AtHeadline
from emoscope.vocabulary import with_roles


class Declared(AtHeadline):
    selector, budget, scope, alpha = "mad", 0.05, "all", 0.5


def test_other_selectors_are_shown_at_the_headlines_strength():
    usual = {"budget": 0.05, "scope": "all", "control": "target", "draw": None, "positions": "all", "layers": "all"}
    rows = [
        usual | {"kind": kind, "selector": selector, "alpha": alpha, "to": to}
        for selector in ("mad", "cas")
        for kind, alpha, to in (("steer", 0.25, None), ("steer", 0.5, None), ("deactivate", None, "zero"))
    ]
    types = {"draw": pl.Int64, "alpha": pl.Float64, "to": pl.String}
    frame = with_roles(pl.DataFrame(rows, schema_overrides=types), {"selector": "mad", "budget": 0.05, "alpha": 0.5})
    shown = Declared().of_selectors(frame, "steer")
    assert shown.select("selector", "alpha").rows() == [("mad", 0.5), ("cas", 0.5)]
    assert Declared().of_selectors(frame, "deactivate")["selector"].to_list() == ["mad", "cas"]
