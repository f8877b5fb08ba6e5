"""Write a trained model as an ordinary Hugging Face folder, with what emoscope and the licences want beside it."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch

from .features import TRAIN_SPEAKERS, TRAIN_TAKES
from .train import Training, bound

RECOMMENDED_BUDGET = 0.05
"""Share of the decoder's neurons per emotion; a decoder this small wants ten times the share of a large one."""

NOTICES = """\
This model folder was made with the following works.

Whisper tiny.en (first two encoder layers, unchanged but for bfloat16): MIT License.
Copyright (c) 2022 OpenAI

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
    documentation files (the "Software"), to deal in the Software without restriction, including without limitation
    the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
    to permit persons to whom the Software is furnished to do so, subject to the following conditions:

    The above copyright notice and this permission notice shall be included in all copies or substantial portions of
    the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
    THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
    AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
    CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
    IN THE SOFTWARE.

EmoGator (training clips; none is contained here): Apache License 2.0.
Fred W. Buhl, "EmoGator: A New Open Source Vocal Burst Dataset with Baseline Machine Learning Classification
Methodologies", 2023, arXiv 2301.00508.

Emotions in Polish speech recordings (training clips): Creative Commons Attribution (CC BY).
Mięsikowska and Świsulski, Gdańsk University of Technology, 2020, doi 10.34808/h46c-hb44.
The recordings were resampled and re-encoded before use.

Everything else in this folder: Apache License 2.0.
"""


def write_folder(training: Training, folder: Path) -> None:
    """Write model (bfloat16), tokenizer, processor, chat template, licence notices and ``emoscope.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(training.model).to(torch.bfloat16).save_pretrained(folder)
    training.prompts.processor.save_pretrained(folder)
    emogator = training.batches.pools.get("emogator")
    facts = {
        "id": "tiny",
        "recommended_budget": RECOMMENDED_BUDGET,
        "trained_on": [
            *(
                [{"corpus": "emogator", "where": {"speaker": f"1-{TRAIN_SPEAKERS[-1]}"}, "clips": True}]
                if emogator
                else []
            ),
            {"corpus": "polish", "where": {"take": list(TRAIN_TAKES)}, "clips": True},
        ],
        # the held-out POLISH takes are by speakers that were heard in training
        "trained_speakers": ["polish"],
        "licence": "Apache-2.0",
        "source": "recipes/tiny of emoscope",
    }
    (folder / "emoscope.json").write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "NOTICE").write_text(NOTICES, encoding="utf-8")
    record = {
        "settings": asdict(training.settings),
        "steps_done": training.done,
        "text_hints": {str(step): value for step, value in training.hints.items()},
        "bound": bound(training),
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
