"""What a study tells of the sound of its clips, in the words of ``emoscope corpus check``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from emoscope.corpora.lengths import LISTED
from emoscope.corpora.sound_notices import far_longer_clips, length_notices, sound_notices
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


def _told(items: pl.DataFrame, told: Mapping[str, Sequence[str]], seconds: Mapping[str, float | None]) -> list[str]:
    listed = dict(items.select("clip", LISTED).iter_rows()) if LISTED in items.columns else {}
    longer = far_longer_clips((clip, seconds.get(clip), said) for clip, said in listed.items())
    return [*sound_notices(told), *length_notices(longer)]
