"""The study in three calls: listen, select, intervene, each result a value to look at."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl
from msgspec.structs import replace

from emoscope.corpora import Corpus, open_corpus
from emoscope.experiments import schema
from emoscope.experiments.ask import refuse_other_than_model, several
from emoscope.experiments.engine import run_study
from emoscope.experiments.items import study_corpus, study_folds
from emoscope.experiments.parts import has_parts
from emoscope.experiments.pilot import told_without_sets
from emoscope.experiments.registration import take_registration
from emoscope.experiments.result import Result, StudyResult
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.stages import Listened, Selected, Task, act, find_sets
from emoscope.experiments.stages import listen as hear
from emoscope.experiments.study import check_study, read_study
from emoscope.interventions.intervention import told
from emoscope.neurons.activity import Activity
from emoscope.neurons.selection import NotIdentifiable
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import digest

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.sets import NeuronSets


@dataclass
class Heard:
    """What a model answered and what its neurons did, for every clip of a corpus."""

    run: RunFolder
    items: pl.DataFrame
    activity: Activity
    _listened: Listened
    _selected: list[tuple[NeuronSets, Selected]] = field(default_factory=list)

    @property
    def accuracy(self) -> dict[str, float]:
        """Share of right baseline answers per emotion."""
        used = self.items.filter(pl.col("status") == "used")
        return dict(used.group_by("truth", maintain_order=True).agg(pl.col("correct").mean()).iter_rows())

    @property
    def uar(self) -> float:
        """Unweighted average recall of the baseline answers; chance is 1 / options."""
        recalls = list(self.accuracy.values())
        return sum(recalls) / len(recalls)

    def __repr__(self) -> str:
        used = int((self.items["status"] == "used").sum())
        options = len(self.items["options"].drop_nulls()[0])
        return f"Heard({used} items, UAR {self.uar:.3f}, chance {1 / options:.3f}, in {self.run.path})"

    def _repr_html_(self) -> str:
        recalls = sorted(self.accuracy.items())
        rows = "".join(f"<tr><td>{emotion}</td><td>{value:.2f}</td></tr>" for emotion, value in recalls)
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
        corpus: from ``open_corpus``, or what it takes for a table (a data frame, or a list of dictionaries whose
            ``"audio"`` is a file or ``(samples, rate)``); clips on which the model was trained are excluded.
        wording: a key of ``questions.WORDINGS``, or several: every clip is asked in each of them.
        letter_orders: letter orders asked per clip, or ``"all"``.
        folds: cross-fitting folds: a column, or a number of speaker folds.
        items_per_emotion: clips per emotion after which listening may stop.
        loudness: ``"normalised"`` or ``"as recorded"``.
        site: where activations are read: ``"gate"``, or ``"product"`` (after the product with up_proj).
        run: folder to keep it in; ``runs/<model>-<corpus>-<key>`` by default. A second call re-uses it.

    Example:
        >>> import emoscope as es
        >>> polish = es.open_corpus("polish").where({"take": [3], "word": ["nie"]})
        >>> import tempfile
        >>> heard = es.listen(es.load_model("tiny"), polish, run=tempfile.mkdtemp(), log="quiet")
        >>> int((heard.items["status"] == "used").sum())
        15
    """
    refuse_other_than_model(model, "listen(model, corpus)", corpus)
    corpus = _opened(corpus)
    asked = several("emotions", emotions, 'emotions=["anger", "fear"]')
    wordings = wording if isinstance(wording, str) else several("wording", wording, 'wording="lettered"')
    study = Study(
        name=f"{Path(model.info.id).name}-{corpus.info.id}",
        seed=seed,
        model=schema.Model(id=model.info.id),
        corpora=(schema.CorpusChoice(id=corpus.info.id, emotions=asked, loudness=loudness, merge=_merge(merge)),),
        question=schema.QuestionChoice(wording=wordings, letter_orders=letter_orders),
        identify=schema.Identify(label=label, folds=folds, items_per_emotion=items_per_emotion, site=site),
        evaluate=schema.Evaluate(items_per_emotion=items_per_emotion),
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
    orthogonal: int = 19,
) -> NeuronSets:
    """Find emotion-sensitive neurons, with their controls, from what was heard; the model is not needed.

    Args:
        selector: lap, lape, lape-original, mad, mad-z, mad-active, cas, or the name of your own.
        budget: share of all neurons per emotion; the model's recommended one by default.
        scope: positions that statistics count, joined by ``+``, or ``"all"``.
        folds: other folds than those of listening: a column or a number of speaker folds.
        items_per_emotion: correct clips per emotion and fold, at most.
        minimum: correct clips below which an emotion gets no set.
        shuffled: selections on labels shuffled within speaker.
        orthogonal: selections on names over which every label is spread evenly.

    Returns:
        emotion -> neuron set fitted on all folds; ``.folds`` has those of each fold. An emotion with too few correct
        clips has none: a warning says which and why, and so does ``.lacking``.

    Raises:
        TypeError: something else than what :func:`listen` returned.
        ValueError: a budget, scope, selector or number that cannot be, or fewer than two emotions with enough clips.
    """
    _refuse_other_than_heard(heard, "select(heard)")
    listened, before = heard._listened, heard._listened.study.identify
    counts = {"items_per_emotion": items_per_emotion, "minimum": minimum}
    folds = before.folds if folds is None else folds
    identify = replace(before, scope=scope, selectors=(selector,), budgets=(), folds=folds, **counts)
    study = replace(
        listened.study,
        identify=identify,
        headline=replace(listened.study.headline, selector=selector, budget=budget),
        controls=schema.Controls(matched=matched, random=random, shuffled=shuffled, orthogonal=orthogonal),
    )
    with in_words_of_a_call():
        study = _checked(study, listened.model.info.recommended_budget)
        items = heard.items
        if identify.folds != before.folds:
            fold = study_folds(study, listened.corpus.clips, usual=listened.corpus.info.folds)
            items = items.with_columns(fold=pl.col("clip").replace_strict(fold, default=None, return_dtype=pl.String))
        task = dataclasses.replace(listened.task, study=study)
        updated = dataclasses.replace(listened, task=task, study=study, items=items)
        try:
            found = find_sets(updated.run, study, items)
        except NotIdentifiable as error:
            error.args = (told_without_sets(error, items),)
            raise
    sets = found.neuron_sets(found.frame.filter(pl.col("control") == "target")["set"][0])
    for emotion, why in sets.lacking.items():
        warnings.warn(f"no set for {emotion}: {why}", stacklevel=2)
    heard._selected.append((sets, Selected(updated, found)))
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
        alpha: steering strength of the headline.
        alphas: further steering strengths, none by default; below 0 (and above -1) neurons are weakened.
        to: to what neurons are deactivated: ``"zero"``, or ``"mean"`` (products to their mean) beside it, as what
            is claimed is deactivation to zero.
        positions: deactivate at these positions alone, too.
        agnostic: ways to steer without a label, such as ``"union"`` (see docs/method.md).
        reliance: also switch off all MLPs, each layer, and the union of the sets.
        generate: also generate text for baseline and headline conditions.

    Raises:
        ValueError: the sets were not selected from ``heard``, or another model was heard.
    """
    refuse_other_than_model(model, "intervene(model, heard, sets)", heard)
    _refuse_other_than_heard(heard, "intervene(model, heard, sets)")
    before = heard._listened.model.info
    if model.info.checksum != before.checksum:
        raise ValueError(f"{model.info.id} is not the model that was heard ({before.id}): listen with it first")
    selected = next((selected for known, selected in heard._selected if known is sets), None)
    if selected is None:
        if not isinstance(sets, Mapping):
            raise TypeError(
                f"{told(sets)} stands where all sets are expected: pass what select(heard, ...) returned; one clip under "
                "one set is asked with ask(model, clip, under=...)"
            )
        raise ValueError("these sets were not selected from what was heard: pass what select(heard, ...) returned")
    listened = selected.listened
    set_to = (to,) if isinstance(to, str) else several("to", to, 'to="mean"')
    study = replace(
        listened.study,
        headline=replace(listened.study.headline, alpha=alpha),
        interventions=schema.Interventions(
            deactivate=tuple(dict.fromkeys(("zero", *set_to))),
            alphas=several("alphas", alphas, "alphas=[0.5]"),
            positions=several("positions", positions, 'positions=["audio"]'),
            agnostic=several("agnostic", agnostic, 'agnostic=["union"]'),
            reliance=reliance,
            generate=generate,
        ),
    )
    with in_words_of_a_call():
        act(dataclasses.replace(selected, listened=dataclasses.replace(listened, study=_checked(study))))
    return Result.of(listened.run)


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


def run(study: str | Path | Study, folder: str | Path | None = None, log: str = "bars") -> Result | StudyResult:
    """Run a study file from listening to report; what is already done is not done again.

    A registration beside the file (``emoscope preregister``) is kept in the folder and compared with what is run.
    """
    if not isinstance(study, Study | str | Path):
        raise TypeError(
            f"{told(study)} is no study: give a study file (emoscope study new writes one), or use listen, select, intervene"
        )
    with in_words_of_a_call("folder"):
        asked = study if isinstance(study, Study) else read_study(study)
        place = RunFolder(folder or Path("runs") / asked.name, create=True)
        take_registration(place, None if isinstance(study, Study) else Path(study))
        done = run_study(asked, place.path, Log(log, place / "log.jsonl"))
    return StudyResult.of(done) if has_parts(asked) else Result.of(done)


FIELDS = re.compile(r"\b(?:corpora|question|identify|evaluate|headline|interventions|controls)\.(?=[a-z])")
"""The section before a field of a study file: arguments have the field's name alone."""


