"""The tables of a study that was run in parts: transfer, dissociation, grounding and side effects."""

from __future__ import annotations

from emoscope.analysis.dissociation import DISSOCIATION
from emoscope.analysis.grounding import GROUNDING, SELECTIVITY
from emoscope.analysis.side_effects import SIDE_EFFECTS
from emoscope.analysis.transfer import AGREEMENT, ASYMMETRY, TRANSFER

SCHEMAS = {
    "transfer": TRANSFER, "asymmetry": ASYMMETRY, "agreement": AGREEMENT, "dissociation": DISSOCIATION,
    "grounding": GROUNDING, "selectivity": SELECTIVITY, "side_effects": SIDE_EFFECTS,
}  # fmt: skip
"""Names of the tables in ``<run>/tables/`` and their columns."""
