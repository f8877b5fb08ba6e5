"""What a study would do, without doing it: clips, conditions and their cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.emotions import in_order
from emoscope.experiments.conditions import describe, plan_conditions
from emoscope.experiments.items import candidate_items, study_corpus, study_options
from emoscope.experiments.parts import COLUMN, MAIN, SHARED, Part, has_parts, plan_parts
from emoscope.experiments.presentation import asked_wordings
from emoscope.experiments.sides import shared_speakers, told_shared
from emoscope.experiments.study import Controls, Study
from emoscope.experiments.told_sound import told_as_remembered

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from emoscope.corpora import Corpus
    from emoscope.models.lookup import Card


def planned_sets(study: Study, emotions: tuple[str, ...], layers: int = 0) -> pl.DataFrame:
    """The sets that a study will find at most, before anything was heard.

    Every emotion is taken to be identifiable, every size to be there, and some selector to run dry.

    Args:
        study: with its budget filled in.
        emotions: the labels.
        layers: decoder layers of the model; sets within ranges of them are left out where it is 0.
    """
    import polars as pl

    from emoscope.experiments.layer_ranges import ranges_to_reselect
    from emoscope.neurons.selectors import find_selector
    from emoscope.neurons.set_spec import FURTHER_DRAWS, SetSpec
    from emoscope.vocabulary import OUTCOME_CONTROLS

    assert study.headline.budget is not None
    head = (study.headline.selector, study.headline.budget)
    spec = SetSpec(emotions, study.identify.selectors, study.identify.budgets, study.identify.scope, headline=head)
    draws = {"matched": study.controls.matched, "random": study.controls.random, "shuffled": study.controls.shuffled}
    rows: list[dict[str, Any]] = []

    def add(
        selector: str, budget: float, control: str, draw: int, size: int | None = None, layers: str | None = None
    ) -> None:
        family = {"set": spec.set_id(selector, budget, control, draw, size, layers), "selector": selector,
                  "budget": budget, "scope": spec.scope_name, "control": control, "draw": draw, "size": size,
                  "layers": layers}  # fmt: skip
        rows.extend({**family, "emotion": emotion} for emotion in emotions)

    for selector in study.identify.selectors:
        for budget in study.identify.budgets:
            controls = draws if (selector, budget) == head else {}
            if selector == head[0] and budget != head[1]:
                controls = {"matched": min(FURTHER_DRAWS, study.controls.matched)}
            for control, count in {"target": 1, **controls}.items():
                for draw in range(count):
                    add(selector, budget, control, draw)
    equal = [name for name in study.identify.selectors if not find_selector(name).one_list]
    if study.identify.compare_at_common_size and len(equal) > 1:
        for selector in equal:
            add(selector, 0.0, "target", 0)  # a budget that is not known yet
    for size in sorted({size for size in study.identify.sizes if size < study.identify.items_per_emotion}):
        for draw in range(study.identify.size_draws):
            add(*head, "fewer", draw, size)
    for control in OUTCOME_CONTROLS if study.controls.outcomes else ():
        add(*head, control, 0)
    for first, last in ranges_to_reselect(study, layers) if layers else ():
        for control, count in {
            "reselected": 1,
            "reselected matched": min(FURTHER_DRAWS, study.controls.matched),
        }.items():
            for draw in range(count):
                add(*head, control, draw, layers=f"{first}-{last}")
    return pl.DataFrame(rows, schema_overrides={"size": pl.Int64, "layers": pl.String}, infer_schema_length=None)


def planned_foreign(part: Part, parts: Sequence[Part], study: Study, shared: tuple[str, ...]) -> pl.DataFrame | None:
    """The sets of other parts that will act in a part at most; ``None`` where there are none."""
    import polars as pl

    from emoscope.neurons.transfer import lent_name

    if part.role == SHARED:
        mains = [one.name for one in parts if one.role == MAIN]
        lenders = dict.fromkeys([*mains, *(f"fused: {how}" for how in study.transfer.fuse)], shared)
    elif part.role == MAIN:
        lenders = {one.name: _options(one) for one in parts if (one.role, one.of) == (COLUMN, part.name)}
    else:
        main = next(one for one in parts if one.name == part.of)
        lenders = {main.name: _options(main)}
    matched = study.transfer.matched if part.role == SHARED else study.probes.matched
    head = part.study.headline
    frames = []
    for source, labels in lenders.items():
        sets = planned_sets(
            msgspec.structs.replace(
                part.study,
                identify=msgspec.structs.replace(part.study.identify, selectors=(head.selector,), budgets=(head.budget,),
                                                 sizes=(), compare_at_common_size=False),
                controls=Controls(matched=matched, random=0, shuffled=0),
            ), labels,
        )  # fmt: skip
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

    Args:
        study: the study.
        items: its candidate items.

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
    import polars as pl

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
    from collections import Counter

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
    sets = planned_sets(study, study_options(study, corpus), card.layers)
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
