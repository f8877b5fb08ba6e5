"""The study in three calls: listen, select, intervene, each result a value to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.experiments.study import (
    Controls,
    CorpusChoice,
    Evaluate,
    Identify,
    Interventions,
    Model,
    QuestionChoice,
    Study,
    check_study,
    read_study,
)  # fmt: skip
from emoscope.runs import Log, RunFolder
from emoscope.runs.unit import digest

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus
    from emoscope.experiments.pipeline import Pipeline
    from emoscope.interventions.intervention import Intervention
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.activity import Activity
    from emoscope.neurons.neuron_set import NeuronSets


BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven basic emotions: the options where none are given."""


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


@dataclass
class Result:
    """Effects of interventions with their controls and intervals.

    Attributes:
        run: the run folder; tables and report.html are in it.
        selector: whose sets were tested.
    """

    run: RunFolder
    selector: str

    @property
    def gap(self) -> dict[str, Any]:
        """Deactivation: mean effect on the selected emotions minus mean effect on the others, in points."""
        return self._measure("gap")

    @property
    def excess_gap(self) -> dict[str, Any]:
        """The gap beyond that of matched controls, in points."""
        return self._measure("excess_gap")

    def to_frame(self) -> pl.DataFrame:
        """All effects: one row a measure and family of sets."""
        return self.run.read_table("tables/effects")

    def plot(self) -> Any:
        """The effect matrix next to that of matched controls, an Altair chart."""
        from emoscope.report.page import main_figure

        return main_figure(self.run.path)

    def _measure(self, name: str) -> dict[str, Any]:
        import polars as pl

        rows = self.to_frame().filter(
            (pl.col("kind") == "deactivate") & (pl.col("control") == "target") & (pl.col("selector") == self.selector)
            & (pl.col("measure") == name) & (pl.col("positions") == "all")
        )  # fmt: skip
        return {key: rows[key][0] for key in ("estimate", "low", "high", "speakers")}

    def __repr__(self) -> str:
        parts = []
        for name in ("gap", "excess_gap"):
            m = self._measure(name)
            span = "no interval below 5 speakers" if m["low"] is None else f"95 % {m['low']:.1f} to {m['high']:.1f}"
            parts.append(f"{name.replace('_', ' ')} {m['estimate']:.1f} points ({span})")
        return f"Result({self.selector} deactivated: {'; '.join(parts)}; in {self.run.path})"


