"""What a run keeps beside its answers: manifest and proofs, what its neurons write, and do without the voice."""

from __future__ import annotations

import itertools
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from emoscope import __version__
from emoscope.corpora.audio import AudioError, load_audio
from emoscope.experiments.intervene import used_paths
from emoscope.experiments.items import candidate_items, folds_assigned_before, options_of, shared_speakers, study_corpus
from emoscope.experiments.listen import answer_key, ask_again, machine_of, path_heard
from emoscope.experiments.pilot import pilot_result
from emoscope.experiments.prompts import asked_text
from emoscope.experiments.registration import compared
from emoscope.experiments.schema import Row, Study
from emoscope.experiments.study import imported_code
from emoscope.neurons.activity import Activity, scope_parts
from emoscope.neurons.selectors import own_code
from emoscope.neurons.sets import load_set
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT, check_unit, digest
from emoscope.schemas import schema

if TYPE_CHECKING:
    from emoscope.corpora import Corpus
    from emoscope.experiments.heard import Heard
    from emoscope.experiments.pilot import Pilot
    from emoscope.experiments.stages import Listened, Planned, Selected
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets

STATUSES = ("used", "not needed", "excluded", "quarantined")

Proof = Mapping[str, object]
"""A check of the model: name, status ("passed", "failed" or "not run"), measured, tolerance, note."""


def run_manifest(selected: Selected, planned: Planned | None = None) -> dict[str, object]:
    """What was run, with what, and what every check measured."""
    heard, found = selected.listened, selected.found
    study, items, about = heard.study, heard.items, heard.corpus.info
    statuses = Counter(items.unique("clip", keep="first", maintain_order=True)["status"])
    corpus = {name: getattr(about, name) for name in ("id", "title", "licence", "citation")}
    proofs = [*heard.proofs, prove_weights(heard.weights, heard.model)]
    if study.model.equality == "tolerance":
        proofs.append(agreement(heard.run, study, heard.model))
    for proof in proofs[len(heard.proofs) :]:
        heard.task.log.event("proof", **proof)
    return {
        "format": FORMAT,
        "emoscope": __version__,
        "model": {**msgspec.to_builtins(heard.model.info), "site": study.identify.site},
        "corpora": [{**corpus, "told": list(heard.corpus.told)}],
        "study": msgspec.to_builtins(study),
        "headline": {**msgspec.to_builtins(study.headline), "scope": study.identify.scope},
        "emotions": list(options_of(items)),
        "identifiable": dict(found.identifiable),
        **({"outcomes": found.outcomes} if found.outcomes else {}),
        "counts": {"clips": statuses.total(), **{status: statuses[status] for status in STATUSES}},
        "speakers_shared": len(shared_speakers(items)),
        "asked": digest(msgspec.to_builtins(heard.task.study)),
        **compared(heard.run, heard.task.study),
        "own_selectors": own_code(study.identify.selectors),
        **({"imports": imported} if (imported := imported_code(study)) else {}),
        "candidates": heard.candidates,
        "proofs": proofs,
        **({"null": planned.no_null} if planned and planned.no_null else {}),
        **({"permuted": planned.stopped} if planned and planned.stopped else {}),
        "paths": used_paths(planned.work if planned else (), {path_heard(study, heard.model): len(heard.units)}),
        **({"pilot": pilot_of(heard)} if heard.task.full else {}),
        "environment": environment(),
    }


def pilot_of(heard: Listened) -> Pilot:
    """What a pilot says about its full study."""
    assert heard.task.full is not None
    run, units = heard.run, list(heard.units)
    if (run / "units.parquet").is_file():
        listed = run.read_table("units").filter(pl.col("condition") == "baseline")
        units += listed.filter(~pl.col("unit").is_in(units))["unit"].to_list()
    baseline = pl.concat(run.answers(units))
    return pilot_result(run, heard.task.full, heard.items, baseline, heard.model.info)


