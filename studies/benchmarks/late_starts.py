"""How much time passes save that begin at the first layer in which a condition acts: a profile of single layers.

    python studies/benchmarks/late_starts.py                       # the embedded model on the demo's corpus
    python studies/benchmarks/late_starts.py --model FOLDER --clips 6

Hears and selects once, then asks the single-layer conditions twice, with and without late starts, in turn, and compares
the answers byte for byte. Prints the seconds of each layer, their ratio and the memory that starts take.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

STUDY = """
name = "profile"
[model]
id = {model}
allow_trained_on = true
[[corpora]]
id = "polish"
clips_per_emotion = {clips}
[identify]
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
budget = 0.05
[interventions]
profile = true
alphas = []
positions = []
agnostic = []
reliance = false
generate = false
[controls]
matched = 3
random = 0
shuffled = 0
orthogonal = 0
"""


def main() -> int:
    """Run both ways and compare; returns the exit code."""
    from emoscope.experiments.intervene import first_layer, intervene
    from emoscope.experiments.stages import Task, listen, plan, select
    from emoscope.experiments.study import parse_study
    from emoscope.models import passes
    from emoscope.runs import Log, RunFolder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--clips", type=int, default=20, help="clips per emotion")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="profile-"))
    try:
        study = parse_study(STUDY.format(model=json.dumps(given.model), clips=given.clips))
        listened = listen(Task(study, RunFolder(place / "run", create=True), Log("quiet")))
        planned, model = plan(select(listened)), listened.model
        sets = planned.sets
        work = [one for one in planned.work if one.condition["layers"].isdigit()]
        if not model.resumes:
            print("This model's passes run in full, whatever they change.")
            return 1
        seconds: dict[bool, dict[int, float]] = {True: defaultdict(float), False: defaultdict(float)}
        for number in range(given.repeats):
            for late in (True, False):
                model.resumes = late
                run = RunFolder(shutil.copytree(place / "run", place / f"{late}-{number}"))
                for layer in sorted({int(one.condition["layers"]) for one in work}):
                    mine = [one for one in work if one.condition["layers"] == str(layer)]
                    log = Log("quiet")
                    intervene(run, listened.study, mine, sets, model, log)
                    seconds[late][layer] += log.seconds["intervening"] / given.repeats
        ids = [one.unit.id for one in work]
        pairs = (RunFolder(place / f"{late}-0").answers(ids) for late in (True, False))
        same = all(one.equals(other) for one, other in zip(*pairs, strict=True))
        answers = sum(len(one.block) for one in work)
        print(f"{model.info.id}: {model.info.layers} layers, {len(work)} conditions x blocks, {answers} answers")
        for layer in seconds[True]:
            late, full = seconds[True][layer], seconds[False][layer]
            print(f"layer {layer}: {late:.2f} s with late starts, {full:.2f} s in full: {late / full:.2f}")
        late, full = (sum(one.values()) for one in (seconds[True], seconds[False]))
        print(
            f"all: {late:.2f} s, {full:.2f} s: {late / full:.2f}; starts at the layers {sorted({first_layer(one, sets) for one in work})}"
        )
        print(f"starts may take {passes.BYTES / 2**30:.0f} GiB; answers equal: {same}")
        return 0 if same else 1
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
