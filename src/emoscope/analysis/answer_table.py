"""Answers under anybody's interventions as one table: a row for every clip and condition (see docs/judge.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import unreliable_scores
from emoscope.analysis.headline import declared_evidence, independent_units
from emoscope.analysis.load import Run
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import build_responses
from emoscope.files import what_is
from emoscope.mistakes import first_line
from emoscope.vocabulary import BASELINE, DEACTIVATE, STEER, TARGET
from emoscope.wording import listed

if TYPE_CHECKING:
    import pandas

Act = tuple[str, float | None]
"""What is done (``"deactivate"`` or ``"steer"``), and by which alpha."""

LOGP: Final = "logp."
"""How the column of an option's log-probability begins; the option's name follows."""
NEEDED: Final = ("clip", "speaker", "truth", "kind", "set")
WORDS: Final = (*NEEDED, "item", "unit", "control")
NUMBERS: Final = ("alpha", "draw")
OF_CLIP: Final = ("speaker", "unit", "truth")  # the same in all rows of a clip
CONDITION: Final = ("kind", "alpha", "control", "draw", "set")
ROUNDING: Final = 1e-3  # probabilities of the options may add up to so much more than 1


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """What a table says, as arrays.

    Attributes:
        options: in the order of their columns.
        clips: clip, item, speaker, unit and truth, a row for every clip (or item) that counts.
        untouched: natural logs of the options' probabilities, dimensions (item, option).
        under: act -> control -> draws, each of dimensions (target, item, option); the target sets are one draw.
        targets: the options that have sets.
        left_out: items that do not count, as their speaker is unknown.
    """

    options: tuple[str, ...]
    clips: pl.DataFrame
    untouched: np.ndarray
    under: Mapping[Act, Mapping[str, Sequence[np.ndarray]]]
    targets: tuple[str, ...]
    left_out: int

    def coded(self) -> Clips:
        """The clips as codes; speakers and units in the order of their names."""
        truth = np.array([self.options.index(name) for name in self.clips["truth"]])
        speaker, unit = (np.unique(self.clips[name].to_numpy(), return_inverse=True)[1] for name in ("speaker", "unit"))
        return Clips(truth, speaker, unit, len(self.options))


def read_answers(file: Path) -> pl.DataFrame:
    """A table of answers from a file: Parquet, CSV (text in UTF-8, ``NA`` for nothing), JSON lines or JSON.

    Raises:
        ValueError: it is none of these, or damaged.
    """
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json}
    if file.suffix.lower() not in readers:
        raise ValueError(f"{file} is no table that can be judged: give a file that ends in {listed(list(readers))}")
    if other := what_is(file):
        raise ValueError(f"{file} is {other}")
    try:
        return readers[file.suffix.lower()](file)
    # a damaged Parquet file can make the library panic, which is no ordinary exception
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"{file} cannot be read ({first_line(error)}): write it anew") from error


def _parquet(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file)


def _csv(file: Path) -> pl.DataFrame:
    # as text: a clip named 007 keeps its name
    return pl.read_csv(file, infer_schema=False, null_values=["", "NA"])


def _json_lines(file: Path) -> pl.DataFrame:
    return pl.read_ndjson(file, infer_schema_length=None)


def _json(file: Path) -> pl.DataFrame:
    return pl.read_json(file, infer_schema_length=None)


def write_frame(frame: pl.DataFrame, file: Path) -> None:
    """Write a table as Parquet, CSV, JSON lines or (a list of rows) JSON, by the file's ending.

    Raises:
        ValueError: another ending.
    """
    writers: dict[str, Callable[[Path], object]] = {
        ".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson,
        ".ndjson": frame.write_ndjson, ".json": frame.write_json,
    }  # fmt: skip
    if file.suffix.lower() not in writers:
        raise ValueError(f"{file} cannot be written: give a name that ends in {listed(list(writers))}")
    writers[file.suffix.lower()](file)


def answer_table(given: pl.DataFrame | pandas.DataFrame, name: str = "the table") -> AnswerTable:
    """Check a table of answers, and arrange it.

    Args:
        given: columns and rows as docs/judge.md describes them; a polars or pandas frame.
        name: what errors call it.

    Raises:
        ValueError: what is wrong, with the value and what to do.
    """
    try:
        frame, options = _typed(given)
        frame, left_out = _with_speaker(frame)
        _check_rows(frame, options)
        return _arranged(frame, options, left_out)
    except ValueError as error:
        error.args = (f"{name}: {error}",)
        raise


def _typed(given: pl.DataFrame | pandas.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table with known columns and types, and the options."""
    if isinstance(given, pl.DataFrame):
        frame = given
    elif type(given).__module__.partition(".")[0] == "pandas":
        # by lists: pandas' missing values become nulls, and pyarrow is not needed
        cells = {str(name): [None if cell != cell else cell for cell in given[name].tolist()] for name in given}
        frame = pl.DataFrame(cells, strict=False)
    else:
        raise ValueError(f"it is of type {type(given).__name__}: give a polars or pandas frame, or a file")
    if lacking := [name for name in NEEDED if name not in frame.columns]:
        raise ValueError(f"column {lacking[0]!r} is missing: it has {listed(frame.columns[:12])}; see docs/judge.md")
    options = tuple(name.removeprefix(LOGP) for name in frame.columns if name.startswith(LOGP))
    if len(options) < 2:
        told = f"only {options[0]!r} has" if options else "no option has"
        raise ValueError(f"{told} a column of log-probabilities: name them {LOGP}anger, {LOGP}fear and so on")
    words = [
        (pl.col(name).cast(pl.String) if name in frame.columns else pl.lit(None, pl.String)).alias(name)
        for name in WORDS
    ]
    numbers = [name for name in (*NUMBERS, *(LOGP + option for option in options)) if name in frame.columns]
    cast = [pl.col(name).cast(pl.Float64, strict=False).alias(name) for name in numbers]
    none = [pl.lit(None, pl.Float64).alias(name) for name in NUMBERS if name not in frame.columns]
    typed = frame.select(*words, *cast, *none)
    for name in numbers:
        if typed[name].null_count() > frame[name].null_count():
            wrong = frame.filter(typed[name].is_null() & frame[name].is_not_null())
            raise ValueError(f"{name} {wrong[name][0]!r} ({_where(wrong)}) is no number: write it as 0.5")
    typed = typed.with_columns(pl.col("item").fill_null(""), pl.col("unit").fill_null(pl.col("speaker")))
    acts = pl.col("kind") != BASELINE
    typed = typed.with_columns(
        set=pl.when(acts).then("set"),
        alpha=pl.when(pl.col("kind") == STEER).then("alpha"),
        control=pl.when(acts).then(pl.col("control").fill_null(TARGET)),
    )
    return typed.with_columns(draw=pl.when(pl.col("control") != TARGET).then("draw")), options


