"""What a trained folder can do on EmoGator speakers 201-225: accuracy, what its MLPs carry, and quick effects.

    python -m recipes.tiny.check --model FOLDER --features OUT/features [--quick] [--out FILE.json]

These are development figures, to choose a recipe by. The speakers are split into two halves; neurons are chosen on
one half and tried on the other, and the two results are pooled.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from . import hearing
from .features import Features
from .hearing import Activity, Asked, Model
from .tokenizer import EMOTIONS, Prompts

BUDGET = 0.05
HALVES = (range(201, 213), range(213, 226))
ALPHAS = (0.5, 1.0, 2.0)
SELECTORS = ("mad", "cas", "lape", "lap")
Sets = list[npt.NDArray[np.int64]]


def uar(answers: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Unweighted average recall: the mean over emotions of the share answered rightly."""
    return float(np.mean([(answers[truth == e] == e).mean() for e in range(len(EMOTIONS))]))


def skills(model: Model, prompts: Prompts, clips: Features) -> dict[str, float]:
    """UAR with letters, with one word and from text hints, and with all MLPs off (everywhere, at the sound)."""
    off = torch.zeros(len(model.model.language_model.layers), model.config.text_config.intermediate_size)
    letters = hearing.ask_letters(prompts, clips, seed=1)
    words = hearing.ask_one_word(prompts, clips)
    hints = hearing.ask_letters(prompts, clips, seed=1, as_text=True)
    rows = {
        "letters": (letters, None, "all"),
        "one word": (words, None, "all"),
        "text hints": (hints, None, "all"),
        "letters, MLPs off": (letters, off, "all"),
        "letters, MLPs off at the sound": (letters, off, "audio"),
        "one word, MLPs off": (words, off, "all"),
        "one word, MLPs off at the sound": (words, off, "audio"),
        "text hints, MLPs off": (hints, off, "all"),
    }
    return {
        name: uar(hearing.answer(model, prompts, asked, gains, where).written, asked.truth)
        for name, (asked, gains, where) in rows.items()
    }


def linear_probe(train: Features, test: Features) -> float:
    """UAR of a logistic regression on each clip's mean and spread of the frozen encoder frames."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def table(clips: Features) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        known = [i for i, clip in enumerate(clips.clips) if clip.speed == 1.0]
        frames = [clips.frames[i].astype(np.float32) for i in known]
        pooled = np.array([np.concatenate([one.mean(0), one.std(0)]) for one in frames])
        return pooled, np.array([EMOTIONS.index(clips.clips[i].emotion) for i in known])

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    probe.fit(*table(train))
    inputs, truth = table(test)
    return uar(probe.predict(inputs), truth)


def select(activity: Activity, truth: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_], how: str, size: int) -> Sets:
    """Choose ``size`` neurons for each emotion.

    ``truth`` is each item's emotion, ``kept`` says which items to use (those answered rightly), ``how`` is
    ``"mad"``, ``"cas"``, ``"lape"`` or ``"lap"``.
    """
    use = [kept & (truth == e) for e in range(len(EMOTIONS))]
    count = min(int(rows.sum()) for rows in use)
    use = [np.flatnonzero(rows)[:count] for rows in use]  # as many items of each emotion
    frequency = np.stack([activity.fired[rows].sum(0) / activity.positions[rows].sum() for rows in use])
    mean = np.stack([activity.total[rows].sum(0) / activity.positions[rows].sum() for rows in use])
    ordered = np.sort(frequency, axis=0)
    is_largest = frequency == ordered[-1]
    if how == "lap":
        scores = frequency
    elif how == "mad":
        scores = mean - (mean.sum(0) - mean) / (len(EMOTIONS) - 1)
    elif how == "cas":
        margin = ordered[-1] - ordered[-2]
        scores = np.where(is_largest & (margin > 0), margin, -np.inf)
    else:
        share = frequency / np.maximum(frequency.sum(0), 1e-12)
        entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(0)
        bar = np.quantile(frequency, 0.95)
        scores = np.where(is_largest & (ordered[-1] > bar), -entropy, -np.inf)
    best = [np.argsort(-score, kind="stable")[:size] for score in scores]
    return [chosen[np.isfinite(score[chosen])] for chosen, score in zip(best, scores, strict=True)]


def like(sets: Sets, layers: int, neurons: int, seed: int) -> Sets:
    """Random sets with as many neurons in each layer as these have."""
    rng = np.random.default_rng(seed)
    drawn = []
    for chosen in sets:
        counts = np.bincount(chosen // neurons, minlength=layers)
        drawn.append(
            np.concatenate([i * neurons + rng.choice(neurons, k, replace=False) for i, k in enumerate(counts)])
        )
    return drawn


def effect(before: npt.NDArray, after: npt.NDArray, truth: npt.NDArray, kind: str) -> npt.NDArray[np.float64]:
    """Effect matrix (set of emotion m, items of emotion e), in points.

    ``before`` holds answers (item,), ``after`` answers (emotion m, item). ``kind`` is ``"accuracy"``, or ``"pull"``
    for changes of the share answered m.
    """
    wanted = truth if kind == "accuracy" else np.arange(len(EMOTIONS))[:, None]
    change = 100.0 * ((after == wanted).astype(float) - (before == wanted))
    return np.stack([change[:, truth == e].mean(1) for e in range(len(EMOTIONS))], axis=1)


def diagonal_and_rest(matrix: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Means of an effect matrix on its diagonal and off it."""
    on = np.eye(len(matrix), dtype=bool)
    return float(matrix[on].mean()), float(matrix[~on].mean())


