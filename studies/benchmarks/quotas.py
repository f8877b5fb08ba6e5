"""How many clips a study with a weak emotion hears, with and without those that no set and no test can use.

Run with: EMOSCOPE_DATA=FOLDER python studies/benchmarks/quotas.py   (the folder holds emogator/)

The embedded model hears 132 speakers of EmoGator with the usual quotas (100 right clips to find sets, 150 clips to test
them), and hardly ever names one of the seven emotions, elation, which it never learned. It was trained on some of these
speakers, so that nothing but the number of clips is to be read from this. Printed are the clips heard, the seconds, and
whether the clips of all sets and tests are equal.
"""

from __future__ import annotations

import tempfile
import time
from typing import TYPE_CHECKING

import polars as pl

from emoscope.experiments import heard
from emoscope.experiments.conditions import set_spec
from emoscope.experiments.items import options_of
from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.neurons.samples import draw_samples
from emoscope.runs import Log, RunFolder

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

STUDY = """
name = "quotas"
[model]
allow_trained_on = true
[[corpora]]
id = "emogator"
root = "$EMOSCOPE_DATA/emogator"
emotions = ["anger", "disgust", "elation", "fear", "neutral", "sadness", "surprise"]
where = { speaker = "119-250" }
[identify]
folds = 5
"""


def listened(model: AudioLM) -> tuple[int, float, object]:
    """Clips heard, seconds of listening, and the clips of all sets and tests."""
    study, log = parse_study(STUDY).with_budget(model.info.recommended_budget), Log("quiet")
    found = listen(Task(study, RunFolder(tempfile.mkdtemp(prefix="quotas-"), create=True), log), model)
    samples, _ = draw_samples(found.items, set_spec(study, options_of(found.items), model.info.layers))
    used = found.items.filter(pl.col("status") == "used")
    right = used.group_by("truth").agg(pl.len(), pl.col("correct").mean().round(2)).sort("truth").rows()
    print("  heard, answered rightly:", ", ".join(f"{name} {n}, {share}" for name, n, share in right), flush=True)
    return used.height, log.seconds["listening"], (samples, used.filter("evaluated")["clip"].to_list())


def main() -> None:
    """Listen twice, and print."""
    model, usual = load_model("tiny"), heard.AHEAD
    began = time.monotonic()
    few, quick, some = listened(model)
    heard.AHEAD = 1_000_000  # no block is decided by another
    every, slow, all_of_them = listened(model)
    heard.AHEAD = usual
    print(f"{few} clips heard in {quick:.0f} s; with those that cannot be used {every} in {slow:.0f} s")
    print(
        f"clips of sets and tests: {'equal' if some == all_of_them else 'DIFFERENT'} ({time.monotonic() - began:.0f} s)"
    )


if __name__ == "__main__":
    main()
