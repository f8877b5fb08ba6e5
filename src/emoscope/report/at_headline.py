"""Rows of result tables at the headline that a study declared; for a run and for a part of one."""

from __future__ import annotations

import polars as pl


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

    def at_headline(self, frame: pl.DataFrame, to: str = "zero") -> pl.DataFrame:
        """Rows at the headline's budget and scope, in all layers; every selector and control.

        Args:
            frame: a table with the columns of a family.
            to: what deactivated neurons are set to.
        """
        return self.sized(frame).filter((pl.col("layers") == "all") & pl.col("to").fill_null("zero").eq(to))

    def shown(self, frame: pl.DataFrame, kind: str, positions: str = "all", to: str = "zero") -> pl.DataFrame:
        """Target sets and the means over control draws, for one kind of intervention at the headline's alpha."""
        frame = self.at_headline(frame, to).filter(
            (pl.col("kind") == kind)
            & (pl.col("positions") == positions)
            & ((pl.col("control") == "target") | pl.col("draw").is_null())
        )
        return frame.filter(pl.col("alpha").eq_missing(pl.lit(self.alpha))) if kind == "steer" else frame
