"""What listening costs beside a plain forward pass of the same rows, and how much memory it takes beside the model.

    OMP_NUM_THREADS=1 python studies/benchmarks/listening.py                       # the embedded model
    OMP_NUM_THREADS=1 python studies/benchmarks/listening.py --shape 24x896x4864   # random weights of that shape
    … --against OTHER/src/emoscope/models/statistics.py   # next to the statistics of another version

The rows are clips of the embedded corpus, encoded once, in the batches of a study. In each round every contestant runs
over all batches: the decoder without its output head (plain), letters without statistics (asked), statistics without
letters (observed), and both (heard), which also feeds the answer back. Ratios are medians over rounds of ratios within a round.
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
    from emoscope.models.audio_lm import AudioLM, Batch

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


def rows_of(model: AudioLM, clips: int) -> list[Batch]:
    """The batches in which a study hears so many clips."""
    from emoscope.corpora import open_corpus
    from emoscope.corpora.audio import hear
    from emoscope.experiments.listen import batches, positions_per_batch
    from emoscope.experiments.study import parse_study
    from emoscope.models.audio_lm import Request
    from emoscope.questions import Question

    asked = Question("emotion", ("anger", "fear", "neutral"))
    sounds = [hear(clip.path).samples for clip in open_corpus("polish").clips[:clips]]
    prepared = model.prepare([Request(one, asked.text, asked.letters) for one in sounds])
    groups = batches(prepared, positions_per_batch(parse_study('name = "b"\n[[corpora]]\nid = "polish"\n'), model.info))
    order = [[prepared[row] for row in rows] for rows in groups]
    return [model.batch(rows) for rows in order]


def main() -> None:
    """Print ratios and memory."""
    from emoscope.models.hooks import hooked
    from emoscope.models.registry import load_model
    from emoscope.models.statistics import ScopeStatistics

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="", help="layers x hidden x width of a random decoder")
    parser.add_argument("--clips", type=int, default=BLOCK)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", default="", help="the module of another version")
    given = parser.parse_args()
    model = shaped(*map(int, given.shape.split("x"))) if given.shape else load_model("tiny")
    kinds = {"heard": ScopeStatistics}
    if given.against:
        spec = importlib.util.spec_from_file_location("other_statistics", given.against)
        other = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[spec.name] = other  # type: ignore[union-attr]
        spec.loader.exec_module(other)  # type: ignore[union-attr]
        kinds["heard by the other"] = other.ScopeStatistics
    rows = rows_of(model, given.clips)
    positions = sum(int(batch.mask.numel()) for batch in rows)

    def plain() -> None:
        for batch in rows:
            model._read_prompt(batch, use_cache=False)

    def asked() -> None:
        for batch in rows:
            model.score(batch)

    def heard(kind: type[ScopeStatistics]) -> list[object]:
        statistics, start = kind(model.info.layers, model.info.width, sum(map(len, rows))), 0
        for batch in rows:
            model.score(batch, observe=statistics.of(range(start, start + len(batch))))
            start += len(batch)
        return [statistics.block()]

    def observed() -> list[object]:
        statistics, start = ScopeStatistics(model.info.layers, model.info.width, sum(map(len, rows))), 0
        for batch in rows:
            part = statistics.of(range(start, start + len(batch)))
            with hooked(model.decoder, None, part, batch.scopes, 1):
                model._read_prompt(batch, use_cache=False)
            start += len(batch)
        return [statistics.block()]

    contestants: dict[str, Callable[[], object]] = {"plain": plain, "asked": asked, "observed": observed}
    contestants |= {name: (lambda kind=kind: heard(kind)) for name, kind in kinds.items()}
    with torch.inference_mode():
        seconds = timed(contestants, given.rounds)
        memory = {name: peak_beside(work) / 1e6 for name, work in contestants.items()}
    print(f"{model.info.id}: {given.clips} clips in {len(rows)} batches, {positions} positions, {given.rounds} rounds")
    for name, taken in seconds.items():
        ratio = median(one / base for one, base in zip(taken, seconds["plain"], strict=True))
        told = f"{1000 * median(taken) / given.clips:.2f} ms a clip, {ratio:.3f} x plain"
        print(f"{name}: {told}; memory grew by {memory[name]:.0f} MB at most")


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
