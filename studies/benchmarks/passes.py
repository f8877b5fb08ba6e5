"""What the passes of the intervening stage cost beside transformers' own backbone, padded and in one line.

    OMP_NUM_THREADS=1 python studies/benchmarks/passes.py                          # the embedded model
    OMP_NUM_THREADS=1 python studies/benchmarks/passes.py --shape 24x896x4864      # random weights of that shape
    … --lengths log-normal                                                         # clips of 3.5 s, sigma 0.6

Rows are random embeddings: 60 positions of text, 25 a second of sound; lengths are equal (4 s) or log-normal. Each row
is under the gains of one of five folds, on 0.5 % of the neurons. In each round every contestant runs over all rows:
the backbone alone, without mask or gains where lengths are equal (backbone); letters under gains, in padded batches
(padded) and in one line (line); the same at the last position alone (last). Ratios are medians over rounds of ratios
within a round; answers are compared, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from listening import shaped, timed

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM, Prepared

FOLDS, BUDGET = 5, 0.005


def rows_of(model: AudioLM, count: int, lengths: str) -> list[Prepared]:
    """Rows of random embeddings, about as large as those of a prompt."""
    from emoscope.models.audio_lm import Prepared
    from emoscope.models.values import AUDIO, DECISION, TEXT

    draw = np.random.default_rng(0)
    seconds = np.full(count, 4.0) if lengths == "equal" else draw.lognormal(np.log(3.5), 0.6, count).clip(0.5, 20)
    size = float(model.model.get_input_embeddings().weight.detach().std())
    rows = []
    for sound in (25 * seconds).astype(int):
        scopes = torch.tensor([TEXT] * 10 + [AUDIO] * sound + [TEXT] * 49 + [DECISION], dtype=torch.int8)
        values = draw.normal(0, size, (len(scopes), model.info.hidden))
        rows.append(Prepared(torch.tensor(values, dtype=torch.float32), scopes, ("A", "B", "C")))
    return rows


def main() -> None:
    """Print ratios, padding and the largest differences."""
    from emoscope.experiments.heard import batches
    from emoscope.experiments.listen import positions_per_batch
    from emoscope.experiments.study import parse_study
    from emoscope.interventions.intervention import sparse_gains
    from emoscope.interventions.kinds import deactivate
    from emoscope.models.passes import pack
    from emoscope.models.registry import load_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="", help="layers x hidden x width of a random decoder")
    parser.add_argument("--lengths", default="equal", choices=["equal", "log-normal"])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    model = shaped(*map(int, given.shape.split("x"))) if given.shape else load_model("tiny")
    rows, info = rows_of(model, given.rows, given.lengths), model.info
    size = positions_per_batch(parse_study('name = "b"\n[[corpora]]\nid = "polish"\n'), info)
    draw = np.random.default_rng(1)
    neurons = [draw.choice(info.layers * info.width, int(BUDGET * info.layers * info.width), replace=False)] * FOLDS
    neurons = [np.roll(some, fold) + 0 for fold, some in enumerate(neurons)]
    for positions in ("all", "decision"):
        sets = [deactivate(np.sort(some), positions=positions) for some in neurons]
        gains = sparse_gains(info, [sets[row % FOLDS] for row in range(len(rows))])
        padded = [(group, model.batch([rows[row] for row in group])) for group in batches(rows, size)]
        in_line = [
            (group, pack([rows[row] for row in group], model.device)) for group in batches(rows, size, padded=False)
        ]
        last = [(group, model.last_positions(batch)) for group, batch in in_line] if positions == "decision" else []

        def backbone(padded: list[tuple[list[int], object]] = padded) -> None:
            for _, batch in padded:
                where = (
                    {}
                    if given.lengths == "equal"
                    else {"attention_mask": batch.mask, "position_ids": batch.position_ids}
                )
                model.decoder.backbone(inputs_embeds=batch.embeddings, use_cache=False, **where)

        def asked(groups: Sequence[tuple[list[int], object]], gains: object = gains) -> dict[int, np.ndarray]:
            scores = [(group, model.score(batch, gains.of(group))) for group, batch in groups]
            return {row: score.logp for group, of in scores for row, score in zip(group, of, strict=True)}

        kinds: dict[str, Callable[[], object]] = {"backbone": backbone, "padded": lambda a=asked, p=padded: a(p)}
        kinds |= {"line": lambda a=asked, p=in_line: a(p)} | ({"last": lambda a=asked, p=last: a(p)} if last else {})
        with torch.inference_mode():
            seconds = timed(kinds, given.rounds)
            answers = {name: work() for name, work in kinds.items() if name != "backbone"}
        own = sum(map(len, rows))
        wasted = 1 - own / sum(batch.mask.numel() for _, batch in padded)
        print(
            f"{info.id}, gains at {positions} positions: {len(rows)} rows, {own} positions, {wasted:.1%} padding in batches"
        )
        for name, taken in seconds.items():
            ratios = [one / base for one, base in zip(taken, seconds["backbone"], strict=True)]
            told = f"{1000 * median(taken) / len(rows):.2f} ms a row, {median(ratios):.3f} x the backbone"
            if name in answers:
                pairs = [(answers[name][row], answers["padded"][row]) for row in range(len(rows))]
                told += f"; log-probabilities within {max(np.abs(a - b).max() for a, b in pairs):.1g} of padded ones"
            print(f"  {name}: {told}")


if __name__ == "__main__":
    main()
