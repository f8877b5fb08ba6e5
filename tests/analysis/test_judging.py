"""The declared claims from a table of answers: against plain loops, runs, simulated studies, and what it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import fmean, variance

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from emoscope.analysis import declared
from emoscope.analysis.answer_table import LOGP, answer_table, read_answers, run_answers, write_frame
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.judging import judge
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.neurons.controls import seeded_generator
from emoscope.testing.calibration import ALPHA, judged
from emoscope.testing.worlds import World, simulate
from tests.helpers.runs import write_simulation

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"
SMALL = World(emotions=3, speakers=5, clips=2, draws=5, loss=0.2, gain=0.2)
WORLDS = {
    "a loss": World(emotions=4, speakers=8, clips=3, draws=5, loss=0.2),
    "sessions, unequal speakers": World(emotions=4, speakers=12, sessions=6, clips=4, unequal=0.6, loss=0.1, draws=6),
    "some in one emotion only": World(emotions=3, speakers=16, clips=4, single=0.3, own_loss=0.05),
}


@pytest.fixture
def table() -> pl.DataFrame:
    return simulate(SMALL, np.random.default_rng(0)).to_frame()


class Slow:
    """The first claim from the rows of a table, speaker by speaker and pair by pair."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.options = [name.removeprefix(LOGP) for name in frame.columns if name.startswith(LOGP)]
        self.rows = frame.to_dicts()
        for row in self.rows:
            row["unit"] = row.get("unit") or row["speaker"]
        self.draws = sorted({row["draw"] for row in self.rows if row["draw"] is not None})
        self.before = {row["clip"]: row for row in self.rows if row["kind"] == "baseline"}
        self.units = sorted({row["unit"] for row in self.rows})

    def separation(self, by_clip, first: str, second: str, without: str | None) -> float | None:
        said: dict[str, dict[str, list[float]]] = {}
        for clip, row in by_clip.items():
            if row["unit"] != without and row["truth"] in (first, second):
                change = row[LOGP + first] - row[LOGP + second]
                change -= self.before[clip][LOGP + first] - self.before[clip][LOGP + second]
                said.setdefault(row["speaker"], {}).setdefault(row["truth"], []).append(change)
        total = weights = 0.0
        for values in said.values():
            if first in values and second in values:
                a, b = values[first], values[second]
                weight = len(a) * len(b) / (len(a) + len(b))
                total, weights = total + weight * (fmean(a) - fmean(b)), weights + weight
        return total / weights if weights else None

    def testable(self) -> list[tuple[str, str]]:
        found = []
        for pair in combinations(self.options, 2):
            spoken = {name: {r["truth"] for r in self.before.values() if r["speaker"] == name} for name in
                      {r["speaker"] for r in self.before.values()}}  # fmt: skip
            both = {name for name, said in spoken.items() if set(pair) <= said}
            units = {r["unit"] for r in self.before.values() if r["speaker"] in both and r["truth"] in pair}
            if len(units) >= 5:
                found.append(pair)
        return found

    def estimand(self, draw: int | None, without: str | None) -> float:
        read = self.by_name(draw, without)
        return fmean(read[name, name] for name in self.options)

    def by_name(self, draw: int | None, without: str | None) -> dict[tuple[str, str], float]:
        """What each set does to the pairs of each emotion, less what it does to the others."""
        found = {}
        for target in self.options:
            rows = [r for r in self.rows if r["kind"] == "deactivate" and (r["draw"], r["set"]) == (draw, target)]
            by_clip = {row["clip"]: row for row in rows}
            changes = {pair: self.separation(by_clip, *pair, without) or 0.0 for pair in self.testable()}
            for name in self.options:
                own = fmean(change for pair, change in changes.items() if name in pair)
                found[target, name] = own - fmean(change for pair, change in changes.items() if name not in pair)
        return found

    def between_names(self, units: list[str], jackknife: Callable[[list[float]], float]) -> tuple[float, float]:
        """The variance that sets' differing effects on other emotions give the estimate: without the clips' part, and whole."""
        beyond = {}
        for gone in (None, *units):
            own, *draws = (self.by_name(draw, gone) for draw in (None, *self.draws))
            beyond[gone] = {key: own[key] - fmean(draw[key] for draw in draws) for key in own}
        k, whole, noise = len(self.options), 0.0, 0.0
        for target in self.options:
            rest = [name for name in self.options if name != target]
            apart = {
                gone: [read[target, name] - fmean(read[target, other] for other in rest) for name in rest]
                for gone, read in beyond.items()
            }
            whole += sum(value**2 for value in apart[None])
            noise += sum(jackknife([apart[unit][place] for unit in units]) for place in range(k - 1))
        scale = (k - 1) / (k - 2) / k**3
        return max(0.0, whole - noise) * scale, whole * scale

    def weight(self, unit: str) -> float:
        total = 0.0
        for speaker in {row["speaker"] for row in self.before.values()}:
            counts = [
                sum((r["speaker"], r["unit"], r["truth"]) == (speaker, unit, name) for r in self.before.values())
                for name in self.options
            ]
            total += 2 * sum(a * b / (a + b) for a, b in combinations(counts, 2) if a and b)
        return total

    def exists(self) -> dict[str, float]:
        weights = {unit: self.weight(unit) for unit in self.units}
        units = [unit for unit in self.units if weights[unit] > 0]
        count, d = len(units), len(self.draws)

        def jackknife(values: list[float]) -> float:
            return (count - 1) / count * sum((value - fmean(values)) ** 2 for value in values)

        wholes = [self.estimand(draw, None) for draw in self.draws]
        parts = {unit: [self.estimand(draw, unit) for draw in self.draws] for unit in units}
        estimate = self.estimand(None, None) - fmean(wholes)
        of_set = jackknife([self.estimand(None, unit) - fmean(parts[unit]) for unit in units])
        alone = fmean(jackknife([parts[unit][j] - fmean(parts[unit]) for unit in units]) for j in range(d))
        between = max(0.0, variance(wholes) - alone * d / (d - 1)) * (1 + 1 / d)
        spread, free = variance(wholes) * (1 + 1 / d), d - 1
        names, raw = self.between_names(units, jackknife)
        if names > between:
            between, spread, free = names, raw, len(self.options) * (len(self.options) - 2)
        effective = sum(weights.values()) ** 2 / sum(value**2 for value in weights.values()) - 1
        df = (of_set + between) ** 2 / (of_set**2 / effective + (spread**2 / free if between else 0.0))
        df = min(effective, max(1.0, df))
        half, own = (
            student.ppf(0.975, n) * math.sqrt(square) for n, square in ((df, of_set + between), (effective, of_set))
        )
        return {
            "estimate": estimate, "low": estimate - half, "high": estimate + half, "set_low": estimate - own,
            "set_high": estimate + own, "df": df, "p": 2 * student.sf(abs(estimate) / math.sqrt(of_set + between), df),
        }  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_the_first_claim_is_that_of_plain_loops(name: str) -> None:
    frame = simulate(WORLDS[name], np.random.default_rng(3)).to_frame().filter(pl.col("kind") != "steer")
    found = judge(frame).tests.row(0, named=True)
    assert found["verdict"] != "not testable"
    for column, value in Slow(frame).exists().items():
        assert found[column] == pytest.approx(value, rel=1e-7), column


