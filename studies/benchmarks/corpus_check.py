"""Time `emoscope corpus check` on 10,000 real clips with distinct content: mp3 of EmoGator, flac of RAVDESS and POLISH.

Run with: EMOSCOPE_DATA=DIR python studies/benchmarks/corpus_check.py [FOLDER]
The tree is built in FOLDER (kept) or in a temporary one. Where the corpora hold fewer clips, copies fill it up: mp3 with
another tag at the end, flac written anew a little quieter.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from emoscope.corpora import Clip, open_corpus, polish_folder

CLIPS = 10_000


def build(tree: Path, data: Path) -> None:
    """Write the tree, one folder an emotion."""
    made: list[tuple[Path, Clip]] = []
    for corpus, root in (("emogator", data / "emogator"), ("ravdess", data / "ravdess"), ("polish", polish_folder())):
        for clip in open_corpus(corpus, root):
            place = tree / clip.labels["emotion"] / f"{corpus}-{clip.speaker}_{clip.path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clip.path, place)
            made.append((place, clip))
    for place, _ in made[:: max(1, len(made) // max(1, CLIPS - len(made)))][: CLIPS - len(made)]:
        copy = place.with_name(f"copy-{place.name}")
        if place.suffix == ".mp3":
            copy.write_bytes(place.read_bytes() + b"TAG" + place.name.encode().ljust(125, b"\0")[:125])
        else:
            samples, rate = soundfile.read(place)
            soundfile.write(copy, 0.99 * samples, rate)


def main() -> None:
    """Build the tree and time the command."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / "tree"
        if not tree.is_dir():
            build(tree, Path(os.environ["EMOSCOPE_DATA"]))
        files = [path for path in tree.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} files, {size / 1e6:.0f} MB")
        command = [sys.executable, "-c", "from emoscope.cli import main; main()", "corpus", "check", str(tree)]
        began = time.perf_counter()
        # with a cache of its own, so that no checksum is known
        with tempfile.TemporaryDirectory() as cache:
            subprocess.run(
                [*command, "--pattern", "{emotion}/{speaker}_{}", "--json"],
                check=True, stdout=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": cache},
            )  # fmt: skip
        print(f"corpus check: {time.perf_counter() - began:.1f} s")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
