"""What else is measured of the headline's neurons: the tokens that they write, and what they do without the voice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity, scope_parts
from emoscope.neurons.sets import load_set
from emoscope.runs import RunFolder
from emoscope.schemas import schema

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets
    from emoscope.runs import Log

DRAWS = 5
"""Matched controls whose activity is measured: the mean of a few is enough."""


def write_set_activity(
    main: RunFolder, grounding: Mapping[str, RunFolder], headline: tuple[str, float], scope: str
) -> pl.DataFrame:
    """Measure the headline's sets on the voice and on what takes its place, and keep it as ``set_activity.parquet``.

    On an item acts the set that was found on other folds. All presentations are measured on the clips that all have,
    whatever was answered. Where there are no audio positions, those of the text count in their place: there stand
    the words.

    Args:
        grounding: presentation -> the part that asks the same question about it.

    Returns:
        the columns of table ``set_activity``: over the neurons of a set and the positions of an item, the mean
        activation and the share of pairs that fire, then means over items; of matched controls, over draws, too.
        Empty where no set was found.
    """
    sets = main.read_table("sets").filter(
        (pl.col("selector") == headline[0]) & (pl.col("budget") == headline[1]) & pl.col("size").is_null()
    )
    if "layers" in sets.columns:
        sets = sets.filter(pl.col("layers").is_null())
    sets = sets.filter((pl.col("control") == "target") | ((pl.col("control") == "matched") & (pl.col("draw") < DRAWS)))
    parts = {"audio": main, **grounding}
    items = {name: part.read_table("items").filter(pl.col("fate") == "used") for name, part in parts.items()}
    common = set.intersection(*(set(table["clip"]) for table in items.values()))
    rows: list[dict[str, object]] = []
    for name, part in parts.items():
        mine = items[name].filter(pl.col("clip").is_in(sorted(common))).sort("item")
        if not mine.is_empty() and not sets.is_empty():
            rows += _measured(name, Activity.open(part / "activity.zarr"), mine, main, sets, scope)
    keys = ["presentation", "control", "emotion", "truth", "speaker"]
    table = pl.DataFrame(rows, schema=schema("set_activity")).sort(keys)
    main.write_table("set_activity", table)
    return table


def _measured(
    presentation: str, activity: Activity, items: pl.DataFrame, main: RunFolder, sets: pl.DataFrame, scope: str
) -> Iterator[dict[str, object]]:
    numbers = items["item"].to_numpy()
    counted = heard_scope(activity, scope, numbers)
    tokens = np.maximum(activity.tokens(counted, numbers), 1)
    folds = {fold: np.flatnonzero((items["fold"] == fold).to_numpy()) for fold in items["fold"].unique().sort()}
    known = {
        (name, fold): load_set(main / "sets", name, fold)
        for name, fold in sets.filter(pl.col("fold").is_in(list(folds))).select("set", "fold").unique().iter_rows()
    }
    draws = sets.select("set", "control").unique().sort("set").rows()
    emotions = sets["emotion"].unique(maintain_order=True).to_list()
    # (set, emotion, item): an item's fold says which neurons of the set count; NaN where it has none
    fired = np.full((len(draws), len(emotions), len(numbers)), np.nan)
    summed, sizes = fired.copy(), np.zeros_like(fired)
    for layer in range(activity.layers):
        counts, sums = activity.read_layer(layer, counted, numbers)
        low = layer * activity.width
        for place, (name, _) in enumerate(draws):
            for fold, rows in folds.items():
                for which, emotion in enumerate(emotions):
                    neurons = known.get((name, fold), {}).get(emotion)
                    if neurons is None:
                        continue
                    here = neurons[slice(*np.searchsorted(neurons, [low, low + activity.width]))] - low
                    block = np.ix_(rows, here)
                    sizes[place, which, rows] += len(here)
                    for total, values in ((fired, counts), (summed, sums)):
                        before = np.nan_to_num(total[place, which, rows])
                        total[place, which, rows] = before + values[block].sum(axis=1)
    pairs = tokens * np.where(sizes > 0, sizes, np.nan)
    yield from _by_speaker(presentation, counted, items, draws, emotions, summed / pairs, fired / pairs)


def _by_speaker(
    presentation: str,
    scope: str,
    items: pl.DataFrame,
    draws: Sequence[tuple[str, str]],
    emotions: Sequence[str],
    means: np.ndarray,
    firing: np.ndarray,
) -> Iterator[dict[str, object]]:
    """Means over the items of each true emotion and speaker; ``means`` and ``firing`` are (set, emotion, item)."""
    places: dict[tuple[str, str | None], list[int]] = {}
    for place, (truth, speaker) in enumerate(items.select("truth", "speaker").iter_rows()):
        places.setdefault((truth, speaker), []).append(place)
    for control in ("target", "matched"):
        mine = [place for place, (_, kind) in enumerate(draws) if kind == control]
        for which, emotion in enumerate(emotions) if mine else ():
            # where some fold has no set of this emotion, items of that fold do not count
            there = ~np.isnan(firing[mine, which]).any(axis=0)
            for (truth, speaker), rows in places.items():
                used = [row for row in rows if there[row]]
                if used:
                    block = np.ix_(mine, used)
                    yield {
                        "presentation": presentation, "scope": scope, "control": control, "emotion": emotion,
                        "truth": truth, "speaker": speaker, "items": len(used),
                        "mean_activation": float(means[:, which][block].mean()),
                        "firing": float(firing[:, which][block].mean()),
                    }  # fmt: skip


def heard_scope(activity: Activity, scope: str, items: np.ndarray) -> str:
    """The scope with text in the place of audio where no item has audio positions."""
    parts = scope_parts(scope)
    if "audio" not in parts or "audio" not in activity.store or activity.tokens("audio", items).any():
        return scope
    return "+".join(dict.fromkeys("text" if part == "audio" else part for part in parts))


TOKENS = 5
"""Tokens listed per neuron and direction."""

AT_ONCE = 64
"""Neurons whose effect on the whole vocabulary is worked out together."""


def write_words(
    run: RunFolder, model: AudioLM, found: FoundSets, headline: tuple[str, float], log: Log
) -> pl.DataFrame:
    """Write neurons.parquet: the output tokens that each neuron of the headline's sets raises and lowers most.

    The column of down_proj is passed through the scale of the decoder's last norm and the output head; what
    later layers do to it is left out (the direct path only; Geva et al. 2022).

    Returns:
        columns neuron, layer, index, emotion, raises (tokens), lowers (tokens).
    """
    chosen = found.frame.filter(
        (pl.col("control") == "target") & (pl.col("selector") == headline[0]) & (pl.col("budget") == headline[1])
    )
    neurons = int(chosen.filter(pl.col("fold") == "all")["size_reached"].sum())
    with log.stage("reading what neurons write", neurons, "neurons") as progress:
        rows = list(_words(model, found, chosen["set"].unique(maintain_order=True).to_list(), progress))
    table = pl.DataFrame(rows, schema=schema("neurons"), orient="row")
    run.write_table("neurons", table)
    return table


def _words(
    model: AudioLM, found: FoundSets, sets: Sequence[str], log: Log
) -> Iterator[tuple[int, int, int, str, list[str], list[str]]]:
    import torch

    width = model.info.width
    norm = getattr(model.decoder.backbone, "norm", None)
    with torch.inference_mode():
        head = model.head.weight
        scale = 1.0 if norm is None else norm.weight.to(head.device)[:, None]
        for name in sets:
            for emotion, neurons in found.sets[name, "all"].items():
                for part in np.array_split(neurons, -(-len(neurons) // AT_ONCE) or 1):
                    columns = [
                        model.decoder.columns(n // width, torch.tensor([n % width]))[:, 0].to(head.device)
                        for n in part.tolist()
                    ]
                    effects = (head @ (torch.stack(columns, 1).to(head.dtype) * scale)).T if columns else []
                    for neuron, effect in zip(part.tolist(), effects, strict=True):
                        top, low = effect.topk(TOKENS).indices.tolist(), (-effect).topk(TOKENS).indices.tolist()
                        words = [[model.tokenizer.decode([token]) for token in ids] for ids in (top, low)]
                        yield neuron, *divmod(neuron, width), emotion, *words
                    log.step(len(part))
