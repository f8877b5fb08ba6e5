"""Time the reading of a table with 100,000 rows.

Run with: python studies/benchmarks/label_table.py
Writes a tree with one empty file a row into a temporary folder: reading labels opens no sound.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from emoscope.corpora import open_corpus

ROWS = 100_000
EMOTIONS = ("angry", "sad", "neutral", "irony")
"""The last one is unknown, so that a quarter of the rows is excluded."""


def main() -> None:
    """Build the table, read it as CSV, Parquet and JSON lines, and print the seconds of each."""
    import polars

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "wav").mkdir()
        for row in range(ROWS):
            (folder / "wav" / f"{row}.wav").touch()
        frame = polars.DataFrame(
            {
                "path": [f"wav/{row}.wav" for row in range(ROWS)],
                "emotion": [EMOTIONS[row % len(EMOTIONS)] for row in range(ROWS)],
                "speaker": [f"{row % 500:03d}" for row in range(ROWS)],
                "split": ["train" if row % 5 else "test" for row in range(ROWS)],
            }
        )
        frame.write_csv(folder / "clips.csv")
        frame.write_parquet(folder / "clips.parquet")
        frame.write_ndjson(folder / "clips.jsonl")
        for ending in ("csv", "parquet", "jsonl"):
            times, processor = [], []
            for _ in range(3):
                start, started = time.perf_counter(), time.process_time()
                corpus = open_corpus(folder / f"clips.{ending}")
                times.append(time.perf_counter() - start)
                processor.append(time.process_time() - started)
            print(
                f"{ending}: {min(times):.2f} s ({min(processor):.2f} s of processor time), "
                f"{len(corpus)} used, {len(corpus.lost)} excluded"
            )


if __name__ == "__main__":
    main()
