"""How often *exists* is called supported when the whole pipeline works on labels that mean nothing.

Takes a finished run, and as often as asked: permutes the true labels within speaker and block, once for all that
follows; finds sets anew from the stored activity, by the study's selector and folds, on the clips whose answer happens
to be the permuted label, and controls of their own, of the kind beyond which the study's claims are tested; asks the
model under both; and judges the answers by the permuted labels. Only deactivation is asked. Two gates are off: that of
a model that tells nothing apart, and the minimum of correct clips, which few emotions reach by chance. Each replicate is
one line of a file, so that the same command goes on where it was stopped.

    emoscope run studies/benchmarks/all-clips.toml
    python studies/benchmarks/pipeline_null.py runs/all-clips --block word,take
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import polars as pl

from emoscope.analysis.declared import judge
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.experiments.conditions import plan_conditions, set_spec
from emoscope.experiments.heard import load_inputs
from emoscope.experiments.intervene import SetsByFold, intervene, list_units, plan_work
from emoscope.experiments.items import options_of
from emoscope.experiments.schema import Study
from emoscope.experiments.study import read_study
from emoscope.experiments.untrained import narrowed
from emoscope.models.audio_lm import AudioLM
from emoscope.models.check import run_proofs
from emoscope.models.registry import load_model
from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import seeded_generator
from emoscope.neurons.selection import find_sets
from emoscope.runs import Log, RunFolder
from emoscope.vocabulary import BASELINE, DEACTIVATE, USED


def permuted(items: pl.DataFrame, blocks: list[str], replicate: int) -> pl.DataFrame:
    """The items with true labels permuted uniformly within speaker and block; answers stay, and may be right by chance."""
    rng = seeded_generator("pipeline null", replicate)
    truth = items["truth"].to_numpy().copy()
    groups = items.with_row_index("row").group_by("speaker", *blocks, maintain_order=True).agg("row")["row"]
    for rows in (group.to_numpy() for group in groups):
        truth[rows] = truth[rng.permutation(rows)]
    other = items.with_columns(truth=pl.Series(truth))
    return other.with_columns(correct=pl.col("answered") == pl.col("truth"))


def judged(run: RunFolder, study: Study, model: AudioLM, blocks: list[str], replicate: int) -> dict[str, object]:
    """One replicate: sets, answers and verdict."""
    used = run.read_table("items").filter(pl.col("status") == USED)
    items = permuted(used, blocks, replicate)
    began, activity = time.monotonic(), Activity.open(run / "activity.zarr")
    found = find_sets(activity, items, set_spec(study, options_of(items), activity.layers))
    conditions = plan_conditions(study, found.frame, activity.layers)
    conditions = conditions.filter(pl.col("kind").is_in([BASELINE, DEACTIVATE]))
    place = run.path.parent / f"{run.path.name}-null-{replicate}"
    null = RunFolder(place, create=True)
    shutil.rmtree(place / "cache")
    (place / "cache").symlink_to((run / "cache").resolve())
    heard = run.read_table("units").filter(stage="listen")["unit"].to_list()
    sets = SetsByFold(found.sets, model.info, found.mean_product)
    work = plan_work(study, items, conditions, sets, model)
    intervene(null, study, work, sets, model, Log("quiet"))
    for name, table in {"items": items, "conditions": conditions, "units": list_units(work, [])}.items():
        null.write_table(name, table)
    null.write_json("manifest.json", run.read_json("manifest.json"))
    baseline = pl.concat(run.answers(heard))
    read = read_run(place)
    read = type(read)(**{**vars(read), "answers": pl.concat([baseline, read.answers], how="diagonal_relaxed")})
    evidence = declared_evidence(read, build_responses(read))
    (place / "cache").unlink()
    shutil.rmtree(place)
    right = float((items["answered"] == items["truth"]).mean())
    row: dict[str, object] = {"replicate": replicate, "right": right, "seconds": round(time.monotonic() - began, 1)}
    if evidence is None:
        return {**row, "verdict": "no sets"}
    test = judge(evidence.evidence, onward=False, gated=False)["exists"]
    names = ("verdict", "estimate", "low", "high", "set_low", "set_high", "p", "units", "draws")
    return {**row, **{name: getattr(test, name) for name in names}}


def summary(rows: list[dict[str, object]]) -> str:
    """How many replicates reject, and how the estimates vary beside what their intervals say."""
    frame = pl.DataFrame([row for row in rows if row.get("estimate") is not None], infer_schema_length=None)
    if frame.is_empty():
        return f"{len(rows)} replicates, none of them testable"
    half = (frame["high"] - frame["low"]).mean() / 2
    own = (frame["set_high"] - frame["set_low"]).mean() / 2
    below = {name: int((frame[f"{name}high"] < 0).sum()) for name in ("", "set_")}
    above = {name: int((frame[f"{name}low"] > 0).sum()) for name in ("", "set_")}
    return (
        f"{len(frame)} replicates: a loss by the interval for such sets in {below['']}, for these very sets in "
        f"{below['set_']}; a gain in {above['']} and {above['set_']}; supported {(frame['verdict'] == 'supported').sum()}.\n"
        f"Estimates: mean {frame['estimate'].mean():+.3f}, sd {frame['estimate'].std():.3f} nat; half widths "
        f"{half:.3f} and {own:.3f}."
    )


def main() -> None:
    """Do what replicates are left, and print what all of them say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--block", default="", help="columns of items within which labels are permuted, by commas")
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no replicate after so long")
    parser.add_argument("--out", type=Path, help="file with a line a replicate; beside the run by default")
    given = parser.parse_args()
    run, began = RunFolder(given.run), time.monotonic()
    out = given.out or given.run.with_name(f"{given.run.name}-null.jsonl")
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    study = read_study(run / "study.toml", imports=False)
    study = narrowed(study.with_budget(run.read_json("manifest.json")["headline"]["budget"]))
    done = {row["replicate"] for row in rows}
    if len(done) < given.replicates:
        model = load_model(study.model.id, study.model.dtype, study.model.device)
        run_proofs(model, load_inputs(run, run.read_table("items").filter(pl.col("evaluated"))["item"].to_list()[:4]))
    blocks = [name for name in given.block.split(",") if name]
    for replicate in sorted(set(range(given.replicates)) - done):
        if time.monotonic() - began > given.seconds:
            break
        rows.append(judged(run, study, model, blocks, replicate))
        with out.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    print(summary(rows) if rows else "no replicate is done")


if __name__ == "__main__":
    main()