def timing(log: Log) -> dict[str, object]:
    """Seconds in all and by stage, and the largest memory held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1024**3 if sys.platform == "darwin" else 1024**2)
    total = time.monotonic() - log.start
    return {"total_s": round(total, 2), "peak_memory_gb": round(peak_gb, 3), "stages_s": dict(log.seconds)}


def environment() -> dict[str, object]:
    """Versions and machine on which a run was made."""
    import os
    from importlib.metadata import version

    import torch

    packages = {name: version(name) for name in ("torch", "transformers", "numpy", "polars", "zarr")}
    machine = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    return {**machine, "cores": os.cpu_count(), "threads": torch.get_num_threads(), **packages}


CLIPS = 4
"""Clips on which the proofs are made."""


def prove_model(
    run: RunFolder, candidates: pl.DataFrame, loudness: str, model: AudioLM, log: Log, gradients: bool = False
) -> tuple[Proof, ...]:
    """Run the proofs of sites, gains and batches on the first clips and keep them; one that fails stops the run.

    Args:
        gradients: whether gradients are taken, which then are proved as well.
    """
    from emoscope.models.audio_lm import ProofFailed, Request
    from emoscope.models.check import run_proofs

    requests = []
    for item in candidates.filter(candidates["status"].is_null()).iter_rows(named=True):
        try:
            wave = load_audio(item["path"], loudness)
        except AudioError:
            continue
        requests.append(Request(wave, *asked_text(item)))
        if len(requests) == CLIPS:
            break
    found = run_proofs(model, model.prepare(requests), gradients) if requests else []
    proofs: tuple[Proof, ...] = tuple(msgspec.to_builtins(proof) for proof in found)
    for proof in proofs:
        log.event("proof", **proof)
    run.write_json("cache/proofs.json", list(proofs))
    if failed := [proof for proof in proofs if proof["status"] == "failed"]:
        raise ProofFailed(f"{failed[0]['name']}: measured {failed[0]['measured']}, allowed {failed[0]['tolerance']}")
    return proofs


def prove_weights(before: str, model: AudioLM) -> Proof:
    """Compare the weights on which gains act with their hash before the first intervention; a change stops the run."""
    from emoscope.models.audio_lm import ProofFailed

    if before != model.decoder.fingerprint():
        raise ProofFailed("the weights of down_proj changed during the run: interventions leave them as they are")
    note = "hash of the bits of all down_proj weights before and after"
    proof = {"name": "weights unchanged by the run", "status": "passed", "measured": None, "tolerance": None}
    return {**proof, "note": note}


LIMITS = {"float32": 1e-4, "float16": 5e-2}
"""Largest difference of log-probabilities between machines, by dtype; otherwise, and where weights are quantised, 0.25."""

SAMPLED = 8
"""Answers of another machine that are asked again, spread over all that it has heard."""


def show_agreement(heard: Heard, study: Study, model: AudioLM) -> None:
    """Where the study takes answers of other machines, ask some that each has heard again, once, and keep the difference.

    Raises:
        ProofFailed: another answer, or log-probabilities that differ by more than the limit.
    """
    from emoscope.models.audio_lm import ProofFailed

    if study.model.equality != "tolerance":
        return
    run, here, limit = heard.run, machine_of(model.info), _limit(model)
    name = f"cache/agreement-{_key(study, model)}-{digest(here)[:8]}.json"
    shown, theirs = run.read_json(name) or {}, dict[str, list[pl.DataFrame]]()
    for unit in heard.units:
        if (machine := unit.notes(run)["machine"]) not in {here, *shown}:
            theirs.setdefault(machine, []).extend(run.answers([unit.id]))
    items = {item["item"]: item for block in heard.blocks for item in block}
    for machine, tables in theirs.items():
        before = pl.concat(tables)
        before = before.gather_every(max(1, before.height // SAMPLED)).head(SAMPLED)
        again = ask_again(study, [items[number] for number in before["item"]], model)
        both = again.join(before, on="item", suffix="_before")
        alike = all((both[column].eq_missing(both[f"{column}_before"])).all() for column in ("answer", "text"))
        pairs = both.select("logp", "logp_before").drop_nulls().explode("logp", "logp_before")
        # not by max, which passes over what is no number
        furthest = float(np.max([abs(a - b) for a, b in pairs.iter_rows() if a != b], initial=0.0))
        if both.height < before.height or not alike or not furthest <= limit:
            raise ProofFailed(
                f"this machine ({here}) does not answer as that which began {run.path} ({machine}): of {before.height} "
                f"answers asked again {'all are equal' if alike else 'some are others'}, and log-probabilities differ by "
                f'up to {furthest:.2g}, allowed {limit:g}: go on there, or set model.equality = "bytes" to ask all anew here'
            )
        shown[machine] = furthest
        run.write_json(name, shown)


def agreement(run: RunFolder, study: Study, model: AudioLM) -> Proof:
    """What was shown of different machines, and how many units each has asked."""
    units = run.read_table("units")["unit"]
    asked = Counter((run.card(unit) or {})["notes"]["machine"] for unit in units)
    kept = [run.read_json(f"cache/{path.name}") for path in run.path.glob(f"cache/agreement-{_key(study, model)}-*")]
    shown = [difference for one in kept for difference in one.values()]
    note = f"units: {'; '.join(f'{count} on {machine}' for machine, count in sorted(asked.items()))}"
    if len(asked) > 1 and shown:
        note = f"log-probabilities of {SAMPLED} baseline answers, asked again; letters equal; {note}"
    status, furthest = ("passed", max(shown)) if len(asked) > 1 and shown else ("not run", None)
    about = {"name": "other machines answer alike", "status": status, "measured": furthest}
    return {**about, "tolerance": _limit(model), "note": note}


def _limit(model: AudioLM) -> float:
    return 0.25 if model.info.quantised else LIMITS.get(model.info.dtype, 0.25)


def _key(study: Study, model: AudioLM) -> str:
    return digest(answer_key(study, model))[:16]


def finished(
    run: RunFolder, study: Study, model: AudioLM | None = None, corpus: Corpus | None = None, full: Study | None = None
) -> bool:
    """Whether the folder holds this very study, every unit whole, on the same model and the same recordings."""
    manifest = run.read_json("manifest.json")
    if not manifest or "ended" in manifest or not (run / "units.parquet").is_file():
        return False
    same = (
        manifest["emoscope"] == __version__
        and manifest["asked"] == digest(msgspec.to_builtins(study))
        and manifest.get("own_selectors", {}) == own_code(study.identify.selectors)
        and manifest.get("imports", {}) == imported_code(study)
        and (not full or manifest.get("pilot", {}).get("full") == digest(msgspec.to_builtins(full)))
    )
    about = (model.info if model else study.card()) if same else None
    if about is None or about.checksum != manifest["model"]["checksum"]:
        return False
    corpus = corpus or study_corpus(study, about.trained_on)
    candidates = candidate_items(study, corpus, assigned=folds_assigned_before(run, study))
    whole = (check_unit(run, unit) is None for unit in run.read_table("units")["unit"])
    return candidates_digest(candidates) == manifest["candidates"] and all(whole)


def candidates_digest(candidates: pl.DataFrame) -> str:
    """Hash of the clips, recordings, labels, questions and folds of a study's candidates."""
    columns = ("clip", "checksum", "truth", "fold", "side", "speaker", "options", "wording", "status")
    return digest(candidates.select(columns).rows())


