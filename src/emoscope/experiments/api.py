"""The study in three calls: listen, select, intervene, each result a value to look at."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from emoscope.corpora import Corpus, open_corpus
from emoscope.experiments.engine import run_study
from emoscope.experiments.given import checked_values, in_words_of_a_call, refuse_other_than_model, several
from emoscope.experiments.items import study_corpus
from emoscope.experiments.parts import has_parts
from emoscope.experiments.pilot import told_without_sets
from emoscope.experiments.result import Result, WholeResult
from emoscope.experiments.schema import (
    Controls,
    CorpusChoice,
    Evaluate,
    Identify,
    Interventions,
    Model,
    QuestionChoice,
    Study,
)
from emoscope.experiments.splits import study_folds
from emoscope.experiments.stages import Listened, Selected, Task, act, find_sets
from emoscope.experiments.study import check_study, read_study
from emoscope.interventions.intervention import told
from emoscope.neurons.activity import Activity
from emoscope.neurons.selection import NotIdentifiable
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import digest, refuse_whole

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.activity import Activity
    from emoscope.neurons.selection import FoundSets
    from emoscope.neurons.sets import NeuronSets


@dataclass
class Heard:
    """What a model answered and what its neurons did, for every clip of a corpus.

    Attributes:
        run: the run folder in which it is kept.
        items: the items table, with every clip's fate.
        activity: the stored statistics of every neuron and item.
    """

    run: RunFolder
    items: pl.DataFrame
    activity: Activity
    _listened: Listened
    _selected: list[tuple[NeuronSets, Selected]] = field(default_factory=list)

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of right baseline answers per emotion."""
        used = self.items.filter(self.items["fate"] == "used")
        recalls = {}
        for (truth,), group in used.group_by("truth", maintain_order=True):
            answers = group["correct"].to_list()
            recalls[str(truth)] = sum(answers) / len(answers)
        return recalls

    @property
    def uar(self) -> float:
        """Unweighted average recall of the baseline answers; chance is 1 / options."""
        recalls = list(self.accuracy.values())
        return sum(recalls) / len(recalls)

    def __repr__(self) -> str:
        used = int((self.items["fate"] == "used").sum())
        options = len(self.items["options"].drop_nulls()[0])
        return f"Heard({used} items, UAR {self.uar:.3f}, chance {1 / options:.3f}, in {self.run.path})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{emotion}</td><td>{value:.2f}</td></tr>" for emotion, value in sorted(self.accuracy.items())
        )
        return f"<p>{self!r}</p><table><tr><th>emotion</th><th>recall</th></tr>{rows}</table>"


def listen(
    model: AudioLM,
    corpus: Corpus | pl.DataFrame | Sequence[Mapping[str, object]],
    *,
    label: str = "emotion",
    emotions: Sequence[str] = (),
    merge: Mapping[str, Sequence[str]] | None = None,
    wording: str | Sequence[str] = "lettered",
    letter_orders: int | str = 1,
    folds: str | int = "speaker",
    items_per_emotion: int = 150,
    loudness: str = "normalised",
    seed: int = 0,
    site: str = "gate",
    run: str | Path | None = None,
    log: str = "bars",
) -> Heard:
    """Ask a model about every clip of a corpus and keep what its neurons did.

    Args:
        model: from ``load_model`` or ``wrap``.
        corpus: from ``open_corpus``, or what it takes for a table (a data frame, or a list of dictionaries whose
            ``"audio"`` is a file or ``(samples, rate)``); clips on which the model was trained are excluded.
        label: the label column that is asked.
        emotions: labels offered as options; all of the corpus by default.
        merge: labels taken together.
        wording: a key of ``questions.WORDINGS``, or several: every clip is asked in each of them.
        letter_orders: letter orders asked per clip, or ``"all"``.
        folds: cross-fitting folds: a column, or a number of speaker folds.
        items_per_emotion: clips per emotion after which listening may stop.
        loudness: ``"normalised"`` or ``"as recorded"``.
        seed: of every random choice.
        site: where activations are read: ``"gate"``, or ``"product"`` (after the product with up_proj).
        run: folder to keep it in; ``runs/<model>-<corpus>-<key>`` by default. A second call re-uses it.
        log: ``"bars"``, ``"json"`` or ``"quiet"``.

    Example:
        >>> import emoscope as es
        >>> polish = es.open_corpus("polish").where({"take": [3], "word": ["nie"]})
        >>> import tempfile
        >>> heard = es.listen(es.load_model("tiny"), polish, run=tempfile.mkdtemp(), log="quiet")
        >>> int((heard.items["fate"] == "used").sum())
        15
    """
    from emoscope.experiments.stages import listen as hear

    refuse_other_than_model(model, "listen(model, corpus)", corpus)
    corpus = _opened(corpus)
    asked = several("emotions", emotions, 'emotions=["anger", "fear"]')
    wordings = wording if isinstance(wording, str) else several("wording", wording, 'wording="lettered"')
    study = Study(
        name=f"{Path(model.info.id).name}-{corpus.info.id}",
        seed=seed,
        model=Model(id=model.info.id),
        corpora=(CorpusChoice(id=corpus.info.id, emotions=asked, loudness=loudness, merge=_merge(merge)),),
        question=QuestionChoice(wording=wordings, letter_orders=letter_orders),
        identify=Identify(label=label, folds=folds, items_per_emotion=items_per_emotion, site=site),
        evaluate=Evaluate(items_per_emotion=items_per_emotion),
    )
    with in_words_of_a_call():
        study = _checked(study)
        if run is None:
            key = digest([msgspec.to_builtins(study), model.info.checksum, [clip.id for clip in corpus.clips]])
            run = Path("runs") / f"{study.name}-{key[:8]}"
        folder = RunFolder(run, create=True)
        clips = study_corpus(study, model.info.trained_on, corpus)
        listened = hear(Task(study, folder, Log(log, folder / "log.jsonl"), clips), model)
    return Heard(folder, listened.items, Activity.open(folder / "activity.zarr"), listened)


