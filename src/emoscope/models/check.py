"""Prove on the loaded model itself that what the package assumes of it is true."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from emoscope.corpora.audio import RATE, load_audio, prepare_samples
from emoscope.models.attribution import SHARED_KEYS, small_gains
from emoscope.models.audio_lm import AudioLM
from emoscope.models.checkpoint import some
from emoscope.models.complete import compare
from emoscope.models.decoder import Decoder
from emoscope.models.hooks import hooked, outputs, sparse
from emoscope.models.passes import pack
from emoscope.models.statistics import lines_apart
from emoscope.models.values import DECISION, Gains, Prepared, Request, Waveform

QUESTION = "Which emotion does the speaker express? (A) anger (B) neutral (C) sadness Answer with the letter only."
LETTERS = ("A", "B", "C")
SECONDS = (2.6, 1.0, 1.7)  # lengths of the stand-in signals: mixed, so that batches are padded

# largest difference of logits that counts as the same answer, by dtype, and where weights are quantised: activations
# may then be rounded to 256 steps, and a bit of rounding crosses one
SAME = {"float32": 2e-3, "float16": 5e-2, "bfloat16": 0.25}
PACKED = 0.25
# the same between a gain by hook and in the weights, and, where that is more, as a share of the largest logit: sums of
# other order round otherwise, the more the larger they are
EDIT = {"float32": 1e-4, "float16": 5e-2, "bfloat16": 0.25}
EDIT_SHARE = {"float32": 1e-5}
CLEAR = 4.0  # a change must move logits by so many tolerances before its agreement with another change says something
GAINS = (9.0, 33.0, 129.0, 513.0, 2049.0)  # gains tried in turn on one neuron
Result = tuple[float | None, float | None, str]  # measured difference, tolerance, note
Check = Callable[["Case"], Result]


@dataclass(frozen=True)
class Proof:
    """One row of a check."""

    name: str  # what was to be shown
    status: str  # ``"passed"``, ``"failed"`` or ``"not run"``
    measured: float | None  # the largest difference found, ``None`` where there is nothing to measure
    tolerance: float | None  # the largest difference that passes
    note: str  # how it was measured, or why it failed or did not run


class NotRun(Exception):
    """A check that cannot be made here, with the reason."""


@dataclass
class Case:
    """The model that is checked, and on what."""

    model: AudioLM
    prepared: list[Prepared]
    requests: list[Request]  # from which rows are made
    heard: str  # what the rows consist of, in words
    full: bool = False  # whether a proof that can be made on a sample is made on everything

    @property
    def same(self) -> float:
        """Largest difference of logits that counts as the same answer."""
        return PACKED if self.model.info.quantised else SAME.get(self.model.info.dtype, 0.25)

    def rows(self, least: int = 1) -> list[Prepared]:
        """The prepared rows; ``NotRun`` where there are fewer than ``least``."""
        if len(self.prepared) < least:
            raise NotRun(f"needs {least} prepared rows, there are {len(self.prepared)}")
        return self.prepared


FIRST_PROOFS: dict[str, Check] = {}  # made by a model check before all others
RUN_PROOFS: dict[str, Check] = {}  # made in every run
GRADIENTS: dict[str, Check] = {}  # made in a run that takes gradients
MORE_PROOFS: dict[str, Check] = {}  # made by a model check only


def shows(name: str, among: dict[str, Check]) -> Callable[[Check], Check]:
    """Put a proof, named by what it shows, at the end of those that are made together."""
    return lambda check: among.setdefault(name, check)


def mixed_gains(case: Case) -> tuple[list[Gains], Gains]:
    """Another strong change for each row, and all of them as one batch."""
    decoder, rows = case.model.decoder, len(case.prepared)
    values = {layer: torch.ones(rows, decoder.width) for layer in range(decoder.layers)}
    for row in range(rows):
        for value in values.values():
            value[row, row :: rows + 1] = (0.0, 2.0, -1.0)[row % 3]
    each = [Gains({layer: value[row : row + 1] for layer, value in values.items()}) for row in range(rows)]
    return each, Gains(values)


@shows("decoder found", FIRST_PROOFS)
def _decoder_found(case: Case) -> Result:
    decoder = case.model.decoder
    return None, None, f"{decoder.layers} layers x {decoder.width} neurons at {decoder.name}"


@shows("letter token forms found", FIRST_PROOFS)
def _letters_found(case: Case) -> Result:
    letters, decode = case.model.letters, case.model.tokenizer.decode
    missing = [letter for letter in "ABCDEFG" if letter not in letters]
    shown = {letter: [decode([token]) for token in letters.get(letter, ())] for letter in "AB"}
    return len(missing), 0, f"letters A to G without a token: {missing or 'none'}; forms {shown}"


@shows("requests prepared", FIRST_PROOFS)
def _prepared(case: Case) -> Result:
    case.prepared = case.model.prepare(case.requests)
    return None, None, f"{[len(row) for row in case.prepared]} positions from {case.heard}"


@shows("all weights came from the files", RUN_PROOFS)
def _from_files(case: Case) -> Result:
    sources = case.model.sources
    if not sources:
        raise NotRun("no files are known: the model was given as it stood in memory")
    found = compare(sources, case.full)
    differ, strays = sorted(found.differ), sorted({name for source in sources for name in source.strays})
    what = f"{found.tensors} tensors compared, {found.values:,} of {found.parameters:,} values"
    if differ and all(source.given for source in sources):
        raise NotRun(
            f"{len(differ)} weights are not those of the files, such as {some(differ)}: "
            "the model was changed in memory, or had other files when it was loaded"
        )
    if differ:
        return len(differ), 0, f"{what}; not those of the files: {some(differ)}"
    left = ", ".join(f"{count} {why}" for why, count in found.left.items())
    if left or not found.tensors:
        raise NotRun(f"not all could be compared: {left or 'none'}; {what}, all equal")
    beside = f"; stored beside them, in no part of the model: {some(strays)}" if strays else ""
    return 0, 0, f"{what}, in memory and in the files{beside}"


@shows("site exact", RUN_PROOFS)
def _site_exact(case: Case) -> Result:
    model, rows = case.model, case.rows()
    differences, largest = [0.0], [0.0]

    class Compare:
        def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, _scopes: torch.Tensor) -> None:
            up = model.decoder.sites[layer].upward(ups[layer])
            differences.append(float((activation * up - product).abs().max()))
            largest.append(float(product.abs().max()))

    with outputs([site.up for site in model.decoder.sites]) as ups:
        model.score(rows, observe=Compare())
    if (seen := len(largest) - 1) != 2 * model.decoder.layers:
        raise RuntimeError(f"{seen} layers observed in 2 passes of {model.decoder.layers} layers")
    tolerance = max(largest) * torch.finfo(getattr(torch, model.info.dtype)).eps
    note = "activation x up_proj against what enters down_proj, all layers, prompt and answer step"
    return float(np.max(differences)), tolerance, note


def _editable(case: Case) -> Decoder:
    if case.model.decoder.packed:
        raise NotRun("quantised weights cannot be edited")
    return case.model.decoder


@shows("gain by hook equals column edit", RUN_PROOFS)
def _hook_is_edit(case: Case) -> Result:
    model, rows, decoder = case.model, case.rows(), _editable(case)
    before, dtype = model.next_logits(rows), model.info.dtype
    tolerance = max(EDIT.get(dtype, 0.25), EDIT_SHARE.get(dtype, 0.0) * float(before.abs().max()))
    worst, effects, used = 0.0, [], []
    for layer in sorted({0, decoder.layers // 2, decoder.layers - 1}):
        # the neuron with the longest output column, and a gain that moves logits well beyond the tolerance
        neuron = int(decoder.sites[layer].down.weight.detach().float().norm(dim=0).argmax())
        values = torch.ones(len(rows), decoder.width)
        for gain in GAINS:
            values[:, neuron] = gain
            by_hook = model.next_logits(rows, Gains({layer: values}))
            effect = float((by_hook - before).abs().max())
            if effect > CLEAR * tolerance:
                break
        else:
            raise RuntimeError(
                f"no gain up to {gain:g} on neuron {neuron} of layer {layer} moved a logit by {CLEAR * tolerance:g}"
            )
        with decoder.scaled({layer: (torch.tensor([neuron]), gain)}):
            by_edit = model.next_logits(rows)
        worst = float(np.maximum(worst, float((by_hook - by_edit).abs().max())))
        effects.append(effect)
        used.append(f"{gain:g}")
    where = f"gains {', '.join(used)} on one neuron of the first, middle and last layer"
    return worst, tolerance, f"{where}; logits moved by {min(effects):.2g} or more"


@shows("weights restored bit for bit", RUN_PROOFS)
def _weights_restored(case: Case) -> Result:
    decoder = _editable(case)
    before = decoder.fingerprint()
    for layer in sorted({0, decoder.layers - 1}):
        with decoder.scaled({layer: (torch.arange(decoder.width), 0.5)}):
            halved = decoder.fingerprint()
        if halved == before:
            raise RuntimeError("halving a layer's columns did not change the fingerprint of the weights")
    return float(decoder.fingerprint() != before), 0.0, "down_proj of the first and last layer halved and written back"


@shows("hooks fired as often as they must", RUN_PROOFS)
def _hooks_fire(case: Case) -> Result:
    model, rows = case.model, case.rows()
    batch, half = model.batch(rows), torch.full((len(rows), model.decoder.width), 0.5)
    with hooked(model.decoder, Gains(dict.fromkeys(range(model.decoder.layers), half)), None, batch.scopes) as firings:
        tokens, _ = model.write(batch, max_new_tokens=3)
    wanted = model.decoder.layers * tokens.shape[1]
    return abs(sum(firings.fired.values()) - wanted), 0, f"{wanted} firings wanted in {tokens.shape[1]} passes"


@shows("batch equals single", RUN_PROOFS)
def _batch_is_single(case: Case) -> Result:
    model, rows = case.model, case.rows(2)
    together = model.next_logits(rows)
    alone = torch.cat([model.next_logits([row]) for row in rows])
    note = f"logits; lengths {[len(row) for row in rows]}, padded on the {model.padding_side}"
    return float((together - alone).abs().max()), case.same, note


@shows("rows in one line answer and are recorded as padded ones, or are padded", RUN_PROOFS)
def _line_is_padded(case: Case) -> Result:
    model, rows, places = case.model, case.rows(), [*range(len(case.prepared)), -1]
    model.packs = False
    gains = sparse(model.decoder, mixed_gains(case)[1], len(rows)).of(places)
    flags = torch.tensor([[scope == DECISION for scope in range(4)]] * len(rows))
    at_last = replace(gains, layers=tuple(replace(part, positions=flags) for part in gains.layers))
    # the last row twice: it shares all but its last position with itself
    rows, clips = [rows[place] for place in places], [place % len(rows) for place in places]
    padded = model.batch(rows)
    wanted = [model.next_logits(padded, change) for change in (None, gains, at_last, at_last, None, at_last)]
    try:
        last = model.last_positions(line := pack(rows, model.device, clips))
        asked = [(line, None), (line, gains), (line, at_last), (last, at_last), (last, None), (last, at_last)]
        found = [model.next_logits(batch, change) for batch, change in asked]
        recorded = lines_apart(model, case.prepared)
    except Exception as error:  # a decoder of another build, such as one whose attention cannot be replaced
        return None, None, f"rows are padded: {type(error).__name__}: {error}"
    worst = float(np.max([float((one - other).abs().max()) for one, other in zip(wanted, found, strict=True)]))
    moved = float((wanted[0] - wanted[2]).abs().max())
    note = f"logits in one line and padded; another gain for each row at the last position moved them by {moved:.2g}; "
    note += f"what is recorded differs by {recorded:.2g} of the largest value"
    model.packs = worst <= case.same < moved and recorded <= case.same  # which is not so of what is no number
    return (worst, case.same, note) if model.packs else (None, None, f"rows are padded: {worst:.2g} apart; {note}")


@shows("a later start is exact or unused", RUN_PROOFS)
def _later_start(case: Case) -> Result:
    model, rows = case.model, case.rows()
    model.resumes, layers = False, model.decoder.layers
    if layers < 2:
        raise NotRun("there is one layer only")
    batch = pack(rows, model.device) if model.packs else model.batch(rows)
    places = sorted({0, layers // 2, layers - 1})
    _, together = mixed_gains(case)
    full, again, start = [], [], None  # of each layer: logits of a full pass, and of two that begin there
    for layer in (*places, layers):
        later = Gains({place: value for place, value in together.values.items() if place >= layer})
        full.append(model.next_logits(batch, later))
        try:
            start = model.begin(batch, layer, start)
            # twice: a layer that changes its input in place would give another answer then
            again.append([model.next_logits(batch, later, start) for _ in range(2)])
        except Exception as error:  # a decoder of another build, such as one whose layers share keys
            return None, None, f"not used, every pass runs in full: {type(error).__name__}: {error}"
    if any(torch.equal(whole, full[-1]) for whole in full[:-1]):
        raise RuntimeError("gains in the later layers did not move any logit")
    pairs = [(whole, started) for whole, both in zip(full, again, strict=True) for started in both]
    if not all(torch.equal(whole, started) for whole, started in pairs):
        worst = max(float((whole - started).abs().max()) for whole, started in pairs)
        return None, None, f"not used, every pass runs in full: logits differ by up to {worst:.2g}"
    model.resumes = True
    return 0.0, 0.0, f"logits under gains in later layers, from the layers {', '.join(map(str, places))} on and in full"


@shows("cached audio equals the full forward", MORE_PROOFS)
def _cached_is_full(case: Case) -> Result:
    rows = case.rows()
    try:
        full = case.model.full_logits(case.requests)
    except NotImplementedError as reason:
        raise NotRun(str(reason)) from reason
    difference = (case.model.next_logits(rows) - full).abs().max()
    return float(difference), case.same, "logits against the model's own forward on its processor's inputs"


@shows("gains per row equal single runs", MORE_PROOFS)
def _row_gains(case: Case) -> Result:
    model, rows = case.model, case.rows(2)
    each, together = mixed_gains(case)
    alone = torch.cat([model.next_logits([row], gains) for row, gains in zip(rows, each, strict=True)])
    # under its neighbour's gains each row must answer otherwise, or equality would say nothing
    swapped = model.next_logits(rows, Gains({layer: value.roll(1, 0) for layer, value in together.values.items()}))
    contrast = float((swapped - alone).abs().amax(1).min())
    if contrast <= case.same:
        raise RuntimeError(f"another row's gains moved the logits of some row by {contrast:.2g} only")
    note = f"logits under another gain for each row; under another row's gains they differ by {contrast:.2g} or more"
    return float((model.next_logits(rows, together) - alone).abs().max()), case.same, note


@shows("gains per row equal single runs while generating", MORE_PROOFS)
def _row_gains_writing(case: Case) -> Result:
    model, rows = case.model, case.rows(2)
    each, together = mixed_gains(case)
    tokens, logits = model.write(rows, together, max_new_tokens=6, keep_logits=True)
    worst, compared = 0.0, 0
    for place, (row, gains) in enumerate(zip(rows, each, strict=True)):
        own_tokens, own_logits = model.write([row], gains, max_new_tokens=6, keep_logits=True)
        for step, own in enumerate(own_logits):
            # as long as the tokens before are equal, rounding can turn a near tie, and then texts part for good
            if step and not torch.equal(tokens[place, :step], own_tokens[0, :step]):
                break
            worst = float(np.maximum(worst, float((logits[step][place] - own[0]).abs().max())))
            compared += 1
    return worst, case.same, f"logits of {compared} steps of generation under another gain for each row"


@shows("gradients tell what small gains do", GRADIENTS)
def _gradients(case: Case) -> Result:
    model, rows = case.model, case.rows()
    if model.shares_keys:
        raise NotRun(SHARED_KEYS)
    return *small_gains(model, rows), "log-odds of the letters under small gains of all neurons, as a share"


@shows("likelihood and generation agree", MORE_PROOFS)
def _likelihood_is_generation(case: Case) -> Result:
    model, rows = case.model, case.rows()
    first = model.write(rows, max_new_tokens=1)[0][:, 0].tolist()
    tops = [score.top for score in model.score(rows)]
    differ = sum(model.tokenizer.decode([token]) != top for token, top in zip(first, tops, strict=True))
    return differ, 0, f"first written token against the likeliest one, {len(rows)} rows: {tops}"


@shows("time and memory", MORE_PROOFS)
def _cost(case: Case) -> Result:
    model = case.model
    start = time.perf_counter()
    rows = model.prepare(case.requests)
    between = time.perf_counter()
    model.score(rows)
    end = time.perf_counter()
    if model.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(model.device) / 2**30
    else:
        import resource  # what it gives is in kilobytes, but in bytes on macOS

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    times = f"{(between - start) / len(rows):.3f} s to prepare and {(end - between) / len(rows):.3f} s to score a clip"
    return None, None, f"{times}, peak {peak:.1f} GB"


def check_model(model: AudioLM, clip: str | Path | Waveform | None = None) -> list[Proof]:
    """Check everything that the package assumes of a model; nothing is raised for a proof that fails.

    Parts of the clip, a sound file or samples, give rows of mixed length; without one it is a synthetic tone in noise.
    """
    sounds, heard = _sounds(clip)
    case = Case(model, [], [Request(sound, QUESTION, LETTERS) for sound in sounds], heard, full=True)
    every = FIRST_PROOFS | RUN_PROOFS | GRADIENTS | MORE_PROOFS
    return [_proof(name, check, case) for name, check in every.items()]


def run_proofs(model: AudioLM, prepared: Sequence[Prepared], gradients: bool = False) -> list[Proof]:
    """The cheap proofs that every run makes, on the shortest and the longest of its own prepared rows.

    That of gradients is made where these are taken.

    Example:
        >>> from emoscope.models.registry import load_model
        >>> model = load_model("tiny")
        >>> rows = model.prepare([Request(None, text, LETTERS) for text in ("Say A.", QUESTION)])
        >>> {proof.status for proof in run_proofs(model, rows)}
        {'passed'}
    """
    by_length = sorted(prepared, key=len)
    rows = by_length if len(by_length) <= 3 else [by_length[0], by_length[len(by_length) // 2], by_length[-1]]
    case = Case(model, list(rows), [], "rows of this run")
    return [_proof(name, check, case) for name, check in (RUN_PROOFS | (GRADIENTS if gradients else {})).items()]


def _proof(name: str, check: Check, case: Case) -> Proof:
    try:
        measured, tolerance, note = check(case)
    except NotRun as reason:
        return Proof(name, "not run", None, None, str(reason))
    except Exception as error:  # a proof that breaks has failed; its row says why
        return Proof(name, "failed", None, None, f"{type(error).__name__}: {error}")
    # written so that NaN fails
    passed = measured is None or tolerance is None or measured <= tolerance
    return Proof(name, "passed" if passed else "failed", measured, tolerance, note)


def _sounds(clip: str | Path | Waveform | None) -> tuple[list[Waveform], str]:
    if clip is None:
        noise, sounds = np.random.default_rng(0), list[Waveform]()
        for i, seconds in enumerate(SECONDS):
            time_s = np.arange(int(seconds * RATE)) / RATE
            tone = np.sin(2 * np.pi * (140 + 60 * i) * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s))
            sounds.append(prepare_samples(tone + 0.3 * noise.standard_normal(len(time_s))))
        return sounds, "a synthetic tone in noise, as no clip was given"
    samples = load_audio(clip) if isinstance(clip, str | Path) else prepare_samples(clip)
    parts = [samples[: max(RATE // 2, len(samples) * share // 3)] for share in (3, 1, 2)]
    return parts, f"the clip ({len(samples) / RATE:.1f} s) and its first two thirds and third"
