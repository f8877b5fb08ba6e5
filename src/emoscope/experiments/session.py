"""The study in three calls: listen, select, intervene, each result a value to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from emoscope.experiments.parts import has_parts
from emoscope.experiments.result import Result, WholeResult
from emoscope.experiments.sides import study_folds
from emoscope.experiments.study import (
    Controls,
    CorpusChoice,
    Evaluate,
    Identify,
    Interventions,
    Model,
    QuestionChoice,
    Study,
    read_study,
)  # fmt: skip
from emoscope.experiments.study_checks import check_study
from emoscope.runs import Log, RunFolder
from emoscope.runs.unit import digest

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus
    from emoscope.experiments.pipeline import Pipeline
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.activity import Activity
    from emoscope.neurons.neuron_set import NeuronSets
    from emoscope.neurons.selection import FoundSets


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
    _pipeline: Pipeline
    _selected: list[tuple[NeuronSets, Pipeline, FoundSets]] = field(default_factory=list)

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
    corpus: Corpus,
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
        corpus: from ``open_corpus``; clips on which the model was trained are excluded.
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
    from emoscope.experiments.pipeline import Pipeline
    from emoscope.neurons.activity import Activity

    study = Study(
        name=f"{Path(model.info.id).name}-{corpus.info.id}",
        seed=seed,
        model=Model(id=model.info.id),
        corpora=(CorpusChoice(id=corpus.info.id, emotions=tuple(emotions), loudness=loudness,
                              merge={new: tuple(old) for new, old in (merge or {}).items()}),),
        question=QuestionChoice(wording=wording if isinstance(wording, str) else tuple(wording), letter_orders=letter_orders),
        identify=Identify(label=label, folds=folds, items_per_emotion=items_per_emotion, site=site),
        evaluate=Evaluate(items_per_emotion=items_per_emotion),
    )  # fmt: skip
    check_study(study)
    if run is None:
        key = digest([msgspec.to_builtins(study), model.info.checksum, [clip.id for clip in corpus.clips]])
        run = Path("runs") / f"{study.name}-{key[:8]}"
    folder = RunFolder(run, create=True)
    pipeline = Pipeline(study, folder, Log(log, folder / "log.jsonl"), model, corpus)
    items = pipeline.listen()
    return Heard(folder, items, Activity.open(folder / "activity.zarr"), pipeline)


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
        emotion -> neuron set fitted on all folds; ``.folds`` has those of each fold.
    """
    import polars as pl

    pipeline = heard._pipeline
    replace = msgspec.structs.replace
    study = pipeline.study
    study = replace(
        study,
        identify=replace(study.identify, scope=scope, items_per_emotion=items_per_emotion, minimum=minimum,
                         selectors=(selector,), budgets=(), folds=folds if folds is not None else study.identify.folds),
        headline=replace(study.headline, selector=selector, budget=budget),
        controls=Controls(matched=matched, random=random, shuffled=shuffled),
    ).with_budget(pipeline.loaded().info.recommended_budget)  # fmt: skip
    check_study(study)
    items = heard.items
    if study.identify.folds != pipeline.study.identify.folds:
        assert pipeline.corpus is not None
        fold = study_folds(study, pipeline.corpus.clips, usual=pipeline.corpus.info.folds)
        items = items.with_columns(
            pl.col("clip").replace_strict(fold, default=None, return_dtype=pl.String).alias("fold")
        )
    # a pipeline of its own: what was selected before stays as it is, also when this selection fails
    mine = dataclasses.replace(pipeline, study=study, known_items=items)
    found = mine.find_sets()
    sets = found.neuron_sets(found.frame.filter(pl.col("control") == "target")["set"][0])
    heard._selected.append((sets, mine, found))
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
    pipeline = heard._pipeline
    if model.info.checksum != pipeline.loaded().info.checksum:
        raise ValueError(
            f"{model.info.id} is not the model that was heard ({pipeline.loaded().info.id}): listen with it first"
        )
    selected = next((one for one in heard._selected if one[0] is sets), None)
    if selected is None:
        raise ValueError("these sets were not selected from what was heard: pass what select(heard, ...) returned")
    _, mine, found = selected
    replace = msgspec.structs.replace
    mine.study = replace(
        mine.study,
        headline=replace(mine.study.headline, alpha=alpha),
        interventions=Interventions(
            deactivate=tuple(dict.fromkeys(("zero", *((to,) if isinstance(to, str) else to)))),
            alphas=tuple(alphas),
            positions=tuple(positions),
            agnostic=tuple(agnostic),
            reliance=reliance,
            generate=generate,
        ),
    )
    check_study(mine.study)
    mine.test(found)
    return Result.of(mine.run)


def run(study: str | Path | Study, folder: str | Path | None = None, log: str = "bars") -> Result | WholeResult:
    """Run a study file from listening to report; what is already done is not done again.

    Args:
        study: a study file, or a :class:`Study`.
        folder: the run folder; ``runs/<name>`` by default.
        log: ``"bars"``, ``"json"`` or ``"quiet"``.
    """
    from emoscope.experiments.pipeline import run_study

    asked = study if isinstance(study, Study) else read_study(study)
    place = RunFolder(folder or Path("runs") / asked.name, create=True)
    done = run_study(asked, place.path, Log(log, place / "log.jsonl"))
    return WholeResult.of(done) if has_parts(asked) else Result.of(done)