def select(
    heard: Heard,
    selector: str = "cas",
    *,
    budget: float | None = None,
    scope: str = "audio+answer",
    folds: str | int | None = None,
    items_per_emotion: int = 100,
    minimum: int = 30,
    matched: int = 10,
    random: int = 5,
    shuffled: int = 5,
) -> NeuronSets:
    """Find emotion-sensitive neurons, with their controls, from what was heard; the model is not needed.

    Args:
        heard: from :func:`listen`.
        selector: lap, lape, lape-original, mad, mad-z, mad-active, cas, or the name of your own.
        budget: share of all neurons per emotion; the model's recommended one by default.
        scope: positions that statistics count, joined by ``+``, or ``"all"``.
        folds: other folds than those of listening: a column or a number of speaker folds.
        items_per_emotion: correct clips per emotion and fold, at most.
        minimum: correct clips below which an emotion gets no set.
        matched: draws of matched controls.
        random: draws of random controls.
        shuffled: selections on labels shuffled within speaker.

    Returns:
        emotion -> neuron set fitted on all folds; ``.folds`` has those of each fold. An emotion with too few correct
        clips has none: a warning says which and why, and so does ``.lacking``.

    Raises:
        TypeError: something else than what :func:`listen` returned.
        ValueError: a budget, scope, selector or number that cannot be, or fewer than two emotions with enough clips.
    """
    _refuse_other_than_heard(heard, "select(heard)")
    listened, replace = heard._listened, msgspec.structs.replace
    before = listened.study.identify
    identify = replace(
        before,
        scope=scope,
        items_per_emotion=items_per_emotion,
        minimum=minimum,
        selectors=(selector,),
        budgets=(),
        folds=before.folds if folds is None else folds,
    )
    study = replace(
        listened.study,
        identify=identify,
        headline=replace(listened.study.headline, selector=selector, budget=budget),
        controls=Controls(matched=matched, random=random, shuffled=shuffled),
    )
    with in_words_of_a_call():
        study = _checked(checked_values(study).with_budget(listened.model.info.recommended_budget))
        items = heard.items
        if identify.folds != before.folds:
            assert listened.corpus is not None
            fold = study_folds(study, listened.corpus.clips, usual=listened.corpus.info.folds)
            items = items.with_columns(
                pl.col("clip").replace_strict(fold, default=None, return_dtype=pl.String).alias("fold")
            )
        task = dataclasses.replace(listened.task, study=study)
        mine = dataclasses.replace(listened, task=task, study=study, items=items)
        try:
            found = find_sets(mine.run, study, items)
        except NotIdentifiable as error:
            error.args = (told_without_sets(error, items),)
            raise
    sets = found.neuron_sets(found.frame.filter(pl.col("control") == "target")["set"][0])
    for emotion, why in sets.lacking.items():
        warnings.warn(f"no set for {emotion}: {why}", stacklevel=2)
    heard._selected.append((sets, Selected(mine, found)))
    return sets