@pytest.mark.parametrize("name", WORLDS)
def test_a_simulated_study_gets_the_verdicts_of_the_calibration(name: str) -> None:
    for study in range(3):
        frame = simulate(WORLDS[name], seeded_generator("world", name, study)).to_frame()
        frame = frame.with_columns(pl.col("control").replace("matched", "orthogonal"))
        found = judge(frame.sample(fraction=1, shuffle=True, seed=study), alpha=ALPHA).tests
        verdicts = judged(WORLDS[name], name, study)
        for claim, verdict in found.select("name", "verdict").iter_rows():
            assert verdict == verdicts[claim], (study, claim)


DOUBT = "beyond matched sets alone, not beyond orthogonal ones"


def _same(frame: pl.DataFrame, tests, labels, doubt: str | None = DOUBT) -> None:
    assert frame["name"].to_list() == list(tests)
    for row in frame.iter_rows(named=True):
        test = dict(vars(tests[row["name"]]))
        why = test.pop("why").format(*labels)
        if test["verdict"] == declared.SUPPORTED and doubt:  # where controls are matched
            test["verdict"] = declared.RESERVED
            why = f"{why}; {doubt}" if why else doubt
        assert row["why"] == (why or None)
        for column, value in test.items():
            assert row[column] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), column


@pytest.mark.parametrize("matched", [6, 2])
def test_the_table_of_a_run_gives_what_the_run_gives(tmp_path: Path, matched: int) -> None:
    write_simulation(tmp_path, "evidence", speakers=8, clips=4, matched=matched, fewer_options=True)
    run = read_run(tmp_path)
    found = declared_evidence(run, build_responses(run))
    assert found is not None
    table, alpha = run_answers(run)
    assert alpha is None
    got = judge(table)
    assert (got.clips, got.control) == (found.clips, found.control)
    assert got.clips < run.items.height  # some clips do not offer all options
    _same(got.tests, declared.judge(found.evidence), found.labels)
    assert got.tests["verdict"][0] == (declared.RESERVED if matched == 6 else "not testable")


