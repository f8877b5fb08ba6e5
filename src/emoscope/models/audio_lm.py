"""What every audio-language model can do here: prepare requests, score letters, generate, under gains per row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import overload

import numpy as np
import torch
from torch import nn

from emoscope.corpora.audio import RATE
from emoscope.models import values
from emoscope.models.attribution import PROMPT, Attribution, attribute
from emoscope.models.family import Family
from emoscope.models.hooks import SparseGains, hooked
from emoscope.models.passes import KeysValues, LastPositions, Line, Start, only_blocks, run_to, running
from emoscope.models.values import (
    ANSWER,
    Batch,
    Gains,
    ModelInfo,
    Observer,
    Prepared,
    ProofFailed,
    Request,
    Rows,
    Score,
)

__all__ = ["AudioLM", "Batch", "Gains", "ModelInfo", "Observer", "Prepared", "ProofFailed", "Request", "Score", "Start"]

AUDIO_WINDOWS = 16  # clips whose sound is encoded together; more save little time and take memory


class Scores(Sequence[Score]):
    """A score for each row of logits (row, vocab); the device is waited for when they are first looked at.

    A letter's probability sums its forms. ``ValueError`` at once for a row without letters.
    """

    def __init__(
        self,
        logits: torch.Tensor,
        asked: Sequence[tuple[str, ...]],
        forms: Mapping[str, tuple[int, ...]],
        tokenizer: values.Tokenizer,
    ) -> None:
        for row, options in enumerate(asked):
            if not options:
                raise ValueError(f"row {row} has no letters to score: generate its answer")
        self._asked, self._tokenizer = asked, tokenizer
        self._forms = {letter: forms[letter] for letter in sorted({letter for row in asked for letter in row})}
        tokens = torch.tensor([token for letter in self._forms.values() for token in letter])
        logp = torch.log_softmax(logits.double(), -1)
        self._waiting: list[torch.Tensor] = [logp.index_select(1, values.sent(tokens, logp.device)), logp.argmax(-1)]

    @cached_property
    def _read(self) -> tuple[list[Score], torch.Tensor]:
        """The scores, and the token id of the likeliest form of each row's best letter."""
        logp, likeliest = (tensor.cpu() for tensor in self._waiting)
        self._waiting.clear()
        parts = logp.split([len(tokens) for tokens in self._forms.values()], dim=1)
        by_form = {letter: part.contiguous() for letter, part in zip(self._forms, parts, strict=True)}
        by_letter = {letter: part.logsumexp(-1).numpy() for letter, part in by_form.items()}
        favourite = {letter: part.argmax(-1).tolist() for letter, part in by_form.items()}
        top = likeliest.tolist()
        words = {token: self._tokenizer.decode([token]) for token in set(top)}
        scores, best = [], []
        for row, options in enumerate(self._asked):
            of_options = np.array([by_letter[letter][row] for letter in options])
            letter = options[int(of_options.argmax())]
            scores.append(Score(of_options, float(np.exp(of_options).sum()), words[top[row]], letter))
            best.append(self._forms[letter][favourite[letter][row]])
        return scores, torch.tensor(best)

    @property
    def best(self) -> torch.Tensor:
        """Token id of the likeliest form of each row's best letter, (row,)."""
        return self._read[1]

    @overload
    def __getitem__(self, row: int) -> Score: ...
    @overload
    def __getitem__(self, row: slice) -> list[Score]: ...
    def __getitem__(self, row: int | slice) -> Score | list[Score]:
        return self._read[0][row]

    def __len__(self) -> int:
        return len(self._asked)