def intervene(
    model: AudioLM,
    heard: Heard,
    sets: NeuronSets,
    *,
    alpha: float = 0.5,
    alphas: Sequence[float] = (),
    to: str | Sequence[str] = "zero",
    positions: Sequence[str] = (),
    agnostic: Sequence[str] = (),
    reliance: bool = False,
    generate: bool = False,
) -> Result:
    """Deactivate and steer neuron sets on the clips that did not find them, next to their controls.

    Args:
        model: the model that was heard.
        heard: from :func:`listen`.
        sets: from :func:`select` on the same ``heard``.
        alpha: steering strength of the headline.
        alphas: further steering strengths, none by default; below 0 (and above -1) neurons are weakened.
        to: to what neurons are deactivated: ``"zero"``, or ``"mean"`` (products to their mean) beside it, as what
            is claimed is deactivation to zero.
        positions: deactivate at these positions alone, too.
        agnostic: ways to steer without a label, such as ``"union"`` (see docs/method.md).
        reliance: also switch off all MLPs, each layer, and the union of the sets.
        generate: also generate text for baseline and headline conditions.

    Returns:
        effects with controls and intervals; tables and a report are in its run folder.

    Raises:
        ValueError: the sets were not selected from ``heard``, or another model was heard.
    """
    refuse_other_than_model(model, "intervene(model, heard, sets)", heard)
    _refuse_other_than_heard(heard, "intervene(model, heard, sets)")
    listened = heard._listened.model.info
    if model.info.checksum != listened.checksum:
        raise ValueError(f"{model.info.id} is not the model that was heard ({listened.id}): listen with it first")
    selected = next((selected for mine, selected in heard._selected if mine is sets), None)
    if selected is None:
        if not isinstance(sets, Mapping):
            raise TypeError(
                f"{told(sets)} stands where all sets are expected: pass what select(heard, ...) returned; one clip under "
                "one set is asked with ask(model, clip, under=...)"
            )
        raise ValueError("these sets were not selected from what was heard: pass what select(heard, ...) returned")
    mine, replace = selected.listened, msgspec.structs.replace
    study = replace(
        mine.study,
        headline=replace(mine.study.headline, alpha=alpha),
        interventions=Interventions(
            deactivate=tuple(
                dict.fromkeys(("zero", *((to,) if isinstance(to, str) else several("to", to, 'to="mean"'))))
            ),
            alphas=several("alphas", alphas, "alphas=[0.5]"),
            positions=several("positions", positions, 'positions=["audio"]'),
            agnostic=several("agnostic", agnostic, 'agnostic=["union"]'),
            reliance=reliance,
            generate=generate,
        ),
    )
    with in_words_of_a_call():
        act(dataclasses.replace(selected, listened=dataclasses.replace(mine, study=_checked(study))))
    return Result.of(mine.run)


def _checked(study: Study) -> Study:
    study = checked_values(study)
    check_study(study)
    return study


def _merge(merge: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]]:
    if merge is not None and not isinstance(merge, Mapping):
        raise TypeError(f"merge {told(merge)}: write new = old labels, as in {MERGE}")
    return {new: several(f"merge {new!r}:", old, MERGE) for new, old in (merge or {}).items()}


MERGE = 'merge={"happiness": ["happiness", "excitement"]}'


def _opened(corpus: object) -> Corpus:
    """A corpus, or a table as one."""
    if not isinstance(corpus, Corpus) and (isinstance(corpus, list) or hasattr(corpus, "columns")):
        corpus = open_corpus(corpus)
    if isinstance(corpus, Corpus):
        return corpus
    remedy = f"open_corpus({str(corpus)!r})" if isinstance(corpus, str | Path) else "what open_corpus returned"
    raise TypeError(f"{told(corpus)} stands where the corpus is expected: give {remedy}, as in listen(model, corpus)")


def _refuse_other_than_heard(heard: object, example: str) -> None:
    if not isinstance(heard, Heard):
        raise TypeError(
            f"{told(heard)} stands where what was heard is expected: give what listen(model, corpus) returned, as in {example}"
        )


def run(study: str | Path | Study, folder: str | Path | None = None, log: str = "bars") -> Result | WholeResult:
    """Run a study file from listening to report; what is already done is not done again.

    Args:
        study: a study file, or a :class:`Study`.
        folder: the run folder; ``runs/<name>`` by default.
        log: ``"bars"``, ``"json"`` or ``"quiet"``.
    """
    if not isinstance(study, Study | str | Path):
        raise TypeError(
            f"{told(study)} is no study: give a study file (emoscope study new writes one), or use listen, select, intervene"
        )
    with in_words_of_a_call("folder"):
        asked = study if isinstance(study, Study) else read_study(study)
        place = RunFolder(folder or Path("runs") / asked.name, create=True)
        done = run_study(asked, place.path, Log(log, place / "log.jsonl"))
    return WholeResult.of(done) if has_parts(asked) else Result.of(done)


def reselect(
    run: str | Path,
    selector: str = "cas",
    budget: float | None = None,
    scope: str | None = None,
    out: str | Path | None = None,
) -> FoundSets:
    """Find the sets of one selector in a run folder and save them.

    Args:
        run: a run folder that has been listened to.
        selector: lap, lape, lape-original, mad, mad-z, mad-active, cas, or the name of your own.
        budget: share of all neurons per emotion; the run's own by default.
        scope: positions that count; the run's own by default.
        out: folder for the sets; ``<run>/sets`` by default.
    """
    refuse_whole(run)
    folder = RunFolder(run)
    study = read_study(folder / "study.toml")
    if budget is None:
        manifest = folder.read_json("manifest.json") or {}
        budget = manifest.get("headline", {}).get("budget") or study.headline.budget
    if budget is None:
        budget = study.card().recommended_budget
    replace = msgspec.structs.replace
    study = replace(
        study,
        identify=replace(
            study.identify, selectors=(selector,), budgets=(budget,), sizes=(), scope=scope or study.identify.scope
        ),
        headline=replace(study.headline, selector=selector, budget=budget),
        controls=Controls(matched=0, random=0, shuffled=0),
    )
    check_study(study, str(folder / "study.toml"))
    found = find_sets(folder, study, folder.read_table("items"))
    found.save_sets(Path(out) if out else folder / "sets")
    return found