def test_the_example_run_gives_the_same_numbers_by_every_kind_of_file(tmp_path: Path) -> None:
    run = read_run(EXAMPLE)
    found = declared_evidence(run, build_responses(run))
    assert found is not None
    table, alpha = run_answers(run)
    assert alpha == found.evidence.alpha
    got = judge(table, alpha=alpha)
    _same(got.tests, declared.judge(found.evidence), found.labels, doubt=None)
    assert (got.clips, got.speakers, got.units) == (525, 25, 25)
    assert {name: str(held) for name, held in got.pairs.items()} == {"clips": "150", "speakers": "25", "units": "25"}
    write_frame(table, tmp_path / "a.csv")
    assert judge(tmp_path / "a.csv", alpha=alpha).tests.equals(got.tests)


def test_files_and_frames_of_others_are_read_alike(table: pl.DataFrame, tmp_path: Path) -> None:
    whole = judge(table, alpha=0.5)
    for ending in ("parquet", "csv", "jsonl", "json"):
        write_frame(table, tmp_path / f"a.{ending}")
        assert judge(tmp_path / f"a.{ending}", alpha=0.5).tests.equals(whole.tests), ending
    pandas = pytest.importorskip("pandas")
    assert judge(pandas.read_csv(tmp_path / "a.csv"), alpha=0.5).tests.equals(whole.tests)
    # as R writes it: NA for nothing, every text in quotes
    text = table.write_csv(null_value="NA", quote_style="non_numeric")
    (tmp_path / "r.csv").write_text(text)
    assert judge(tmp_path / "r.csv", alpha=0.5).tests.equals(whole.tests)


def test_names_that_look_like_numbers_stay_apart(table: pl.DataFrame, tmp_path: Path) -> None:
    # of two clips named 7 and 007, neither is the other
    names = {name: ["7", "007"][place] if place < 2 else name for place, name in enumerate(table["clip"].unique())}
    write_frame(table.with_columns(pl.col("clip").replace_strict(names)), tmp_path / "a.csv")
    assert judge(tmp_path / "a.csv", alpha=0.5).clips == table["clip"].n_unique()