def effects(model: Model, prompts: Prompts, clips: Features, quick: bool) -> dict[str, dict[str, float | list[int]]]:
    """Cross-fitted effects of the 5 % sets, one row per selector, scope and gain; with layer-matched random sets."""
    text = model.config.text_config
    layers, neurons = text.num_hidden_layers, text.intermediate_size
    size = round(BUDGET * layers * neurons)
    folds = []
    for own, other in (HALVES, HALVES[::-1]):
        tried = hearing.ask_letters(prompts, _speakers(clips, other), seed=2)
        known = [hearing.ask_letters(prompts, _speakers(clips, own), seed=seed) for seed in (3, 4)]
        folds.append((tried, hearing.answer(model, prompts, tried).chosen, known))
    right = [[hearing.answer(model, prompts, a).chosen == a.truth for a in known] for _, _, known in folds]
    truth = np.concatenate([tried.truth for tried, _, _ in folds])
    speaker = np.concatenate([tried.speaker for tried, _, _ in folds])
    before = np.concatenate([answers for _, answers, _ in folds])
    heard = {
        scope: [[hearing.listen(model, prompts, a, scope) for a in known] for _, _, known in folds]
        for scope in ("all", "audio")
    }

    def sets(fold: int, how: str, scope: str) -> Sets:
        parts, known = heard[scope][fold], folds[fold][2]
        joined = Activity(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("fired", "total", "positions")))
        return select(joined, np.concatenate([a.truth for a in known]), np.concatenate(right[fold]), how, size)

    def row(how: str, scope: str, gain: float, matched: int | None = None, where: str = "all") -> dict:
        after, layer_counts, filled = [], np.zeros(layers, int), []
        for fold, (tried, _, _) in enumerate(folds):
            chosen = sets(fold, how, scope)
            if matched is not None:
                chosen = like(chosen, layers, neurons, seed=100 * matched + fold)
            layer_counts += sum(np.bincount(one // neurons, minlength=layers) for one in chosen)
            filled += [len(one) for one in chosen]
            after.append(_under(model, prompts, tried, chosen, gain, (layers, neurons), where))
        answers = np.concatenate(after, axis=1)
        make = partial(_summary, before, answers, truth)
        result = make(np.ones(len(truth), bool))
        without = [make(speaker != one)["gap"] for one in np.unique(speaker)]
        spread = np.array(without) - np.mean(without)
        result["gap error"] = float(np.sqrt((len(spread) - 1) * np.mean(spread**2)))
        return result | {"layers": layer_counts.tolist(), "smallest set": min(filled)}

    table = {"mad all, off": row("mad", "all", 0.0), "cas all, off": row("cas", "all", 0.0)}
    for how in ("mad", "cas"):
        for alpha in ALPHAS:
            table[f"{how} all, alpha {alpha}"] = row(how, "all", 1 + alpha)
    if not quick:
        for how in ("lape", "lap"):
            table[f"{how} all, off"] = row(how, "all", 0.0)
            table[f"{how} all, alpha 1.0"] = row(how, "all", 2.0)
        for how in ("mad", "cas"):
            table[f"{how} audio, off"] = row(how, "audio", 0.0)
            table[f"{how} audio, alpha 1.0"] = row(how, "audio", 2.0)
            table[f"{how} all, off at the sound only"] = row(how, "all", 0.0, where="audio")
        for draw in range(3):
            table[f"layer-matched {draw}, off"] = row("mad", "all", 0.0, draw)
            table[f"layer-matched {draw}, alpha 1.0"] = row("mad", "all", 2.0, draw)
    return table


def _under(
    model: Model, prompts: Prompts, asked: Asked, sets: Sets, gain: float, shape: tuple[int, int], where: str
) -> npt.NDArray[np.int64]:
    """Answers (emotion, item) with each emotion's set scaled by ``gain``."""
    rows = []
    for chosen in sets:
        gains = torch.ones(shape)
        gains.view(-1)[torch.from_numpy(chosen)] = gain
        rows.append(hearing.answer(model, prompts, asked, gains, where).chosen)
    return np.stack(rows)


def _summary(
    before: npt.NDArray, after: npt.NDArray, truth: npt.NDArray, kept: npt.NDArray[np.bool_]
) -> dict[str, float]:
    accuracy = effect(before[kept], after[:, kept], truth[kept], "accuracy")
    pull = effect(before[kept], after[:, kept], truth[kept], "pull")
    own, cross = diagonal_and_rest(accuracy)
    return {
        "self": own,
        "cross": cross,
        "gap": own - cross,
        "pull on others": diagonal_and_rest(pull)[1],
        "pull": float(pull.mean()),
        "uar change": float(accuracy.mean()),
    }


def _speakers(clips: Features, speakers: range) -> Features:
    kept = [i for i, clip in enumerate(clips.clips) if int(clip.speaker) in speakers]
    return replace(clips, clips=tuple(clips.clips[i] for i in kept), frames=tuple(clips.frames[i] for i in kept))


def check(folder: Path, features: Path, quick: bool = False) -> dict[str, object]:
    """All development figures of a folder."""
    model, prompts = hearing.load(folder)
    development = Features.load(features / "development")
    result: dict[str, object] = {"uar": skills(model, prompts, development)}
    if not quick:
        result["linear probe"] = linear_probe(Features.load(features / "emogator"), development)
    return result | {"effects": effects(model, prompts, development, quick)}


def show(result: dict) -> str:
    """The figures as text."""
    lines = [f"{name:36} {value:.3f}" for name, value in result["uar"].items()]
    if "linear probe" in result:
        lines.append(f"{'linear probe':36} {result['linear probe']:.3f}")
    lines.append(f"{'':32}{'self':>7}{'cross':>7}{'gap':>7}{'error':>7}{'pull':>7}{'others':>7}{'uar':>7}  layers")
    for name, row in result["effects"].items():
        columns = ("self", "cross", "gap", "gap error", "pull", "pull on others", "uar change")
        lines.append(f"{name:32}" + "".join(f"{row[c]:7.1f}" for c in columns) + f"  {row['layers']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a trained folder")
    parser.add_argument("--features", type=Path, required=True, help="the features folder that training left")
    parser.add_argument("--quick", action="store_true", help="the headline rows only")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = check(given.model, given.features, given.quick)
    print(show(result))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
