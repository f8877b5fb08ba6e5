"""What limits the report of a whole study: what must be known before any number, and what may not be concluded."""

from __future__ import annotations

from emoscope.analysis.standing import at_chance
from emoscope.report.whole.content import Whole
from emoscope.report.whole.outcomes import listed


def standing(whole: Whole) -> list[str]:
    """What the reader must know before any number: parts without results, unknown, shared or few speakers."""
    found = []
    lost = [part.name for part in whole.mains if at_chance(part.uar())]
    if lost:
        found.append(
            f"On {listed(lost)} the untouched model is not clearly above chance: what neurons change there is what it answers, not what it "
            "recognises."
        )
    unknown = [part.name for part in whole.mains if part.stored("items") is not None and part.unknown_speakers]
    if unknown:
        found.append(
            f"Speakers unknown on {listed(unknown)}: the same voice may be on both sides. Intervals there are over recordings, and no "
            "conclusion is drawn."
        )
    few = []
    for part in whole.mains:
        row = part.uar()
        if row is not None and not part.unknown_speakers and 0 < row["speakers"] < 5:
            few.append(f"{part.name} ({row['speakers']})")
    if few:
        found.append(f"Fewer than five speakers on {listed(few)}: no interval can be given there.")
    shared = [
        f"{part.manifest['speakers_shared']} on {part.name}"
        for part in whole.mains
        if part.manifest.get("speakers_shared")
    ]
    if shared:
        found.append(f"Speakers on both sides, identification and evaluation: {listed(shared)}. The study allows it.")
    model = (whole.manifest.get("study") or {}).get("model")
    if isinstance(model, dict) and model.get("allow_trained_on"):
        found.append("Clips on which the model was trained are evaluated: the study allows it.")
    return found


def limits(whole: Whole) -> list[str]:
    """What may not be concluded from the comparison of corpora and questions."""
    found = [
        "That corpora differ because their numbers do: each has other speakers, other clips and, outside the chapter on transfer, other "
        "emotions. Only a difference with an interval clear of zero says so.",
        "That every cell in bold is a finding: intervals are not corrected for the number of corpora, sources and questions on this page. "
        "The claims above are corrected where it says so.",
    ]
    if "transfer" in whole.tables:
        found.append(
            "That neurons that act on two corpora are the same neurons, or that those that do not have no part in common: overlap and effect "
            "are shown apart. Sets for transfer are found on fewer clips than those of each corpus alone, so that all sources give equally many."
        )
    if "side_effects" in whole.tables:
        found.append(
            "That an ability is spared because no harm is clear of zero: the interval says how large a harm may still be."
        )
    if "grounding" in whole.tables:
        found.append(
            "That the model hears emotion in the voice because its neurons do nothing on the transcript: where the untouched model is at "
            "chance there, nothing can be taken away."
        )
    found.append("What the reports of the single corpora warn of holds here, too.")
    return found


def pilot(whole: Whole) -> list[str] | None:
    """What a pilot concludes on each corpus, in sentences; ``None`` for a full study."""
    told = whole.manifest.get("pilot")
    if not isinstance(told, dict):
        return None
    return [f"{name}: {one}" for name, found in told.items() for one in (found or {}).get("verdict") or []]