def test_clips_of_unknown_speakers_are_left_out_and_counted(table: pl.DataFrame) -> None:
    further = table.filter(pl.col("clip") == "clip 0").with_columns(clip=pl.lit("x"), speaker=None, unit=None)
    found = judge(pl.concat([table, further]), alpha=0.5)
    assert (found.left_out, found.clips) == (1, 30)
    assert found.tests["left_out"].unique().to_list() == [1]
    assert found.tests.drop("left_out").equals(judge(table, alpha=0.5).tests.drop("left_out"))
    assert "(1 without a speaker left out)" in repr(found)


def test_letter_orders_of_a_clip_are_told_apart_by_item(table: pl.DataFrame) -> None:
    twice = pl.concat([table.with_columns(item=pl.lit(order)) for order in ("ABC", "CAB")])
    found = judge(twice, alpha=0.5)
    assert found.clips == 60
    assert found.tests["estimate"][0] == pytest.approx(judge(table, alpha=0.5).tests["estimate"][0])


def test_pairs_are_counted_over_speakers_who_have_both(table: pl.DataFrame) -> None:
    gone = table.filter(~((pl.col("speaker") == "speaker 0000") & (pl.col("truth") == "emotion 1")))
    found = judge(gone, alpha=0.5)
    assert {name: str(held) for name, held in found.pairs.items()} == {
        "clips": "16 to 20", "speakers": "4 to 5", "units": "4 to 5",
    }  # fmt: skip


def _at(column: str, value: object) -> pl.Expr:
    """The value in the first row of a set that is steered."""
    chosen = (pl.col("clip") == "clip 3") & (pl.col("kind") == "steer") & (pl.col("set") == "emotion 1")
    return pl.when(chosen & (pl.col("control") == "matched")).then(pl.lit(value)).otherwise(column).alias(column)


