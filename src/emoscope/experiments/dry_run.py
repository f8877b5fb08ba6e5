"""What a study would do, without doing it: clips, conditions and their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emoscope.experiments.conditions import describe, plan_conditions
from emoscope.experiments.items import candidate_items, study_corpus, study_options
from emoscope.experiments.sides import shared_speakers, told_shared
from emoscope.experiments.study import Study

if TYPE_CHECKING:
    import polars as pl


def planned_sets(study: Study, emotions: tuple[str, ...]) -> pl.DataFrame:
    """The sets that a study will find at most, before anything was heard.

    Every emotion is taken to be identifiable, every size to be there, and some selector to run dry.
    """
    import polars as pl

    from emoscope.neurons.selectors import find_selector
    from emoscope.neurons.set_spec import SetSpec

    assert study.headline.budget is not None
    head = (study.headline.selector, study.headline.budget)
    spec = SetSpec(emotions, study.identify.selectors, study.identify.budgets, study.identify.scope, headline=head)
    draws = {"matched": study.controls.matched, "random": study.controls.random, "shuffled": study.controls.shuffled}
    rows: list[dict[str, Any]] = []

    def add(selector: str, budget: float, control: str, draw: int, size: int | None = None) -> None:
        family = {"set": spec.set_id(selector, budget, control, draw, size), "selector": selector, "budget": budget,
                  "scope": spec.scope_name, "control": control, "draw": draw, "size": size}  # fmt: skip
        rows.extend({**family, "emotion": emotion} for emotion in emotions)

    for selector in study.identify.selectors:
        for budget in study.identify.budgets:
            controls = draws if (selector, budget) == head else {}
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
    return pl.DataFrame(rows, schema_overrides={"size": pl.Int64}, infer_schema_length=None)


def dry_run(study: Study) -> None:
    """Print the clips a study can use, its conditions, and how many answers they take."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    card = study.card()
    study = study.with_budget(card.recommended_budget)
    corpus = study_corpus(study, card.trained_on)
    items = candidate_items(study, corpus)
    open_items = items.filter(items["fate"].is_null())
    quota = Counter(open_items.filter(open_items["side"] != "identify")["truth"].to_list())
    orders = 1 + max(open_items["order"].to_list(), default=0)
    evaluated = sum(min(count, study.evaluate.items_per_emotion * orders) for count in quota.values())
    conditions = plan_conditions(study, planned_sets(study, study_options(study, corpus)), card.layers)
    console = Console()
    console.print(
        f"Study {study.name}: {study.model.id} ({card.layers} layers x {card.width} neurons) on {corpus.info.title}"
    )
    lost = Counter(why for why in items["why"].drop_nulls().to_list())
    console.print(
        f"Clips: {items['clip'].n_unique()} found, {open_items['clip'].n_unique()} can be heard "
        f"({', '.join(f'{count} {label}' for label, count in sorted(Counter(open_items['truth'].to_list()).items()))}), "
        f"{sum(lost.values())} excluded" + (f" ({'; '.join(f'{n} {why}' for why, n in lost.items())})" if lost else "")
    )
    if shared := shared_speakers(items):
        console.print(told_shared(shared), highlight=False)
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
        f"{open_items.height * neurons * 12 / 1e9:.2f} GB before compression. "
        f"Nothing was run; `--pilot 20` measures how long an answer takes here."
    )
