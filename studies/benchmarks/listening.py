"""What listening costs beside a plain forward pass of the same rows, and how much memory it takes beside the model.

    OMP_NUM_THREADS=1 python studies/benchmarks/listening.py                       # the embedded model
    OMP_NUM_THREADS=1 python studies/benchmarks/listening.py --shape 24x896x4864   # random weights of that shape
    … --against OTHER/src/emoscope/models/statistics.py   # next to the statistics of another version

The rows are clips of the embedded corpus, encoded once, in the batches of a study. In each round every contestant runs
over all of them: the decoder without its output head, on padded batches (plain) and on rows in one line (line); letters
without statistics (asked) and statistics without letters (observed), in one line; both, which also feeds answers back,
in one line as a study does (heard), and padded, batch by batch (heard padded); and the gradients that selectors by
attribution need, of all options (attributed). Ratios are medians over rounds of ratios within a round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM, Batch, Prepared

BLOCK = 64


def shaped(layers: int, hidden: int, width: int) -> AudioLM:
    """A model with the embedded one's ears and vocabulary, and a random decoder of another shape."""
    import transformers as hf

    from emoscope.models.registry import wrap

    folder = Path(str(importlib.util.find_spec("emoscope").submodule_search_locations[0])) / "data" / "tiny"  # type: ignore[union-attr, index]
    given = json.loads((folder / "config.json").read_text())
    heads = hidden // 64
    given["text_config"] |= {
        "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": width, "head_dim": 64,
        "num_attention_heads": heads, "num_key_value_heads": 2, "layer_types": ["full_attention"] * layers,
    }  # fmt: skip
    given.pop("architectures"), given.pop("dtype")
    torch.manual_seed(0)
    made = hf.AudioFlamingo3ForConditionalGeneration(hf.AudioFlamingo3Config(**given)).float().eval()
    return wrap(made, hf.AutoProcessor.from_pretrained(folder), id=f"{layers} x {hidden} x {width}")


def rss() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_beside(work: Callable[[], object]) -> int:
    """By how many bytes memory grew at most while ``work`` ran, looked at every millisecond."""
    before = most = rss()
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.001):
            most = max(most, rss())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    ended.set()
    watcher.join()
    return most - before


def rows_of(model: AudioLM, clips: int) -> tuple[list[Prepared], int]:
    """The prompts of so many clips, and how many positions a study hears at once."""
    from emoscope.corpora import open_corpus
    from emoscope.corpora.audio import hear
    from emoscope.experiments.listen import positions_per_batch
    from emoscope.experiments.study import parse_study
    from emoscope.models.audio_lm import Request
    from emoscope.questions import Question

    asked = Question("emotion", ("anger", "fear", "neutral"))
    sounds = [hear(clip.path).samples for clip in open_corpus("polish").clips[:clips]]
    prepared = model.prepare([Request(one, asked.text, asked.letters) for one in sounds])
    return prepared, positions_per_batch(parse_study('name = "b"\n[[corpora]]\nid = "polish"\n'), model.info)


def main() -> None:
    """Print ratios and memory."""
    from emoscope.experiments.heard import batches, together
    from emoscope.experiments.listen import FED_TOGETHER
    from emoscope.models.hooks import hooked
    from emoscope.models.passes import pack
    from emoscope.models.registry import load_model
    from emoscope.models.statistics import ScopeStatistics

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="", help="layers x hidden x width of a random decoder")
    parser.add_argument("--clips", type=int, default=BLOCK)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", default="", help="the module of another version")
    given = parser.parse_args()
    model = shaped(*map(int, given.shape.split("x"))) if given.shape else load_model("tiny")
    kinds = {"heard padded": ScopeStatistics}
    if given.against:
        spec = importlib.util.spec_from_file_location("other_statistics", given.against)
        other = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[spec.name] = other  # type: ignore[union-attr]
        spec.loader.exec_module(other)  # type: ignore[union-attr]
        kinds["heard by the other"] = other.ScopeStatistics
    prepared, size = rows_of(model, given.clips)
    lengths = [len(row) for row in prepared]
    padded = [(group, model.batch([prepared[row] for row in group])) for group in batches(prepared, size)]
    groups = batches(prepared, size, padded=False)
    lines = [pack([prepared[row] for row in group], model.device, whole=True) for group in groups]
    answered, waiting = list(together(groups, prepared, FED_TOGETHER * size)), iter(lines)
    parts = [[(group, next(waiting)) for group in part] for part in answered]
    in_line = [pair for part in parts for pair in part]

    def plain(batches: Sequence[tuple[list[int], Batch]]) -> None:
        for _, batch in batches:
            model.read_prompt(batch)

    def asked() -> None:
        for _, batch in in_line:
            model.score(batch)

    def heard_padded(kind: type[ScopeStatistics]) -> list[object]:
        statistics = kind(model.info.layers, model.info.width, len(prepared))
        for group, batch in padded:
            model.score(batch, observe=statistics.of(group))
        return [statistics.block()]

    def heard() -> list[object]:
        statistics = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
        for part in parts:
            watching = [statistics.of(group, [lengths[row] for row in group]) for group, _ in part]
            rows = [row for group, _ in part for row in group]
            model.score_lines([batch for _, batch in part], watching, statistics.of(rows))
        return [statistics.block()]

    def observed() -> list[object]:
        statistics = ScopeStatistics(model.info.layers, model.info.width, len(prepared))
        for group, batch in in_line:
            part = statistics.of(group, [lengths[row] for row in group])
            with hooked(model.decoder, None, part, batch.scopes, 1, batch.layout):
                model.read_prompt(batch)
        return [statistics.block()]

    def attributed() -> None:
        with torch.inference_mode(False):
            for group in groups:
                rows = [prepared[row] for row in group]
                model.attribute(rows, [row.letters for row in rows])

    model.packs = True
    contestants: dict[str, Callable[[], object]] = {"plain": lambda: plain(padded), "line": lambda: plain(in_line)}
    contestants |= {"asked": asked, "observed": observed, "heard": heard, "attributed": attributed}
    contestants |= {name: (lambda kind=kind: heard_padded(kind)) for name, kind in kinds.items()}
    with torch.inference_mode():
        seconds = timed(contestants, given.rounds)
        memory = {name: peak_beside(work) / 1e6 for name, work in contestants.items()}
    positions = sum(int(batch.mask.numel()) for _, batch in padded)
    print(
        f"{model.info.id}: {given.clips} clips of {sum(lengths)} positions, {positions} in {len(padded)} padded batches"
    )
    print(f"{len(lines)} lines, answers in {len(parts)} passes; {given.rounds} rounds")
    for name, taken in seconds.items():
        ratios = [[one / base for one, base in zip(taken, seconds[other], strict=True)] for other in ("plain", "line")]
        told = f"{1000 * median(taken) / given.clips:.2f} ms a clip, {median(ratios[0]):.3f} x plain"
        print(f"{name}: {told}, {median(ratios[1]):.3f} x line; memory grew by {memory[name]:.0f} MB at most")


def timed(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, Sequence[float]]:
    """Processor seconds of each contestant in each round, after one that does not count: other work is not counted."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, work in contestants.items():
            began = time.process_time()
            work()
            if number:
                seconds[name].append(time.process_time() - began)
    return dict(seconds)


if __name__ == "__main__":
    main()
