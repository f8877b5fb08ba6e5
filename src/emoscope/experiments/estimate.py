"""What a study will do and take: clips, conditions and answers of a dry run, time and disk space from the rates of a pilot."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from emoscope.emotions import in_order
from emoscope.experiments.conditions import describe, passes, plan_conditions, planned_sets, set_spec
from emoscope.experiments.items import candidate_items, study_corpus, study_options
from emoscope.experiments.listen import BLOCK
from emoscope.experiments.parts import Part, has_parts, plan_parts
from emoscope.experiments.prompts import asked_wordings
from emoscope.experiments.schema import Study
from emoscope.experiments.splits import shared_speakers, told_shared
from emoscope.experiments.terminal import told_as_remembered
from emoscope.neurons.jobs import lent_name
from emoscope.runs import RunFolder
from emoscope.vocabulary import COLUMN, MAIN, SHARED

if TYPE_CHECKING:
    from rich.console import Console

    from emoscope.corpora import Corpus
    from emoscope.models.lookup import Card


def planned_foreign(part: Part, parts: Sequence[Part], study: Study, shared: tuple[str, ...]) -> pl.DataFrame | None:
    """The sets of other parts that will act in a part at most; ``None`` where there are none."""
    if part.role == SHARED:
        mains = [one.name for one in parts if one.role == MAIN]
        lenders = dict.fromkeys([*mains, *(f"fused: {how}" for how in study.transfer.fuse)], shared)
    elif part.role == MAIN:
        lenders = {one.name: _options(one) for one in parts if (one.role, one.of) == (COLUMN, part.name)}
    else:
        main = next(one for one in parts if one.name == part.of)
        lenders = {main.name: _options(main)}
    matched = study.transfer.matched if part.role == SHARED else study.probes.matched
    frames = []
    for source, labels in lenders.items():
        spec = set_spec(part.study, labels, 0)
        lent = dataclasses.replace(
            spec,
            selectors=spec.headline[:1],
            budgets=spec.headline[1:],
            controls={"matched": matched},
            sizes=(),
            common_size=False,
            outcomes=False,
        )
        sets = planned_sets(lent)
        named = [lent_name(name, source) for name in sets["set"]]
        frames.append(sets.with_columns(pl.Series("set", named), pl.lit(source).alias("source")))
    return pl.concat(frames) if frames else None


def _options(part: Part) -> tuple[str, ...]:
    assert part.corpus is not None
    return study_options(part.study, part.corpus)


def dry_run(study: Study) -> None:
    """Print the clips a study can use, its conditions, and how many answers they take; of each part, if it has several."""
    from rich.console import Console

    card = study.card()
    study = study.with_budget(card.recommended_budget)
    console = Console()
    if card.note:
        console.print(f"Model: {card.note}.", highlight=False)
    if not has_parts(study):
        _show(console, card, study, study_corpus(study, card.trained_on))
    else:
        parts, shared = plan_parts(study, card.trained_on)
        console.print(f"Study {study.name}: {len(parts)} parts" + (
            f"; all corpora share {', '.join(shared)}" if shared else ""
        ))  # fmt: skip
        total = 0
        for part in parts:
            console.print(f"\nPart {part.name} ({part.role})", style="bold")
            part = dataclasses.replace(part, study=part.study.with_budget(card.recommended_budget))
            corpus = part.corpus or study_corpus(part.study, card.trained_on)
            foreign = planned_foreign(part, parts, study, shared)
            total += _show(console, card, part.study, corpus, foreign, part.selects, part.role == MAIN)
        console.print(f"\nAll parts: {total:,} answers and what is listened to.")
    console.print("Nothing was run; `--pilot 20` in place of `--dry-run` measures how long an answer takes here.")


def too_few(study: Study, items: pl.DataFrame) -> list[str]:
    """Warnings about options that cannot get a set even if every clip is answered correctly, one a sentence.

    Example:
        >>> import polars as pl
        >>> items = pl.DataFrame({"clip": list("abcd"), "truth": ["anger", "anger", "fear", "fear"], "fate": [None] * 4,
        ...     "side": ["both"] * 4, "fold": ["1", "2", "1", "1"]}, schema_overrides={"fate": pl.String})
        >>> for told in too_few(Study(), items):
        ...     print(told)
        anger: at most 1 clip to find neurons on where 30 are needed (identify.minimum): it gets no set.
        fear: at most 0 clips to find neurons on where 30 are needed (identify.minimum): it gets no set.
        Fewer than two options can get a set, so the study would end without a result: add clips, or lower identify.minimum.
    """
    finding = items.filter(items["fate"].is_null() & (items["side"] != "evaluate")).unique("clip", maintain_order=True)
    folds = finding.filter(finding["side"] == "both")["fold"].drop_nulls().unique()
    told, options = [], in_order(items.filter(items["fate"].is_null())["truth"].drop_nulls())
    for option in options:
        own = finding.filter(pl.col("truth") == option)
        most = min([own.filter(pl.col("fold").ne_missing(fold)).height for fold in folds] or [own.height])
        if most < study.identify.minimum:
            clips = "1 clip" if most == 1 else f"{most} clips"
            told.append(
                f"{option}: at most {clips} to find neurons on where {study.identify.minimum} are needed "
                "(identify.minimum): it gets no set."
            )
    if told and len(options) - len(told) < 2:
        told.append(
            "Fewer than two options can get a set, so the study would end without a result: add clips, or lower "
            "identify.minimum."
        )
    return told


def _show(
    console: Console, card: Card, study: Study, corpus: Corpus, foreign: pl.DataFrame | None = None,
    selects: bool = True, main: bool = True,
) -> int:  # fmt: skip
    """Print one study; returns its answers under interventions."""
    from rich.table import Table

    for sentence in corpus.told:
        console.print(f"{sentence}.", highlight=False, markup=False)
    items = candidate_items(study, corpus)
    # further parts ask about clips of a main part, which tells of them
    for sentence in told_as_remembered(items, study.corpus.loudness) if main else ():
        console.print(f"{sentence}.", highlight=False, markup=False)
    open_items = items.filter(items["fate"].is_null())
    quota = Counter(open_items.filter(open_items["side"] != "identify")["truth"].to_list())
    orders = (1 + max(open_items["order"].to_list(), default=0)) * len(asked_wordings(study))
    evaluated = sum(min(count, study.evaluate.items_per_emotion * orders) for count in quota.values())
    sets = planned_sets(set_spec(study, study_options(study, corpus), card.layers))
    conditions = plan_conditions(study, sets if selects else sets.clear(), card.layers, foreign, not main)
    console.print(
        f"Study {study.name}: {study.model.id} ({card.layers} layers x {card.width} neurons) on {corpus.info.title}"
    )
    # a clip that is asked has an item for each wording and order of the letters; people count clips
    clips = open_items.unique("clip", maintain_order=True)["truth"].to_list()
    beyond = items.filter(items["fate"] == "not needed").unique("clip", maintain_order=True)
    lost = Counter([*beyond["why"].to_list(), *items.filter(items["order"].is_null())["why"].to_list()])
    console.print(
        f"Clips: {len(clips) + sum(lost.values())} found, {len(clips)} may be asked, "
        "if their files can be heard "
        f"({', '.join(f'{count} {label}' for label, count in sorted(Counter(clips).items()))}), "
        f"{sum(lost.values())} excluded" + (f" ({'; '.join(f'{n} {why}' for why, n in lost.items())})" if lost else "")
    )
    if shared := shared_speakers(items):
        console.print(told_shared(shared), highlight=False)
    for told in too_few(study, items) if selects else ():
        console.print(told, style="yellow", highlight=False, soft_wrap=True)
    table = Table("what", "conditions", "answers", title="Conditions", title_justify="left")
    total = 0
    for what, count, answers in describe(conditions, evaluated):
        asked = answers - evaluated if what == "baseline" else answers
        total += asked
        table.add_row(what, str(count), f"{asked:,}")
    table.add_row("in all", str(conditions.height), f"{total:,}", style="bold")
    console.print(table)
    neurons = card.layers * card.width
    console.print(
        f"Listening: {open_items.height:,} answers at most. Activity on disk: at most "
        f"{open_items.height * neurons * 12 / 1e9:.2f} GB before compression."
    )
    return total


@dataclass(frozen=True)
class Rates:
    """What was measured on this machine: answers per second of each kind, and seconds that any run spends.

    Attributes:
        heard: items heard per second (decoding, encoder, forward pass, activity).
        scored: answers by likelihood per second under interventions; ``None`` where none was asked.
        written: generated answers per second; ``None`` where none was asked.
        fixed_s: loading the model and selecting, in seconds.
    """

    heard: float | None
    scored: float | None
    written: float | None
    fixed_s: float


@dataclass(frozen=True)
class Plan:
    """What the full study will take, if the model does as well as in the pilot.

    Attributes:
        heard: items that it hears.
        evaluated: items that it asks under each condition.
        scored, written: answers by likelihood and by generation under conditions.
        correct: emotion -> correct clips in the fold that has fewest, at most ``identify.items_per_emotion``.
    """

    heard: int
    evaluated: int
    scored: int
    written: int
    correct: Mapping[str, float]


def plan_full(full: Study, items: pl.DataFrame, names: Sequence[str], layers: int) -> Plan:
    """What the full study hears and asks, in expectation: emotions are answered as rightly as in the pilot."""
    rows = items.filter(items["fate"].is_in(["used", "not needed", "quarantined"]) & items["options"].is_not_null())
    orders = (1 + int(rows["order"].max() or 0)) * rows["wording"].n_unique()  # type: ignore[arg-type]
    of_clip = rows.sort("item").group_by("clip", maintain_order=True)
    clips = of_clip.agg(pl.first("truth", "side", "fold", "fate"), right=pl.col("correct").fill_null(False).any())
    used = clips.filter(pl.col("fate") == "used")
    usable = used.height / max(1, used.height + clips.filter(pl.col("fate") == "quarantined").height)
    counted = {name: used.filter(pl.col("truth") == name)["right"] for name in names}
    rate = {name: usable * int(right.sum()) / max(1, len(right)) for name, right in counted.items()}
    quota, most = full.evaluate.items_per_emotion, full.corpus.clips_per_emotion
    outs = set(clips.filter(pl.col("side") != "identify")["fold"])
    right: dict[str, defaultdict[str, float]] = {name: defaultdict(float) for name in names}
    evaluated: defaultdict[str, float] = defaultdict(float)
    taken: Counter[tuple[str, str]] = Counter()
    heard = 0

    def found(name: str) -> float:
        return min((sum(right[name].values()) - right[name][out] for out in outs), default=0.0)

    for name, side, fold in clips.select("truth", "side", "fold").iter_rows():
        taken[name, side] += 1
        if most is not None and taken[name, side] > most:
            continue
        heard += orders
        if side != "identify":
            evaluated[name] += usable
        if side != "evaluate":
            right[name][fold] += rate[name]
        if heard % BLOCK < orders and all(
            evaluated[n] >= quota and found(n) >= full.identify.items_per_emotion for n in names
        ):
            break
    asked = orders * round(sum(min(count, quota) for count in evaluated.values()))
    likely, written = passes(plan_conditions(full, planned_sets(set_spec(full, names, layers)), layers))
    correct = {name: min(float(found(name)), float(full.identify.items_per_emotion)) for name in names}
    return Plan(heard, asked, (likely - 1) * asked, written * asked, correct)  # the baseline is heard


def read_rates(*logs: Path) -> Rates:
    """Answers per second from the logs of a run, over all sessions and shards that worked on it."""
    done: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    fixed: dict[str, float] = {}
    for line in (line for path in logs for line in path.read_text(encoding="utf-8").splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a killed process may have left half a line
        if event["event"] == "unit":
            kind = event.get("scoring", event["stage"])
            done[kind][0] += event["answers"]
            done[kind][1] += event["seconds"]
        elif event["event"] == "stage done" and event["stage"] == "loading model":
            fixed["loading"] = event["seconds"]
        elif event["event"] == "selected":
            fixed["selecting"] = event["seconds"]
    rate = {kind: answers / seconds for kind, (answers, seconds) in done.items() if answers and seconds}
    return Rates(rate.get("listening"), rate.get("likelihood"), rate.get("generation"), sum(fixed.values()))


def hours(rates: Rates, plan: Plan) -> float | None:
    """Hours of the full study; ``None`` where a rate that it needs was not measured."""
    parts = ((plan.heard, rates.heard), (plan.scored, rates.scored), (plan.written, rates.written))
    if any(count and not rate for count, rate in parts):
        return None
    return (rates.fixed_s + sum(count / rate for count, rate in parts if rate)) / 3600


def gigabytes(run: RunFolder, heard: int, plan: Plan) -> float | None:
    """Gigabytes of the full study: bytes per item and per answer as the pilot left them."""
    answers = [path for name in ("answers", "units") for path in (run / name).iterdir()]
    per_item = sum(_bytes(run / name) for name in ("activity.zarr", "cache")) / max(1, heard)
    # a unit's card and table are nearly as large for few items as for many
    per_answer = sum(path.stat().st_size for path in answers) / max(1, heard * len(list((run / "units").iterdir())))
    return (per_item * plan.heard + per_answer * (plan.scored + plan.written + plan.heard)) / 1e9 if heard else None


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
