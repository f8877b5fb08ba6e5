"""Rows of result tables at the headline that a study declared; for a run and for a part of one."""

from __future__ import annotations

import polars as pl

from emoscope.vocabulary import acting


class AtHeadline:
    """What holds a headline and picks its rows from tables.

    Attributes:
        selector, budget, scope, alpha: the headline; ``None`` where nothing says what it is.
    """

    selector: str | None
    budget: float | None
    scope: str | None
    alpha: float | None

    def sized(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows at the headline's budget and scope."""
        for column, value in (("budget", self.budget), ("scope", self.scope)):
            if value is not None:
                frame = frame.filter(pl.col(column) == value)
        return frame

    def own(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of the headline's selector."""
        return frame.filter(pl.col("selector").eq_missing(pl.lit(self.selector)))

    def of_selectors(self, frame: pl.DataFrame, kind: str) -> pl.DataFrame:
        """Sets of every selector at the headline's budget and strength, and the means of the headline's controls."""
        frame = self.sized(acting(frame, kind, "headline", "other selector"))
        # the role of another selector's sets says nothing of their strength
        return frame.filter(pl.col("alpha").eq_missing(pl.lit(self.alpha))) if kind == "steer" else frame