WRONG = {
    "a column is missing": (lambda f: f.drop("truth"), "column 'truth' is missing: it has clip, speaker"),
    "no option": (lambda f: f.select(pl.exclude("^logp.*$")), "no option has a column of log-probabilities"),
    "an option is missing": (lambda f: f.drop("logp.emotion 2"), r"truth 'emotion 2' \(clip 'clip 4'"),
    "another truth": (lambda f: f.with_columns(truth=pl.lit("joy")), "truth 'joy' .* is not among the options"),
    "no truth": (lambda f: f.with_columns(truth=pl.lit(None, pl.String)), "truth .* is empty: add its column"),
    "another set": (lambda f: f.with_columns(_at("set", "joy")), "set 'joy' .* is not among the options: name the"),
    "another kind": (lambda f: f.with_columns(_at("kind", "ablate")), "kind 'ablate' .* give baseline, deactivate"),
    "no alpha": (lambda f: f.with_columns(_at("alpha", None)), "alpha .* is empty: give the strength of steering"),
    "no draw": (lambda f: f.with_columns(_at("draw", None)), "draw .* is empty: .*0, 1"),
    "NaN": (lambda f: f.with_columns(_at("logp.emotion 0", float("nan"))), "logp.emotion 0 nan .*clip 3.* finite"),
    "a log of 0": (lambda f: f.with_columns(_at("logp.emotion 0", float("-inf"))), "-inf .* give a finite natural"),
    "a text": (lambda f: f.with_columns(_at("logp.emotion 0", "low").cast(pl.String)), "'low' .* is no number"),
    "a probability": (lambda f: f.with_columns(_at("logp.emotion 0", 0.4)), r"0.4 .* is above 0: natural logs"),
    "logs to base 10": (
        lambda f: f.with_columns(pl.col("^logp.*$") / math.log(10)),
        "sum of probabilities 1.* is above 1: give natural logs",
    ),
    "two speakers": (lambda f: f.with_columns(_at("speaker", "x")), "clip 'clip 3' has several of speaker"),
    "twice": (lambda f: pl.concat([f, f.tail(1)]), r"stands there twice \(2 such rows\)"),
    "no baseline": (lambda f: f.filter(pl.col("kind") != "baseline"), "no row has the kind 'baseline'"),
    "only a baseline": (lambda f: f.filter(kind="baseline"), "nothing acts"),
    "a clip of its own": (
        lambda f: f.filter((pl.col("clip") != "clip 3") | (pl.col("kind") != "baseline")),
        "clip 'clip 3', .* the clip has no row of kind 'baseline'",
    ),
    "a clip is lacking": (
        lambda f: f.filter((pl.col("clip") != "clip 3") | (pl.col("alpha") != 1.0).fill_null(True)),
        "18 of 72 conditions lack clips, the first is clip 'clip 3', steer, alpha 1",
    ),
    "a set is lacking": (
        lambda f: f.filter((pl.col("draw") != 2).fill_null(True) | (pl.col("set") != "emotion 1")),
        "deactivate, control 'matched', draw 2 lacks the set of 'emotion 1'",
    ),
    "controls alone": (
        lambda f: f.filter((pl.col("control") != "target").fill_null(True) | (pl.col("kind") != "deactivate")),
        "deactivate has controls and no target sets",
    ),
    "few units": (
        lambda f: f.with_columns(unit=pl.col("unit").str.replace("[34]$", "0")),
        r"3 independent units \(unit 0000, unit 0001 and unit 0002\): claims need at least 5",
    ),
    "no speaker": (lambda f: f.with_columns(speaker=pl.lit(None, pl.String)), "no row has a speaker"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_with_the_value_and_a_remedy(table: pl.DataFrame, name: str) -> None:
    change, told = WRONG[name]
    with pytest.raises(ValueError, match=told):
        judge(change(table), alpha=0.5)


def test_what_is_asked_must_be_there(table: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"steered by 0.25, 0.5 and 1: say which is the declared one, with --alpha"):
        judge(table)
    with pytest.raises(ValueError, match=r"alpha 2 is not in the table: strengths there are 0.25, 0.5 and 1"):
        judge(table, alpha=2.0)
    with pytest.raises(ValueError, match="control 'mine' is not in the table: it has matched"):
        judge(table, alpha=0.5, control="mine")
    with pytest.raises(ValueError, match=r"ends in .parquet, .csv"):
        judge(tmp_path / "answers.xlsx")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 is what it begins with")
    with pytest.raises(ValueError, match="cannot be read"):
        read_answers(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="of type list"):
        answer_table([])  # type: ignore[arg-type]


def test_control_sets_of_any_name_can_be_given(table: pl.DataFrame) -> None:
    mine = table.with_columns(pl.col("control").replace({"matched": "mine"}))
    assert judge(mine, alpha=0.5).control == "mine"
    braces = table.with_columns(pl.col("control").replace({"matched": "my {x}"}))
    assert judge(braces, alpha=0.5).control == "my {x}"
    more = pl.concat([mine, table.filter((pl.col("control") == "matched") & (pl.col("draw") < 4))])
    assert judge(more, alpha=0.5).control == "mine"
    assert judge(more, alpha=0.5, control="matched").tests["why"][0] == "4 draws of control sets: 5 are needed"


@pytest.mark.journey
def test_the_commands_write_a_table_and_judge_it(tmp_path: Path) -> None:
    program = "import sys; from emoscope.cli import app; app(sys.argv[1:], result_action='return_value'); assert 'torch' not in sys.modules"

    def call(*words: str) -> str:
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "emoscope judge answers.parquet --alpha 0.5" in call(
        "export", str(EXAMPLE), "answers.parquet", "--answers-for-judge"
    )
    said = call("judge", "answers.parquet", "--alpha", "0.5", "--out", "tests.json")
    assert "exists               supported                    −0.79 nat [−1.00, −0.58]" in said
    rows = json.loads((tmp_path / "tests.json").read_text())
    assert [row["name"] for row in rows] == [claim.name for claim in declared.CLAIMS]
    assert {row["rule"] for row in rows} == {declared.RULE}