def _with_speaker(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Leave out and count the items of unknown speakers: nothing can be said of them within a speaker."""
    unknown = frame["speaker"].is_null()
    if unknown.all():
        raise ValueError("no row has a speaker: emotions are compared within speakers; fill in column 'speaker'")
    return frame.filter(~unknown), frame.filter(unknown)["clip", "item"].n_unique()


def _check_rows(frame: pl.DataFrame, options: Sequence[str]) -> None:
    """Refuse rows that say nothing, or what cannot be."""
    kinds = [BASELINE, DEACTIVATE, STEER]
    _refuse(frame, pl.col("clip").is_null(), "clip", "name every clip")
    _refuse(frame, ~pl.col("kind").is_in(kinds) | pl.col("kind").is_null(), "kind", f"give {listed(kinds)}")
    what = f"is not among the options ({listed(list(options))}): add its column, or leave these clips out"
    _refuse(frame, ~pl.col("truth").is_in(options) | pl.col("truth").is_null(), "truth", what, "")
    acts = pl.col("kind") != BASELINE
    what = "is not among the options: name the emotion whose set acts"
    _refuse(frame, acts & (~pl.col("set").is_in(options) | pl.col("set").is_null()), "set", what, "")
    strong = pl.col("alpha").is_finite().fill_null(False)
    _refuse(frame, (pl.col("kind") == STEER) & ~strong, "alpha", "give the strength of steering, such as 0.5")
    numbered = pl.col("draw").is_finite().fill_null(False)
    _refuse(frame, acts & (pl.col("control") != TARGET) & ~numbered, "draw", "number the draws of a control: 0, 1, …")
    columns = [LOGP + option for option in options]
    for column in columns:
        _refuse(frame, ~pl.col(column).is_finite().fill_null(False), column, "give a finite natural log", "is no")
        _refuse(frame, pl.col(column) > ROUNDING, column, "natural logs of probabilities are never above 0", "is above")
    sums = "sum of probabilities"
    total = frame.select("clip", "kind", pl.sum_horizontal(pl.col(columns).exp()).alias(sums))
    what = "is above 1: give natural logs of probabilities, neither logits nor logs to base 10"
    _refuse(total, pl.col(sums) > 1 + ROUNDING, sums, what, "")
    for column in OF_CLIP:
        values = frame.group_by("clip", maintain_order=True).agg(pl.col(column).unique().sort().alias("them"))
        if (several := values.filter(pl.col("them").list.len() > 1)).height:
            clip, them = several.row(0)
            raise ValueError(f"clip {clip!r} has several of {column}: {listed(them)}; give one name to one clip only")
    twice = frame.filter(frame.select("clip", "item", *CONDITION).is_duplicated())
    if twice.height:
        raise ValueError(
            f"{_where(twice)} stands there twice ({twice.height} such rows): give each condition of a clip one row; "
            "letter orders and wordings of a clip are told apart by column 'item'"
        )


def _refuse(frame: pl.DataFrame, wrong: pl.Expr, column: str, remedy: str, says: str = "cannot be") -> None:
    if (rows := frame.filter(wrong)).height:
        says = {"is no": "is no number:", "is above": "is above 0:", "cannot be": "cannot be:"}.get(says, says)
        value = rows[column][0]
        shown = "" if value is None else f" {value!r}"
        many = f" and {rows.height - 1} more rows" if rows.height > 1 else ""
        said = f"{says} {remedy}".strip() if value is not None else f"is empty: {remedy.rpartition(': ')[2]}"
        raise ValueError(f"{column}{shown} ({_where(rows)}{many}) {said}")


def _where(rows: pl.DataFrame) -> str:
    """The first of some rows, in words."""
    row = rows.row(0, named=True)
    parts = [f"clip {row['clip']!r}", row.get("item") and f"item {row['item']!r}", row["kind"]]
    parts += [f"{name} {row[name]:g}" for name in NUMBERS if isinstance(row.get(name), float)]
    parts += [f"{name} {row[name]!r}" for name in ("control", "set") if row.get(name) is not None]
    return ", ".join(part for part in parts if part)


def _arranged(frame: pl.DataFrame, options: tuple[str, ...], left_out: int) -> AnswerTable:
    columns = [LOGP + option for option in options]
    untouched = frame.filter(kind=BASELINE)
    if untouched.is_empty():
        raise ValueError(f"no row has the kind {BASELINE!r}: ask the untouched model about every clip, too")
    clips = untouched.select("clip", "item", "speaker", "unit", "truth")
    places = clips.select("clip", "item").with_row_index("place")
    acts = frame.filter(pl.col("kind") != BASELINE)
    if acts.is_empty():
        raise ValueError(f"every row is of kind {BASELINE!r}: nothing acts; add rows of {DEACTIVATE!r} or {STEER!r}")
    conditions = acts.select(CONDITION).unique().sort(CONDITION, nulls_last=False).with_row_index("row")
    found = acts.join(conditions, on=CONDITION, nulls_equal=True).join(places, on=("clip", "item"), how="left")
    if (strangers := found.filter(pl.col("place").is_null())).height:
        raise ValueError(
            f"{_where(strangers)}: the clip has no row of kind {BASELINE!r}; add it, or leave the clip out"
        )
    values = np.full((conditions.height, clips.height, len(options)), np.nan)
    values[found["row"].to_numpy(), found["place"].to_numpy()] = found.select(columns).to_numpy()
    gaps = np.isnan(values[:, :, 0])
    if gaps.any():
        row, place = np.argwhere(gaps)[0]
        lacking = pl.concat([clips[int(place)].select("clip"), conditions[int(row)]], how="horizontal")
        many = f"{gaps.any(axis=1).sum()} of {len(gaps)} conditions lack clips"
        raise ValueError(f"{many}, the first is {_where(lacking)}: ask all clips under all, or leave such clips out")
    targets = tuple(option for option in options if option in set(conditions["set"]))
    return AnswerTable(
        options, clips, untouched.select(columns).to_numpy(), _draws(conditions, values, targets), targets, left_out
    )


def _draws(
    conditions: pl.DataFrame, values: np.ndarray, targets: Sequence[str]
) -> dict[Act, dict[str, list[np.ndarray]]]:
    """The answers under every draw of every control, as :class:`AnswerTable` holds them."""
    found: dict[Act, dict[str, list[np.ndarray]]] = {}
    for (kind, alpha, control, draw), rows in conditions.group_by(CONDITION[:-1], maintain_order=True):
        what = f"{kind}{'' if alpha is None else f' by {alpha:g}'}, control {control!r}"
        places = dict(rows.select("set", "row").iter_rows())
        if lacking := [name for name in targets if name not in places]:
            number = "" if draw is None else f", draw {draw:g}"
            raise ValueError(
                f"{what}{number} lacks the set of {lacking[0]!r}, which others have: add it, or leave {lacking[0]!r} out "
                "of column 'set' everywhere"
            )
        drawn = values[[places[name] for name in targets]]
        found.setdefault((kind, alpha), {}).setdefault(control, []).append(drawn)
    for (kind, alpha), controls in found.items():
        if TARGET not in controls:
            by = "" if alpha is None else f" by {alpha:g}"
            raise ValueError(f"{kind}{by} has controls and no target sets: add rows of control {TARGET!r}")
    return found


def as_frame(
    items: pl.DataFrame, options: Sequence[str], logp: Mapping[tuple[object, ...], np.ndarray]
) -> pl.DataFrame:
    """Answers as a table that :func:`answer_table` reads.

    Args:
        items: clip, speaker and truth, and where wanted item and unit; a row an item.
        logp: (kind, alpha, control, draw, set) -> natural logs of the options' probabilities, dimensions (item, option).
    """
    types = {"kind": pl.String, "alpha": pl.Float64, "control": pl.String, "draw": pl.Int64, "set": pl.String}
    tables = []
    for condition, values in logp.items():
        about = zip(types.items(), condition, strict=True)
        columns = [pl.lit(value, kind).alias(name) for (name, kind), value in about]
        numbers = [pl.Series(LOGP + option, values[:, place]) for place, option in enumerate(options)]
        tables.append(items.with_columns(*columns, *numbers))
    return pl.concat(tables)


def run_answers(run: Run) -> tuple[pl.DataFrame, float | None]:
    """What the declared claims about a run rest on, as a table to judge, and its declared alpha.

    Raises:
        ValueError: nothing was asked under the headline's sets.
    """
    responses = build_responses(run)
    declared = declared_evidence(run, responses, unreliable=unreliable_scores(run, responses))
    if declared is None:
        raise ValueError(f"{run.folder} has no answers under the sets of its headline: `emoscope run` asks them")
    with np.errstate(invalid="ignore"):  # NaN where an item does not offer an option
        logp = -np.logaddexp(0, -responses.log_odds)  # among the item's options
    asked = run.conditions.filter(pl.col("condition").is_in(list(declared.conditions | declared.permuted)))
    used = np.isfinite(logp[[responses.rows[name] for name in asked["condition"]]]).all(axis=(0, 2))
    codes, unit = independent_units(run, responses)
    names = [responses.speakers[place] for place in responses.speaker]
    items = (
        pl.DataFrame({
            "item": responses.items, "speaker": names, "truth": [responses.labels[code] for code in responses.truth],
            "unit": names if unit == "speaker" else [f"{unit} {code:04}" for code in codes],
        })
        .join(run.items.select("item", "clip", known=pl.col("speaker").is_not_null()), on="item", maintain_order="left")
        .select(
            "clip", pl.col("item").cast(pl.String), pl.when("known").then("speaker").alias("speaker"), "unit", "truth"
        )
    )  # fmt: skip
    answers: dict[tuple[object, ...], np.ndarray] = {}
    acting = asked.filter(pl.col("kind") != BASELINE)
    whole = acting.select("kind", "alpha", "control", "draw").n_unique()
    everywhere = acting.group_by("target").len().filter(pl.col("len") == whole)["target"].to_list()
    for row in asked.sort("condition").iter_rows(named=True):
        values = logp[responses.rows[row["condition"]]][used]
        if row["kind"] == BASELINE:
            answers[BASELINE, None, None, None, None] = values
        elif row["target"] in everywhere:
            draw = None if row["control"] == TARGET else row["draw"]
            answers[row["kind"], row["alpha"], row["control"], draw, row["target"]] = values
    return as_frame(items.filter(used), responses.labels, answers), declared.evidence.alpha