def listen(
    model: AudioLM,
    corpus: Corpus,
    *,
    label: str = "emotion",
    emotions: Sequence[str] = (),
    merge: Mapping[str, Sequence[str]] | None = None,
    wording: str = "lettered",
    letter_orders: int | str = 1,
    folds: str | int = "speaker",
    items_per_emotion: int = 150,
    loudness: str = "normalised",
    seed: int = 0,
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
        wording: a key of ``questions.WORDINGS``.
        letter_orders: letter orders asked per clip, or ``"all"``.
        folds: cross-fitting folds: a column, or a number of speaker folds.
        items_per_emotion: clips per emotion after which listening may stop.
        loudness: ``"normalised"`` or ``"as recorded"``.
        seed: of every random choice.
        run: folder to keep it in; ``runs/<model>-<corpus>-<key>`` by default. A second call re-uses it.
        log: ``"bars"``, ``"json"`` or ``"quiet"``.

    Example:
        >>> import emoscope as es
        >>> polish = es.open_corpus("polish").where({"take": [3], "word": ["nie"]})
        >>> import tempfile
        >>> heard = es.listen(es.load_model("tiny"), polish, run=tempfile.mkdtemp(), log="quiet")
        >>> len(heard.items)
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
        question=QuestionChoice(wording=wording, letter_orders=letter_orders),
        identify=Identify(label=label, folds=folds, items_per_emotion=items_per_emotion),
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
        selector: lap, lape, mad or cas.
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

    from emoscope.corpora import assign_folds

    pipeline = heard._pipeline
    replace = msgspec.structs.replace
    study = pipeline.study
    pipeline.study = replace(
        study,
        identify=replace(study.identify, scope=scope, items_per_emotion=items_per_emotion, minimum=minimum,
                         selectors=(selector,), budgets=(), folds=folds if folds is not None else study.identify.folds),
        headline=replace(study.headline, selector=selector, budget=budget),
        controls=Controls(matched=matched, random=random, shuffled=shuffled),
    ).with_budget(pipeline.loaded().info.recommended_budget)  # fmt: skip
    check_study(pipeline.study)
    if folds is not None and folds != study.identify.folds:
        assert pipeline.corpus is not None
        fold = assign_folds(pipeline.corpus.clips, folds, study.seed)
        heard.items = heard.items.with_columns(
            pl.col("clip").replace_strict(fold, default=None, return_dtype=pl.String).alias("fold")
        )
        pipeline._items = heard.items
        pipeline.run.write_table("items", heard.items)
    found = pipeline.select()
    pipeline.found = found
    return found.neuron_sets(found.frame.filter(pl.col("control") == "target")["set"][0])


def intervene(
    model: AudioLM,
    heard: Heard,
    sets: NeuronSets,
    *,
    alpha: float = 0.5,
    alphas: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    positions: Sequence[str] = (),
    reliance: bool = False,
    generate: bool = False,
) -> Result:
    """Deactivate and steer neuron sets on the clips that did not find them, next to their controls.

    Args:
        model: the model that was heard.
        heard: from :func:`listen`.
        sets: from :func:`select` on the same ``heard``.
        alpha: steering strength of the headline.
        alphas: further steering strengths.
        positions: deactivate at these positions alone, too.
        reliance: also switch off all MLPs, each layer, and the union of the sets.
        generate: also generate text for baseline and headline conditions.

    Returns:
        effects with controls and intervals; tables and a report are in its run folder.

    Raises:
        ValueError: the sets are not the last ones selected from ``heard``, or another model was heard.
    """
    from emoscope.analysis.tables import write_tables
    from emoscope.report.page import build_report

    pipeline = heard._pipeline
    if model.info.checksum != pipeline.loaded().info.checksum:
        raise ValueError(
            f"{model.info.id} is not the model that was heard ({pipeline.loaded().info.id}): listen with it first"
        )
    card = next(iter(sets.values())).meta
    head = pipeline.study.headline
    if pipeline.found is None or (card.get("selector"), card.get("budget")) != (head.selector, head.budget):
        raise ValueError("these sets are not the last ones selected from what was heard: call select(heard, ...) again")
    replace = msgspec.structs.replace
    pipeline.study = replace(
        pipeline.study,
        headline=replace(head, alpha=alpha),
        interventions=Interventions(
            alphas=tuple(alphas), positions=tuple(positions), reliance=reliance, generate=generate
        ),
    )
    check_study(pipeline.study)
    pipeline.intervene(pipeline.found)
    pipeline.run.write_json("manifest.json", pipeline.manifest(pipeline.found))
    build_report(pipeline.run.path, write_tables(pipeline.run.path))
    return Result(pipeline.run, head.selector)


def ask(
    model: AudioLM,
    clip: str | Path,
    *,
    options: Sequence[str] = (),
    under: Intervention | None = None,
    label: str = "emotion",
    wording: str = "lettered",
    loudness: str = "normalised",
) -> dict[str, float]:
    """Ask which emotion one sound file expresses.

    Args:
        model: from ``load_model`` or ``wrap``.
        clip: a sound file.
        options: labels to choose from; the seven basic emotions by default.
        under: an intervention, such as ``steer(sets["anger"], 1.0)``.
        label: the label column that is asked.
        wording: a key of ``questions.WORDINGS``.
        loudness: ``"normalised"`` or ``"as recorded"``.

    Returns:
        option -> probability among the options, most probable first.

    Example:
        >>> import emoscope as es
        >>> from emoscope.corpora import polish_folder
        >>> answer = es.ask(es.load_model("tiny"), polish_folder() / "m1.a_nie_3.flac", options=("anger", "fear", "neutral"))
        >>> abs(sum(answer.values()) - 1) < 1e-9
        True
    """
    import contextlib

    import numpy as np

    from emoscope.corpora.audio import load_audio
    from emoscope.models.audio_lm import Request
    from emoscope.questions import Question

    options = tuple(options) or BASIC
    question = Question(label, options, wording)
    prepared = model.prepare([Request(load_audio(clip, loudness), question.text, question.letters)])
    with model.under(under) if under is not None else contextlib.nullcontext():
        score = model.score(prepared)[0]
    share = np.exp(score.logp - np.logaddexp.reduce(score.logp))
    return dict(sorted(zip(options, map(float, share), strict=True), key=lambda pair: -pair[1]))


def run(study: str | Path | Study, folder: str | Path | None = None, log: str = "bars") -> Result:
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
    return Result(done, asked.headline.selector)
