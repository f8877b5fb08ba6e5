"""What a study tells of the sound of its clips, in the words of ``emoscope corpus check``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.corpora.check import SoundFacts, far_longer_clips, length_notices, remembered_facts, sound_notices
from emoscope.corpora.clip import LISTED
from emoscope.runs import RunFolder

if TYPE_CHECKING:
    import polars as pl


def told_as_heard(run: RunFolder, items: pl.DataFrame, units: Sequence[str]) -> list[str]:
    """What listening found, of the clips in use.

    Args:
        run: the run folder.
        items: the settled items table.
        units: ids of the units that heard them.
    """
    used = items.filter(items["fate"] == "used").unique("clip", keep="first", maintain_order=True)
    noted: dict[str, list[str]] = {}
    for unit in units:
        # units of an earlier version noted nothing
        noted |= run.read_json(f"units/{unit}.json")["notes"].get("told", {})
    told = {clip: noted.get(str(item), []) for clip, item in used.select("clip", "item").iter_rows()}
    return _told(used, told, dict(used.select("clip", "duration_s").iter_rows()))


def told_as_remembered(items: pl.DataFrame, loudness: str) -> list[str]:
    """What an earlier check of the corpus found, of the clips that may be asked; nothing is decoded.

    Args:
        items: the candidate items.
        loudness: of the study. A check hears clips with their level normalised; of others the lengths are known alone.
    """
    asked = items.filter(items["fate"].is_null()).unique("clip", keep="first", maintain_order=True)
    remembered = remembered_facts()
    found = {clip: remembered.known(Path(path)) for clip, path in asked.select("clip", "path").iter_rows()}
    facts = {clip: SoundFacts.of(known) for clip, known in found.items() if known is not None}
    told = {clip: one.told for clip, one in facts.items()} if loudness == "normalised" else {}
    return _told(asked, told, {clip: one.duration_s for clip, one in facts.items()})


def _told(items: pl.DataFrame, told: Mapping[str, Sequence[str]], seconds: Mapping[str, float | None]) -> list[str]:
    listed = dict(items.select("clip", LISTED).iter_rows()) if LISTED in items.columns else {}
    longer = far_longer_clips((clip, seconds.get(clip), said) for clip, said in listed.items())
    return [*sound_notices(told), *length_notices(longer)]
