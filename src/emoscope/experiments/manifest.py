"""What the manifest says of a run besides its results: clips, corpus, machine, time and memory."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from emoscope.emotions import in_order
from emoscope.runs import Log

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus


def clip_counts(items: pl.DataFrame) -> dict[str, int]:
    """How many clips there are in all, and how many met each fate."""
    fates = Counter(items.unique("clip", keep="first", maintain_order=True)["fate"].to_list())
    return {
        "clips": sum(fates.values()),
        **{f: fates.get(f, 0) for f in ("used", "not needed", "excluded", "quarantined")},
    }


def timing(log: Log) -> dict[str, Any]:
    """Seconds in all and by stage, and the largest memory held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1024**3 if sys.platform == "darwin" else 1024**2)
    total = time.monotonic() - log.start
    return {"total_s": round(total, 2), "peak_memory_gb": round(peak_gb, 3), "stages_s": dict(log.seconds)}


def environment() -> dict[str, Any]:
    """Versions and machine on which a run was made."""
    import os
    from importlib.metadata import version

    import torch

    packages = {name: version(name) for name in ("torch", "transformers", "numpy", "polars", "zarr")}
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), **packages}  # fmt: skip


def corpus_card(corpus: Corpus) -> dict[str, Any]:
    """Who made a corpus, under which licence, and what is told of it."""
    info = corpus.info
    return {"id": info.id, "title": info.title, "licence": info.licence, "citation": info.citation,
            "told": list(corpus.told)}  # fmt: skip


def options_of(items: pl.DataFrame) -> list[str]:
    """The labels that were offered, in canonical order."""
    return list(in_order({option for shown in items["options"].drop_nulls().to_list() for option in shown}))
