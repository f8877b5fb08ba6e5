"""What makes a study one that cannot be run, said before anything is opened."""

from __future__ import annotations

import re

from emoscope.experiments.study import AGNOSTIC, FUSIONS, GROUNDING, SIDE_EFFECTS, Study, StudyError
from emoscope.questions import WORDINGS

TAKEN = ("shared", *GROUNDING, *SIDE_EFFECTS)
"""Names of parts that are no columns."""


def check_study(study: Study, name: str = "study", stored: bool = False) -> None:
    """Refuse a study that cannot be run.

    Args:
        study: the study.
        name: of the study, or its file, in messages.
        stored: it may be a part's, whose side effects no study of its own asks.

    Raises:
        StudyError: names the field, its value and the remedy.
    """
    from emoscope.neurons.selectors import find_selector

    if not study.corpora:
        raise StudyError(f"{name}: no corpus is given: add [[corpora]] with an id")
    for where, budget in [
        ("headline.budget", study.headline.budget),
        *(("identify.budgets", b) for b in study.identify.budgets),
    ]:
        if budget is not None and not 0 < budget <= 0.5:
            raise StudyError(
                f"{name}: {where} {budget} is not a fraction of neurons: "
                "give a number between 0 and 0.5, such as 0.005 for 0.5 %"
            )
    for selector in (*study.identify.selectors, study.headline.selector):
        try:
            find_selector(selector)
        except ValueError as error:
            raise StudyError(f"{name}: {error}") from None
    if study.headline.selector not in study.identify.selectors:
        raise StudyError(
            f"{name}: headline.selector {study.headline.selector!r} is not among identify.selectors "
            f"{list(study.identify.selectors)}: add it there"
        )
    scopes = ("audio", "text", "decision", "answer")
    for where, parts in (
        ("identify.scope", study.identify.scope.split("+")),
        ("identify.store", study.identify.store),
        ("interventions.positions", study.interventions.positions),
    ):
        for part in parts:
            if part not in scopes and not (where == "identify.scope" and part == "all"):
                raise StudyError(f"{name}: {where} {part!r} is not known: choose from {', '.join(scopes)}")
    wanted = scopes if study.identify.scope == "all" else study.identify.scope.split("+")
    if missing := [part for part in wanted if part not in study.identify.store]:
        raise StudyError(f"{name}: identify.scope needs {missing}, which identify.store does not keep: add it there")
    if study.identify.site not in ("gate", "product"):
        raise StudyError(f'{name}: identify.site {study.identify.site!r} is not known: give "gate" or "product"')
    if study.model.quantise not in ("", "8bit", "4bit"):
        raise StudyError(f'{name}: model.quantise {study.model.quantise!r} is not known: give "8bit", "4bit" or ""')
    if "answer" in study.interventions.positions:
        raise StudyError(
            f'{name}: interventions.positions "answer": an answer by likelihood has no such position, so the effect is '
            "zero by construction; choose from audio, text, decision"
        )
    for wording in study.question.wordings:
        if wording not in WORDINGS:
            raise StudyError(f"{name}: question.wording {wording!r}: choose from {', '.join(WORDINGS)}")
    if len(set(study.question.wordings)) < max(1, len(study.question.wordings)):
        raise StudyError(f"{name}: question.wording {list(study.question.wordings)}: give one or several, each once")
    deactivate = study.interventions.deactivate
    for to in deactivate:
        if to not in ("zero", "mean"):
            raise StudyError(
                f'{name}: interventions.deactivate {to!r} is not known: give "zero" and, if wanted, "mean"'
            )
    if deactivate and "zero" not in deactivate:
        raise StudyError(
            f'{name}: interventions.deactivate {list(deactivate)}: what is claimed is deactivation to zero; give ["zero", "mean"]'
        )
    if len(set(deactivate)) < len(deactivate):
        raise StudyError(f"{name}: interventions.deactivate {list(deactivate)} names one twice: give each once")
    for alpha in study.interventions.alphas:
        if alpha <= -1 or alpha == 0:
            raise StudyError(f"{name}: alpha {alpha} is not a strength: give a number above -1 other than 0")
    for part in study.interventions.layers:
        if part != "thirds" and not re.fullmatch(r"[0-9]+-[0-9]+", part):
            raise StudyError(
                f'{name}: interventions.layers {part!r} is not a range: give ["thirds"], or first and last layer as in "0-3"'
            )
    if study.interventions.sweep not in ("all", "headline"):
        raise StudyError(f'{name}: interventions.sweep {study.interventions.sweep!r}: give "all" or "headline"')
    if study.interventions.reselect_in_ranges and not study.interventions.layers:
        raise StudyError(
            f'{name}: interventions.reselect_in_ranges needs ranges: give interventions.layers, such as ["thirds"]'
        )
    if study.interventions.reselect_in_ranges and find_selector(study.headline.selector).one_list:
        raise StudyError(
            f"{name}: interventions.reselect_in_ranges finds equally many neurons for every emotion, and the headline's "
            f"selector {study.headline.selector} makes one list for all: choose another headline.selector"
        )
    for way in study.interventions.agnostic:
        if way not in AGNOSTIC:
            raise StudyError(
                f"{name}: interventions.agnostic {way!r} is not known: choose from {', '.join(AGNOSTIC)}, or give []"
            )
    for corpus in study.corpora:
        if corpus.loudness not in ("normalised", "as recorded"):
            raise StudyError(f'{name}: loudness {corpus.loudness!r}: give "normalised" or "as recorded"')
    of_part = stored and not study.transfer.ask and study.question.presentation in SIDE_EFFECTS
    presentations = () if of_part else (study.question.presentation,)
    for field, given, known in (
        ("transfer.fuse", study.transfer.fuse, FUSIONS),
        ("probes.grounding", study.probes.grounding, GROUNDING),
        ("probes.side_effects", study.probes.side_effects, SIDE_EFFECTS),
        ("question.presentation", presentations, ("audio", *GROUNDING)),
        ("probes.columns", study.probes.columns, study.probes.columns),
    ):
        if len(set(given)) < len(given):
            raise StudyError(f"{name}: {field} {list(given)} names one twice: give each once")
        for one in given:
            if one not in known:
                raise StudyError(f"{name}: {field} {one!r} is not known: choose from {', '.join(known)}")
    for column in study.probes.columns:
        if column == study.identify.label:
            raise StudyError(f"{name}: probes.columns {column!r} is what the study asks anyway: give other columns")
        if column in TAKEN:
            raise StudyError(
                f"{name}: probes.columns {column!r} is the name of another part: give that column another name"
            )
    if study.identify.split not in ("", "official"):
        raise StudyError(
            f'{name}: identify.split {study.identify.split!r}: give "official", or leave it out to cross-fit'
        )
    if study.identify.split and study.identify.where:
        raise StudyError(f"{name}: identify.split and identify.where both fix the sides: give one of them")
    if bool(study.identify.where) != bool(study.evaluate.where):
        raise StudyError(f"{name}: identify.where and evaluate.where go together: give both, or neither to cross-fit")
    orders = study.question.letter_orders
    if isinstance(orders, str) and orders != "all":
        raise StudyError(f'{name}: letter_orders {orders!r}: give a number or "all"')