DRAWS = 5
"""Matched controls whose activity is measured: the mean of a few is enough."""


def write_set_activity(
    main: RunFolder, grounding: Mapping[str, RunFolder], headline: tuple[str, float], scope: str
) -> pl.DataFrame:
    """Measure the headline's sets on the voice and on what takes its place, and keep it as ``set_activity.parquet``.

    On an item acts the set that was found on other folds. All presentations are measured on the clips that all have,
    whatever was answered. Where there are no audio positions, those of the text count in their place: there stand
    the words.

    Over the neurons of a set and the positions of an item stand the mean activation and the share of pairs that fire,
    then means over items; of matched controls, over draws, too.

    Args:
        grounding: presentation -> the part that asks the same question about it.
    """
    counted = (pl.col("control") == "target") | ((pl.col("control") == "matched") & (pl.col("draw") < DRAWS))
    sets = main.read_table("sets").filter(counted, pl.col("size", "layers").is_null())
    sets = sets.filter(selector=headline[0], budget=headline[1])
    parts = {"audio": main, **grounding}
    items = {name: part.read_table("items").filter(pl.col("status") == "used") for name, part in parts.items()}
    common = set.intersection(*(set(table["clip"]) for table in items.values()))
    rows: list[dict[str, object]] = []
    for name, part in parts.items():
        shared = items[name].filter(pl.col("clip").is_in(sorted(common))).sort("item")
        if not shared.is_empty() and not sets.is_empty():
            rows += _measured(name, Activity.open(part / "activity.zarr"), shared, main, sets, scope)
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
    there = sets.filter(pl.col("fold").is_in(list(folds))).select("set", "fold").unique().iter_rows()
    known = {key: load_set(main / "sets", *key) for key in there}
    draws = sets.select("set", "control").unique().sort("set").rows()
    emotions = sets["emotion"].unique(maintain_order=True).to_list()
    # (set, emotion, item): an item's fold says which neurons of the set count; NaN where it has none
    fired = np.full((len(draws), len(emotions), len(numbers)), np.nan)
    summed, sizes = fired.copy(), np.zeros_like(fired)
    acting: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for (place, (name, _)), (fold, rows) in itertools.product(enumerate(draws), folds.items()):
        for which, emotion in enumerate(emotions):
            neurons = known.get((name, fold), {}).get(emotion)
            if neurons is not None:
                acting.append((place, which, rows, neurons))
                fired[place, which, rows] = summed[place, which, rows] = 0
                sizes[place, which, rows] = len(neurons)
    for layer in range(activity.layers):
        counts, sums = (read(layer, counted, numbers) for read in (activity.read_counts, activity.read_sums))
        low = layer * activity.width
        for place, which, rows, neurons in acting:
            block = np.ix_(rows, neurons[slice(*np.searchsorted(neurons, [low, low + activity.width]))] - low)
            fired[place, which, rows] += counts[block].sum(axis=1)
            summed[place, which, rows] += sums[block].sum(axis=1)
    pairs = tokens * np.where(sizes > 0, sizes, np.nan)
    about = {"presentation": presentation, "scope": counted}
    values = {"mean_activation": summed / pairs, "firing": fired / pairs}
    for row, block in _by_speaker(items, [control for _, control in draws], emotions, sizes > 0):
        yield {**about, **row, **{name: float(value[block].mean()) for name, value in values.items()}}


