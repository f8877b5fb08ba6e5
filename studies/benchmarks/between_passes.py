"""Processor time of the host between the passes of the intervening stage, with the work of a 7B-sized decoder taken out.

    OMP_NUM_THREADS=1 python studies/benchmarks/between_passes.py
    OMP_NUM_THREADS=1 python studies/benchmarks/between_passes.py --against main      # and that commit, in turn

The stage itself runs, on a decoder of 28 layers x 18,944 neurons whose layers compute nothing, on torch's meta device:
tensors there have shapes and no values. Batches hold 41 rows and 8,159 positions, sets 0.5 % of the neurons, and five
folds their own; a device with room for a block is assumed, and 16 conditions share what is done once for a block.
Copies to a device cannot be timed here: their bytes are counted, and taken at the speed at which this host copies
memory. What happens within passes (changing the products: a few operations a layer, which a device takes in while it
works) stands in brackets, and is not part of the sum.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LAYERS, WIDTH, HIDDEN, SIZE = 28, 18_944, 3_584, 2_652
"""Audio Flamingo 3's decoder, and a set of 0.5 % of its neurons."""

ROWS, POSITIONS, BATCHES, UNITS = 41, 199, 6, 16
"""Of a batch; batches of a block, and conditions that are asked on it."""

STEPS = {
    "gains": (("interventions.intervention", "gains_for"), ("interventions.intervention", "sparse_gains")),
    "factors": (("models.hooks", "_factors"), ("models.hooks", "_changes")),
    "batches": (("models.values", "pad"), ("models.passes", "pack")),
    "answers": (("experiments.intervene", "answer_table"), ("runs.folder", "Unit.finish")),
}
"""What is timed by itself: functions, of which some exist in one version only."""


class Down(nn.Linear):
    """A linear layer that computes nothing."""

    def forward(self, product: torch.Tensor) -> torch.Tensor:
        """Nothing, of the shape of the rows."""
        return product[..., :HIDDEN]


class Layer(nn.Module):
    """A decoder layer that makes a gated product of the true shape and does nothing with it."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Module()
        self.mlp.gate_proj = self.mlp.up_proj = self.mlp.act_fn = nn.Identity()
        self.mlp.down_proj = Down(WIDTH, HIDDEN, bias=False, dtype=torch.bfloat16)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden state of the next layer."""
        return self.mlp.down_proj(hidden.new_empty(*hidden.shape[:2], WIDTH))


class Idle(nn.Module):
    """A language model of such layers, as far as it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=LAYERS, _attn_implementation="sdpa")
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.words = nn.Embedding(64, HIDDEN, dtype=torch.bfloat16)

    def get_input_embeddings(self) -> nn.Embedding:
        """Where the decoder's inputs come from."""
        return self.words

    get_output_embeddings = get_input_embeddings

    def forward(self, inputs_embeds: torch.Tensor, **_more: object) -> SimpleNamespace:
        """A pass without an effect."""
        for layer in self.layers:
            inputs_embeds = layer(inputs_embeds)
        return SimpleNamespace(last_hidden_state=inputs_embeds, past_key_values=None)


class Words:
    """A vocabulary of letters."""

    all_special_ids: tuple[int, ...] = ()

    def get_vocab(self) -> dict[str, int]:
        """Token to id."""
        return {chr(65 + n): n for n in range(26)}

    def decode(self, ids: list[int]) -> str:
        """Ids to text."""
        return "".join(chr(65 + n) for n in ids)