@contextmanager
def in_words_of_a_call(folder: str = "run") -> Iterator[None]:
    """Let errors name arguments, where they would name fields of a study file or options of the command line.

    Args:
        folder: the argument that names the run folder; ``"folder"`` where there is a study file, whose fields stay.

    Example:
        >>> with in_words_of_a_call():
        ...     raise ValueError("study: headline.budget 3 is too much; choose another folder with --out")
        Traceback (most recent call last):
        ...
        ValueError: budget 3 is too much; choose another folder with run=
    """
    try:
        yield
    except Exception as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            text = error.args[0].replace("or delete this run with --fresh", "or delete that one")
            text = text.replace("--out", f"{folder}=")
            if folder == "run":
                text = text.removeprefix("study: ").replace("interventions.deactivate", "to")
                text = FIELDS.sub("", text).replace("[identify] ", "")
            error.args = (text,)
        raise


def _checked(study: Study, recommended: float | None = None) -> Study:
    """A study whose fields have the types and ranges of a study file, its budgets filled in where one is recommended."""
    plain = msgspec.to_builtins(study)
    try:
        study = msgspec.convert(plain, Study)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        place = re.findall(r"[^.\[\]`]+", path)
        value: object = plain
        for part in place:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list | tuple) and part.isdecimal():
                value = value[int(part)]
        name = ".".join(part for part in place if not part.isdecimal() and part != "...")
        raise StudyError(f"{name} {value!r}: {what[0].lower()}{what[1:]}") from None
    study = study if recommended is None else study.with_budget(recommended)
    check_study(study)
    return study
