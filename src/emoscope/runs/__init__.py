"""Runs: what a study leaves on disk, how it is written, and how it resumes."""

from __future__ import annotations

from emoscope.runs.folder import RunFolder, Unit
from emoscope.runs.log import Log
from emoscope.runs.shards import Shard

__all__ = ["Log", "RunFolder", "Shard", "Unit"]