class Crossings(TorchDispatchMode):
    """Counts the bytes that are copied from the host to the device."""

    bytes = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        made = operation(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        copies = str(operation).split(".")[1] in ("to", "_to_copy", "copy_")
        if copies and made.is_meta and any(one.ndim and not one.is_meta for one in given):
            self.bytes += made.nbytes
        return made


def timed(spent: Counter[str], step: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose time is added to that of a step."""

    def run(*args: Any, **more: Any) -> Any:
        began = time.process_time()
        made = work(*args, **more)
        if step == "factors":
            made = made if isinstance(made, dict) else list(made)
        spent[step] += time.process_time() - began
        return made

    return run


def stage() -> tuple[Callable[[Any], None], Any]:
    """What runs the stage on one more block in a folder, and the model whose layers do nothing."""
    from emoscope.experiments import intervene as module
    from emoscope.experiments.study import parse_study
    from emoscope.models import hooks
    from emoscope.models.audio_lm import AudioLM
    from emoscope.models.values import Prepared
    from emoscope.runs import Log, Unit

    class IdleLM(AudioLM):
        model_type, model_class, processor_class = "idle", "", ""

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(hidden), 64)

    with torch.device("meta"):
        idle = Idle()
    model = IdleLM(idle, SimpleNamespace(tokenizer=Words()), "idle", "")
    holder = sys.modules.get("emoscope.models.passes", hooks)
    if hasattr(holder, "room"):
        holder.room = lambda _device: 1 << 40
    draw = np.random.default_rng(0)
    emotions, folds = ("anger", "fear", "joy", "sadness"), "abcde"
    scopes = torch.ones(POSITIONS, dtype=torch.int8)
    scopes[-1] = 2
    prepared = [
        Prepared(torch.zeros(POSITIONS - n % 9, HIDDEN, dtype=torch.bfloat16), scopes[n % 9 :], ("A", "B", "C", "D"))
        for n in range(ROWS * BATCHES)
    ]
    module.load_inputs = lambda _run, items: [prepared[item] for item in items]
    block = tuple(
        {"item": n, "clip": str(n), "fold": folds[n % 5], "truth": emotions[n % 4], "options": list(emotions), "letters": "ABCD"}
        for n in range(len(prepared))
    )  # fmt: skip
    chosen = {f: {e: np.sort(draw.choice(LAYERS * WIDTH, SIZE, replace=False)) for e in emotions} for f in folds}
    sets = module.SetsByFold({("s", fold): one for fold, one in chosen.items()}, model.info, np.zeros(0))
    study = parse_study('name = "idle"\n[model]\npositions_per_batch = 8192\n[[corpora]]\nid = "polish"')

    def run(folder: Any) -> None:
        work = []
        for number in range(UNITS):
            condition = dict.fromkeys(("generated", "to", "source", "alpha"))
            condition |= {"kind": "steer", "alpha": 0.5} if number % 2 else {"kind": "deactivate", "to": "zero"}
            condition |= {"condition": str(number), "set": "s", "target": emotions[number % 4], "layers": "all"}
            condition |= {"positions": "all"}
            unit = Unit({"condition": number, "began": time.time()})
            path = {"path": "line"} if "path" in module.Work.__dataclass_fields__ else {}
            work.append(module.Work(unit, condition, "likelihood", block, **path))
        module.intervene(folder, study, work, sets, model, Log("quiet"))

    return run, idle


def measure() -> dict[str, float]:
    """Milliseconds a pass of each step, and megabytes a pass that are copied to the device."""
    from emoscope.runs import RunFolder

    run, idle = stage()
    spent, passes = Counter[str](), UNITS * BATCHES
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run", create=True)
        with Crossings() as copies:
            run(folder)
        for step, functions in STEPS.items():
            for name, path in functions:
                *outer, last = path.split(".")
                with contextlib.suppress(AttributeError, KeyError):
                    owner: Any = sys.modules[f"emoscope.{name}"]
                    for part in outer:
                        owner = getattr(owner, part)
                    setattr(owner, last, timed(spent, step, getattr(owner, last)))
        idle.forward = timed(spent, "launches", idle.forward)
        began = time.process_time()
        run(folder)
        total = time.process_time() - began
    source, copy = (torch.ones(64 << 20, dtype=torch.uint8) for _ in range(2))
    began = time.process_time()
    copy.copy_(source)
    rate = len(source) / (time.process_time() - began)
    total -= spent["launches"]
    found = {step: spent[step] for step in STEPS}
    found |= {"rest": total - sum(found.values()), "copying": copies.bytes / rate}
    found |= {"in all": total + copies.bytes / rate, "(within passes": spent["launches"]}
    return {step: 1000 * one / passes for step, one in found.items()} | {"MB copied": copies.bytes / passes / 1e6}


def main() -> None:
    """Print the times of this version, and those of another in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", help="also measure this version")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(measure()))
        return
    top = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as place:
        versions = {"this version": top / "src"}
        if given.against:
            archive = subprocess.run(["git", "archive", given.against, "src"], cwd=top, capture_output=True, check=True)
            subprocess.run(["tar", "-x", "-C", place], input=archive.stdout, check=True)
            versions = {given.against: Path(place) / "src", **versions}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
        for _ in range(given.repeats):
            for name, source in versions.items():
                command = [sys.executable, __file__, "--once"]
                done = subprocess.run(
                    command, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=True
                )
                found[name].append(json.loads(done.stdout))
        for name, runs in found.items():
            shown = {step: np.median([one[step] for one in runs]) for step in runs[0]}
            print(f"{name}, ms a pass: " + ", ".join(f"{step} {value:.2f}" for step, value in shown.items()) + ")")


if __name__ == "__main__":
    main()