class AudioLM(Family):
    """A loaded audio-language model; a family is a short subclass that writes what stands in ``Family``."""

    @torch.inference_mode()
    def prepare(self, requests: Sequence[Request]) -> list[Prepared]:
        """Turn requests into decoder inputs: the prompt, with the audio in its place; equal clips are encoded once.

        ``ValueError`` for a letter that no token of the vocabulary says, a text that holds the audio token, or a clip
        that is longer than the model takes.
        """
        for letter in sorted({letter for request in requests for letter in request.letters} - set(self.letters)):
            raise ValueError(f"letter {letter!r}: no single token of {self.info.id} says it; ask with other letters")
        limit, longest = self.longest_s, max((len(r.audio) for r in requests if r.audio is not None), default=0) / RATE
        if limit is not None and longest > limit:
            # the official processors cut such clips without an error, and an answer about a part would pass for one
            raise ValueError(
                f"a clip of {longest:.1f} s is longer than the {limit:g} s that {self.info.id} takes: "
                "leave it out by its duration, or cut it"
            )
        keys = [None if r.audio is None else hashlib.sha256(r.audio.tobytes()).digest() for r in requests]
        clips = {key: r.audio for key, r in zip(keys, requests, strict=True) if r.audio is not None}
        heard: dict[bytes | None, torch.Tensor] = {}
        for start in range(0, len(clips), AUDIO_WINDOWS):
            part = list(clips)[start : start + AUDIO_WINDOWS]
            heard.update(zip(part, self.hear([clips[key] for key in part]), strict=True))
        return [self._prepare(request, heard.get(key)) for request, key in zip(requests, keys, strict=True)]

    def _prepare(self, request: Request, audio: torch.Tensor | None) -> Prepared:
        if (word := self.audio_word) and word in request.text:
            raise ValueError(f"the text {request.text[:60]!r} holds the audio token {word}: leave it out")
        positions = 0 if audio is None else len(audio)
        ids = torch.tensor(self.tokens(request.text, positions))
        place = ids == self.audio_token
        if int(place.sum()) != positions:
            raise ValueError(
                f"the prompt has {int(place.sum())} audio tokens where the clip gives {positions}: "
                f"the text {request.text[:60]!r} must not hold the model's audio token"
            )
        embeddings = self.embed(ids.to(self.device)).clone()
        if audio is not None:
            embeddings[place.to(embeddings.device)] = audio.to(embeddings)
        scopes = torch.where(place, values.AUDIO, values.TEXT).to(torch.int8)
        scopes[-1] = values.DECISION
        return Prepared(embeddings.cpu(), scopes, tuple(request.letters))

    @torch.inference_mode()
    def batch(self, prepared: Rows) -> Batch:
        """Pad prepared rows and bring them to the device, once for many interventions; ``ValueError`` for none."""
        return prepared if isinstance(prepared, Batch) else values.pad(prepared, self.padding_side, self.device)

    @torch.inference_mode()
    def last_positions(self, batch: Batch) -> Batch:
        """The last positions of rows that stand in a line, for gains that act there alone.

        An untouched pass is made over the rows, whose keys and values are kept.
        """
        line = batch.layout
        if not isinstance(line, Line):
            raise ValueError("rows that are padded have no last positions to ask alone: give a batch of packed.pack")
        left = dict[nn.Module, KeysValues]()
        self.read_prompt(replace(batch, layout=replace(line, left=left)))
        layout = LastPositions((batch.lengths,), (left,))
        embeddings, position_ids = batch.embeddings[:, line.last], batch.position_ids[..., line.last]
        ones = batch.mask.new_ones(1, len(batch))
        return Batch(embeddings, ones, position_ids, line.scopes[line.last], batch.lengths, batch.letters, layout)

    @torch.inference_mode()
    def score(
        self,
        prepared: Rows,
        gains: Gains | SparseGains | None = None,
        observe: Observer | None = None,
        start: Start | None = None,
    ) -> Sequence[Score]:
        """Score the letters of each row in one pass of the decoder; a GPU is waited for when a score is looked at.

        Args:
            gains: factors on neurons, a row of gains for each row; changes set by :meth:`under` act on top.
            observe: sees every layer's activations. The model's own best letter is then fed back in one further
                pass, so that activations at the answer position exist.
            start: of the same batch, from :meth:`begin`: layers before it are not run. Gains must act in later
                layers alone, and nothing can be observed.

        :class:`ProofFailed` where a hook did not fire as often as it must, ``ValueError`` for gains of the wrong shape.
        """
        batch, watched = self.batch(prepared), observe is not None
        if watched and batch.layout is not None:
            raise ValueError("rows in one line are observed by score_lines; given one by one, they are padded")
        own, forwards = self._gains(gains, len(batch)), 2 if watched else 1
        hooks = hooked(self.decoder, own, observe, batch.scopes, forwards, batch.layout)
        with hooks, only_blocks(self.decoder, start):
            hidden, cache = self.read_prompt(batch, use_cache=watched)
            scores = Scores(self.logits(hidden), batch.letters, self.letters, self.tokenizer)
            if watched:
                self._feed(scores.best.to(self.device), batch, cache, 0)
        return scores

    @torch.inference_mode()
    def score_lines(self, lines: Sequence[Batch], observe: Sequence[Observer], answer: Observer) -> list[Score]:
        """Score and observe rows that stand in lines, made by :func:`~emoscope.models.passes.pack` as a whole.

        The best letters of all rows are then fed back in one further pass, as each reads every weight.

        Args:
            observe: for each line, what sees its prompts: each position as a row of its own.
            answer: sees the answer positions, (row, 1, width), of the rows of all lines.
        """
        scores, left, places = list[Scores](), list[dict[nn.Module, KeysValues]](), list[torch.Tensor]()
        for batch, watching in zip(lines, observe, strict=True):
            if not isinstance(batch.layout, Line) or not batch.layout.whole:
                raise ValueError(
                    "only rows in a line that is worked on as a whole are observed: give pack(..., whole=True)"
                )
            left.append({})
            seen = replace(batch, layout=replace(batch.layout, left=left[-1]))
            own = self._gains(None, len(batch))
            with hooked(self.decoder, own, watching, batch.scopes, 1, seen.layout):
                hidden, _ = self.read_prompt(seen)
            scores.append(Scores(self.logits(hidden), batch.letters, self.letters, self.tokenizer))
            places.append(batch.position_ids[..., batch.layout.last])
        layout = LastPositions(tuple(batch.lengths + 1 for batch in lines), tuple(left), ANSWER)
        best, last = torch.cat([part.best for part in scores]).to(self.device), torch.cat(places, -1)
        rows, scopes = layout.seen(len(best))
        batch = Batch(
            embeddings=self.embed_answer(best[:, None]).transpose(0, 1),
            mask=torch.ones_like(rows)[None],
            position_ids=(last.reshape(-1, len(best)).amax(0) + 1).expand(last.shape),
            scopes=scopes,
            lengths=torch.cat(layout.lengths),
            letters=tuple(row for batch in lines for row in batch.letters),
            layout=layout,
        )
        with hooked(self.decoder, self._gains(None, len(batch)), answer, scopes, 1, layout):
            self.read_prompt(batch)
        return [score for part in scores for score in part]

    @torch.inference_mode()
    def next_logits(
        self, prepared: Rows, gains: Gains | SparseGains | None = None, start: Start | None = None
    ) -> torch.Tensor:
        """Logits float32 (row, vocab) of the first answer token: what :meth:`score` reads the letters from."""
        batch = self.batch(prepared)
        own = self._gains(gains, len(batch))
        with hooked(self.decoder, own, None, batch.scopes, 1, batch.layout), only_blocks(self.decoder, start):
            return self.logits(self.read_prompt(batch)[0])

    @torch.inference_mode()
    def begin(self, prepared: Rows, layer: int, earlier: Start | None = None, into: bool = True) -> Start:
        """Run the untouched decoder up to ``layer``, the first that later passes over the same batch run.

        At the number of layers they run the final norm alone. ``earlier`` is a start of the same batch to go on from;
        ``ValueError`` for a layer before it, or one that the decoder does not have. With ``into`` they begin at the
        gated product of the layer, as far as its attention is found, and else before the layer.
        """
        batch = self.batch(prepared)
        return run_to(self.decoder, layer, earlier, lambda: self.read_prompt(batch), into)

    @property
    def shares_keys(self) -> bool:
        """Whether some layer attends to keys and values of an earlier one."""
        return any(getattr(module, "is_kv_shared_layer", False) for module in self.decoder.backbone.modules())

    def attribute(
        self, prepared: Sequence[Prepared], options: Sequence[Sequence[str]], scope: str | Sequence[str] = PROMPT
    ) -> Attribution:
        """Attribute the log-odds of letters of each row, among all of its letters, to the products of every neuron.

        One pass without and one with gradients, and as many backward passes as there are options; memory holds the graph
        of one layer.

        Args:
            options: the letters of each row that are attributed, equally many for every row.
            scope: the positions that are summed over, of the prompt.

        ``ValueError`` for another number of letters, an empty scope, changes by :meth:`under`, layers that share keys, or
        quantised weights through which no gradient passes. The first-order effect of switching a neuron off is the way of Dhamdhere,
        Sundararajan and Yan (2019), at one step.

        Example:
            >>> from emoscope.models.registry import load_model
            >>> model, silence = load_model("tiny"), np.zeros(8000, dtype=np.float32)
            >>> prepared = model.prepare([Request(silence, "Angry? (A) yes (B) no", ("A", "B"))])
            >>> found = model.attribute(prepared, [("A", "B")], "audio")
            >>> found.attributed.shape, bool(np.allclose(found.attributed[0], -found.attributed[1], atol=1e-5))
            ((2, 1, 4, 512), True)
        """
        if self._changes:
            raise ValueError("attribution is of the untouched model: call it outside of `under`")
        for row, letters in zip(prepared, options, strict=False):
            if unknown := [letter for letter in letters if letter not in row.letters]:
                raise ValueError(f"letter {unknown[0]!r} is none of the row's letters {', '.join(row.letters)}")
        with torch.inference_mode(False):
            return attribute(self, prepared, options, scope)

    @torch.inference_mode()
    def generate(self, prepared: Rows, gains: Gains | SparseGains | None = None, max_new_tokens: int = 20) -> list[str]:
        """Write the answer of each row greedily; gains act on the prompt and in every further step.

        The checkpoint's own sampling settings (temperature, repetition penalty ...) are not used, special tokens are
        left out, and fed-back tokens stand in scope ``answer``.
        """
        texts = []
        for row in self.write(prepared, gains, max_new_tokens)[0]:
            stop = torch.isin(row, self.stop_tokens.cpu()).nonzero().flatten()
            ids = row[: int(stop[0])] if len(stop) else row
            texts.append(str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)))
        return texts

    @torch.inference_mode()
    def write(
        self,
        prepared: Rows,
        gains: Gains | SparseGains | None = None,
        max_new_tokens: int = 20,
        keep_logits: bool = False,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Greedy tokens (row, step), and the logits (row, vocab) of each step if ``keep_logits``.

        A row that has ended is filled with its stop token.
        """
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens {max_new_tokens}: at least one token must be written")
        batch = self.batch(prepared)
        if batch.layout is not None:
            raise ValueError("rows in one line cannot write: give them one by one, and they are padded")
        written, kept = list[torch.Tensor](), list[torch.Tensor]()
        ended = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
        with hooked(self.decoder, self._gains(gains, len(batch)), None, batch.scopes) as firings:
            hidden, cache = self.read_prompt(batch, use_cache=True)
            while True:
                logits = self.logits(hidden)
                if keep_logits:
                    kept.append(logits)
                token = logits.argmax(-1).to(self.device)
                if written:
                    token = torch.where(ended, written[-1], token)
                written.append(token)
                ended |= torch.isin(token, self.stop_tokens)
                if bool(ended.all()) or len(written) == max_new_tokens:
                    break
                hidden = self._feed(token, batch, cache, len(written) - 1)
        if firings.forwards != len(written):
            raise ProofFailed(f"{len(written)} tokens were written in {firings.forwards} passes of the decoder")
        return torch.stack(written, 1).cpu(), kept

    @contextmanager
    def under(self, change: values.Changes) -> Iterator[AudioLM]:
        """Let an intervention act on each :meth:`score` and :meth:`generate` inside the block; blocks may be nested."""
        self._changes.append(change)
        try:
            yield self
        finally:
            self._changes.pop()

    def _gains(self, gains: Gains | SparseGains | None, rows: int) -> tuple[Gains | SparseGains, ...]:
        """All that acts on a batch, in order."""
        if gains is not None and gains.rows not in (None, rows):
            raise ValueError(f"gains have {gains.rows} rows, the batch has {rows}: give one row of gains per row")
        own = (change.gains(self.info, rows) for change in self._changes)
        return (*([] if gains is None else [gains]), *own)

    def read_prompt(self, batch: Batch, use_cache: bool = False) -> tuple[torch.Tensor, object]:
        """Hidden states (row, hidden) from which the first answer token is read, and the cache if one is asked for."""
        # the decoder itself rather than the whole model: the output head would run on every position
        where = {"attention_mask": batch.mask, "position_ids": batch.position_ids}
        with running(self.decoder, batch.layout):
            output = self.decoder.backbone(inputs_embeds=batch.embeddings, **where, use_cache=use_cache)
        hidden = output.last_hidden_state
        if isinstance(batch.layout, Line):
            return hidden[0, batch.layout.last.to(hidden.device)], None
        if batch.layout is not None:
            return hidden[0], None
        if self.padding_side == "left":
            return hidden[:, -1], output.past_key_values
        rows = torch.arange(len(batch), device=hidden.device)
        return hidden[rows, batch.lengths.to(hidden.device) - 1], output.past_key_values

    def _feed(self, token: torch.Tensor, batch: Batch, cache: object, step: int) -> torch.Tensor:
        """Feed one token (row,) back; ``step`` counts those fed before. Returns the hidden state (row, hidden)."""
        ones = torch.ones(len(batch), step + 1, dtype=batch.mask.dtype, device=batch.mask.device)
        last = (batch.position_ids * batch.mask).amax(-1)
        position = last.reshape(-1, len(batch)).amax(0) + 1 + step
        output = self.decoder.backbone(
            inputs_embeds=self.embed_answer(token[:, None]),
            attention_mask=torch.cat([batch.mask, ones], 1),
            position_ids=position[:, None].expand(*last.shape, 1),
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state[:, -1]

    def __repr__(self) -> str:
        i = self.info
        return f"AudioLM({i.id}: {i.family}, {i.layers} layers x {i.width} neurons, {i.dtype} on {i.device})"
