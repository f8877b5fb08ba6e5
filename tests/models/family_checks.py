"""What every family must show, on its own tiny checkpoint: subclass :class:`FamilyChecks` as ``class TestX(FamilyChecks)``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from emoscope.models.audio_lm import AudioLM, Gains, Request
from emoscope.models.check import GRADIENTS, MORE_PROOFS, RUN_PROOFS, SAME, Proof, check_model
from emoscope.models.passes import pack
from emoscope.models.registry import load_model
from emoscope.models.statistics import ScopeStatistics
from emoscope.models.values import ANSWER, AUDIO, DECISION, TEXT
from tests.helpers.noise import close_sound
from tests.models.family_layout import QUESTION, LayoutChecks, sound
from tests.models.family_loading import LoadingChecks
from tests.models.family_weights import WeightChecks

__all__ = ["QUESTION", "FamilyChecks", "sound"]

PROOFS = ("decoder found", "letter token forms found", "requests prepared", *RUN_PROOFS, *GRADIENTS, *MORE_PROOFS)


class Recorder:
    """Keeps the scopes and sizes of all that an observer is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, torch.Tensor, tuple[int, ...]]] = []

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        assert activation.shape == product.shape
        self.seen.append((layer, scopes.clone(), tuple(activation.shape)))


class FamilyChecks(LayoutChecks, LoadingChecks, WeightChecks):
    """The tests; a family declares its tiny checkpoint (see the base) and how its official code takes a request."""

    resumes: ClassVar[bool] = True
    """Whether passes may begin at a later layer."""
    packs: ClassVar[bool] = True
    """Whether rows may be asked in one line."""
    shortens: ClassVar[bool] = False
    """Whether a short clip is encoded in a window that is not whole."""

    # What a family writes.

    def official_inputs(self, model: AudioLM, requests: Sequence[Request]) -> dict[str, Any]:
        """What the family's official code makes of requests of one kind (all with sound, or none)."""
        raise NotImplementedError

    # What a family may replace.

    def official_logits(self, model: AudioLM, requests: Sequence[Request]) -> torch.Tensor:
        """Logits (row, vocab) of the official forward."""
        with torch.inference_mode():
            return model.model(**self.official_inputs(model, requests)).logits[:, -1].float()

    def official_tokens(self, model: AudioLM, request: Request, steps: int) -> list[int]:
        """Tokens that the official ``generate`` writes greedily."""
        inputs = self.official_inputs(model, [request])
        greedy = {"do_sample": False, "repetition_penalty": 1.0, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            written = model.model.generate(**inputs, max_new_tokens=steps, **greedy)
        return list(written[0, inputs["input_ids"].shape[1] :].tolist())

    @pytest.fixture(scope="class")
    @classmethod
    def proofs(cls, model: AudioLM) -> dict[str, Proof]:
        return {proof.name: proof for proof in check_model(model)}

    # The proofs of `emoscope model check`.

    @pytest.mark.parametrize("name", PROOFS)
    def test_proof(self, model, prepared, proofs, name, close):
        proof = proofs[name]
        if name == "gradients tell what small gains do" and model.shares_keys:
            assert proof.status == "not run"
            with pytest.raises(ValueError, match="share keys"):
                model.attribute(prepared, [row.letters for row in prepared])
            return
        assert proof.status == "passed", proof
        if "logits" in proof.note and proof.measured is not None:
            assert proof.measured < close, proof

    def test_passes_begin_at_a_later_layer_where_that_is_exact(self, model, prepared, proofs):
        assert ("not used" in proofs["a later start is exact or unused"].note) is not self.resumes
        assert model.resumes is self.resumes
        layers, width = model.info.layers, model.info.width
        draw, start = torch.Generator().manual_seed(0), None
        batch = model.batch(prepared)
        for layer in range(1, layers if self.resumes else 1):
            gains = Gains({layer: torch.rand(len(prepared), width, generator=draw) * 3 - 0.5})
            start = model.begin(batch, layer, start)
            assert torch.equal(model.next_logits(batch, gains, start), model.next_logits(batch, gains))

    def test_rows_in_one_line_answer_as_padded_ones(self, model, prepared, proofs, close):
        proof = proofs["rows in one line answer and are recorded as padded ones, or are padded"]
        assert ("rows are padded" in proof.note) is not self.packs, proof
        assert model.packs is self.packs
        draw = torch.Generator().manual_seed(0)
        values = torch.rand(model.info.layers, len(prepared), model.info.width, generator=draw) * 3 - 0.5
        flags = torch.tensor([[False, False, True, False]] * len(prepared))
        for positions in (None, flags) if self.packs else ():
            gains = Gains(dict(enumerate(values)), positions)
            line, padded = pack(prepared, model.device), model.next_logits(prepared, gains)
            assert (model.next_logits(line, gains) - padded).abs().max() < close
            if positions is not None:
                assert (model.next_logits(model.last_positions(line), gains) - padded).abs().max() < close

    def test_short_clips_are_heard_in_short_windows_as_in_whole_ones(self, model, requests_):
        if not self.shortens:
            return
        seen, clips = [], [sound(0.5, 1), sound(0.31, 2)]
        encoder = model.model.model.audio_tower
        weight, most = encoder.embed_positions.weight, encoder.config.max_source_positions
        hook = encoder.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
        with torch.inference_mode():
            short, whole = model.hear(clips), model.hear([*clips, sound(3.0, 0)])
        hook.remove()
        assert seen == [50 // 2 + 2, most]  # a mel frame in 10 ms
        assert encoder.embed_positions.weight is weight
        assert encoder.config.max_source_positions == most
        for one, other in zip(short, whole, strict=False):
            assert one.shape == other.shape
            assert (one - other).abs().max() < close_sound(model, requests_)

    def test_rows_in_lines_are_observed_as_padded_ones(self, model, prepared):
        if not self.packs:
            return
        size, rows = (model.info.layers, model.info.width, len(prepared)), range(len(prepared))
        padded, in_lines = ScopeStatistics(*size), ScopeStatistics(*size)
        wanted = model.score(prepared, observe=padded)
        lines = [pack([row], model.device, whole=True) for row in prepared]
        watching = [in_lines.of([row], [len(prepared[row])]) for row in rows]
        found = model.score_lines(lines, watching, in_lines.of(rows))
        assert [score.letter for score in found] == [score.letter for score in wanted]
        one, other = padded.block(), in_lines.block()
        assert (one.tokens == other.tokens).all()
        for scope in ("decision", "answer"):
            most = np.abs(one.values[scope]).max()
            np.testing.assert_allclose(other.values[scope], one.values[scope], rtol=2e-3, atol=2e-3 * most)
        np.testing.assert_allclose(other.abs_sum, one.abs_sum, rtol=1e-3)

    def test_the_largest_difference_is_printed(self, model, proofs, capsys):
        measured = {name: proof.measured for name, proof in proofs.items() if proof.measured is not None}
        assert set(measured) >= {"site exact", "batch equals single", "cached audio equals the full forward"}
        row = {"family": model.info.family, "largest difference": max(measured.values()), **measured}
        with capsys.disabled():
            print(f"\n{row['family']}: largest difference {row['largest difference']:.2g}")
        if table := os.environ.get("EMOSCOPE_FAMILY_TABLE"):  # a file to which the rows of docs/models.md are written
            with Path(table).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    # The official code.

    def test_logits_equal_the_official_forward(self, model, requests_, prepared, close):
        together = self.official_logits(model, requests_)
        assert (model.next_logits(prepared) - together).abs().max() < close
        for request, row in zip(requests_, prepared, strict=True):
            assert (model.next_logits([row]) - self.official_logits(model, [request])).abs().max() < close

    def test_greedy_answers_equal_the_official_generate(self, model, requests_, prepared):
        tokens, _ = model.write(prepared, max_new_tokens=6)
        stop = set(model.stop_tokens.tolist())
        for request, row in zip(requests_, tokens.tolist(), strict=True):
            official = self.official_tokens(model, request, 6)
            assert row[: len(official)] == official
            assert len(official) == 6 or official[-1] in stop

    def test_a_question_without_sound(self, model, close):
        requests = [Request(None, QUESTION, ("A", "B")), Request(None, "Say A or B.", ("A", "B"))]
        rows = model.prepare(requests)
        assert all(AUDIO not in row.scopes.tolist() for row in rows)
        for request, row in zip(requests, rows, strict=True):
            assert (model.next_logits([row]) - self.official_logits(model, [request])).abs().max() < close
        assert (model.next_logits(rows) - torch.cat([model.next_logits([row]) for row in rows])).abs().max() < close

    @pytest.mark.filterwarnings("ignore")
    def test_the_checkpoints_sampling_is_switched_off(self, model, requests_, prepared):
        assert model.model.generation_config.do_sample
        torch.manual_seed(1)
        first = model.write(prepared, max_new_tokens=6)[0]
        torch.manual_seed(2)
        assert torch.equal(model.write(prepared, max_new_tokens=6)[0], first)
        # the checkpoint's own settings do give other answers: greedy decoding is not what it would do by itself
        drawn = set()
        for seed in range(5):
            torch.manual_seed(seed)
            drawn.add(
                str(model.model.generate(**self.official_inputs(model, requests_[:1]), max_new_tokens=6).tolist())
            )
        assert len(drawn) > 1

    # Batches.

    def test_clips_of_a_batch_do_not_leak_into_each_other(self, model, requests_, prepared):
        close, own = close_sound(model, requests_), requests_[0].audio
        for request, row in zip(requests_, prepared, strict=True):
            (alone,) = model.prepare([request])
            assert torch.equal(alone.scopes, row.scopes)
            assert (alone.embeddings - row.embeddings).abs().max() < close
        loud = Request(sound(max(self.seconds), 99) * 10, "Something else entirely.", ("A",))
        for order in ((0, 1), (1, 0)):
            pair = [[loud, requests_[0]][i] for i in order]
            row = model.prepare(pair)[order.index(1)]
            assert (row.embeddings - prepared[0].embeddings).abs().max() < close
        # a thousandth of the loud clip in the other would be found
        (leaky,) = model.prepare([replace(requests_[0], audio=own + 0.001 * loud.audio[: len(own)])])
        assert (leaky.embeddings - prepared[0].embeddings).abs().max() > 10 * close

    def test_rows_of_mixed_length_are_padded_on_the_declared_side(self, model, requests_, prepared, close):
        assert len({len(row) for row in prepared}) > 2
        official = self.official_inputs(model, requests_).get("attention_mask")
        assert official is None or torch.equal(official, model.batch(prepared).mask)
        batch = model.batch(prepared)
        outer = 0 if model.padding_side == "left" else -1
        shortest = min(range(len(prepared)), key=lambda i: len(prepared[i]))
        assert batch.mask[shortest, outer] == 0
        assert batch.mask[shortest, -1 - outer] == 1
        alone = torch.cat([model.next_logits([row]) for row in prepared])
        assert (model.next_logits(batch) - alone).abs().max() < close

    def test_gains_of_a_row_act_on_it_alone_while_writing(self, model, prepared, close):
        draw = torch.Generator().manual_seed(0)
        shape = len(prepared), model.info.width
        values = {layer: torch.rand(shape, generator=draw) * 3 - 0.5 for layer in range(model.info.layers)}
        _, together = model.write(prepared, Gains(values), max_new_tokens=4, keep_logits=True)
        plain = model.next_logits(prepared)
        for place, row in enumerate(prepared):
            own = Gains({layer: value[place : place + 1] for layer, value in values.items()})
            _, alone = model.write([row], own, max_new_tokens=4, keep_logits=True)
            for step, logits in enumerate(alone):
                assert (together[step][place] - logits[0]).abs().max() < close
            assert (together[0][place] - plain[place]).abs().max() > 0.01

    # Other ways of loading.

    def test_another_attention_implementation_answers_alike(self, folder, model, requests_, prepared, close):
        eager = load_model(folder, attention="eager")
        assert eager.model.config._attn_implementation == "eager"
        assert (eager.next_logits(eager.prepare(requests_)) - model.next_logits(prepared)).abs().max() < close

    def test_bfloat16_answers_nearly_alike(self, folder, model, requests_, prepared):
        half = load_model(folder, dtype="bfloat16")
        rows = half.prepare(requests_)
        assert {row.embeddings.dtype for row in rows} == {torch.bfloat16}
        # one by one: the official forward counts the positions of a batch from its padding, which rounds otherwise
        for request, row in zip(requests_, rows, strict=True):
            assert (half.next_logits([row]) - half.full_logits([request])).abs().max() < SAME["bfloat16"]
        plain = model.next_logits(prepared)
        assert (half.next_logits(rows) - plain).abs().max() < 0.2 * plain.abs().max()
        assert all(np.isfinite(score.logp).all() for score in half.score(rows))

    # Scopes.

    def test_scopes_name_every_position(self, model, requests_, prepared):
        for request, row in zip(requests_, prepared, strict=True):
            scopes = row.scopes.tolist()
            positions = len(model.hear([request.audio])[0])
            audio = [i for i, scope in enumerate(scopes) if scope == AUDIO]
            assert len(audio) == positions > 1
            assert audio == list(range(audio[0], audio[0] + positions))
            assert scopes.count(DECISION) == 1
            assert scopes[-1] == DECISION
            assert set(scopes) == {AUDIO, TEXT, DECISION}
            ids = torch.tensor(model.tokens(request.text, positions))
            assert request.text in model.tokenizer.decode(ids[row.scopes == TEXT])
            # the question stands wholly on one side of the sound
            after = request.text in model.tokenizer.decode(ids[audio[-1] + 1 :])
            before = request.text in model.tokenizer.decode(ids[: audio[0]])
            assert (after, before) == (model.info.audio_first, not model.info.audio_first)

    def test_an_observer_sees_the_prompt_and_the_answer(self, model, prepared):
        recorder = Recorder()
        model.score(prepared, observe=recorder)
        layers, scopes = model.info.layers, model.batch(prepared).scopes
        assert [layer for layer, *_ in recorder.seen] == [*range(layers)] * 2
        assert all(torch.equal(seen, scopes) for _, seen, _ in recorder.seen[:layers])
        assert all(set(seen.flatten().tolist()) == {ANSWER} for _, seen, _ in recorder.seen[layers:])
        assert {shape[-1] for *_, shape in recorder.seen} == {model.info.width}

    def test_text_with_the_audio_token_is_refused(self, model):
        word = model.tokenizer.decode([model.audio_token])
        with pytest.raises(ValueError, match="audio token"):
            model.prepare([Request(sound(self.seconds[0]), f"a {word} b", ("A",))])

    def test_exposure_names_its_sources(self, model):
        assert {"iemocap", "meld", "msp-podcast", "ravdess", "crema-d"} <= set(model.exposure)
        for seen, source in model.exposure.values():
            assert seen in ("yes", "no", "unknown")
            assert len(source) > 10

    # That the tests above can fail.

    def test_other_weights_and_other_sounds_give_other_answers(self, model, prepared, tmp_path):
        other = load_model(type(self).write(tmp_path / "other", seed=1))
        assert (other.next_logits(prepared) - model.next_logits(prepared)).abs().max() > 0.5
        one, two = model.prepare([Request(sound(self.seconds[0], i), QUESTION, ("A",)) for i in (7, 8)])
        assert (model.next_logits([one]) - model.next_logits([two])).abs().max() > 1e-3