def _by_speaker(
    items: pl.DataFrame, controls: Sequence[str], emotions: Sequence[str], there: np.ndarray
) -> Iterator[tuple[Row, tuple[np.ndarray, ...]]]:
    """The items of each true emotion and speaker, as a row and as places in an array (set, emotion, item)."""
    groups = items.with_row_index("place").group_by("truth", "speaker", maintain_order=True).agg("place").rows()
    for control in ("target", "matched"):
        draws = [place for place, kind in enumerate(controls) if kind == control]
        for (which, emotion), (truth, speaker, rows) in itertools.product(enumerate(emotions) if draws else (), groups):
            # where some fold has no set of this emotion, items of that fold do not count
            used = [place for place in rows if there[draws, which, place].all()]
            if used:
                row = {"control": control, "emotion": emotion, "truth": truth, "speaker": speaker, "items": len(used)}
                yield row, np.ix_(draws, [which], used)


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


def write_words(run: RunFolder, model: AudioLM, found: FoundSets, headline: tuple[str, float], log: Log) -> None:
    """Write neurons.parquet: the output tokens that each neuron of the headline's sets raises and lowers most.

    The column of down_proj is passed through the scale of the decoder's last norm and the output head; what
    later layers do to it is left out (the direct path only; Geva et al. 2022).
    """
    chosen = found.frame.filter(control="target", selector=headline[0], budget=headline[1])
    neurons = int(chosen.filter(pl.col("fold") == "all")["size_reached"].sum())
    with log.stage("reading what neurons write", neurons, "neurons") as progress:
        rows = list(_words(model, found, chosen["set"].unique(maintain_order=True).to_list(), progress))
    run.write_table("neurons", pl.DataFrame(rows, schema=schema("neurons"), orient="row"))


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
