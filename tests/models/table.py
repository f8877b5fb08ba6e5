"""Write docs/models.md: what every family declares, and what its tests showed; ``python -m tests.models.table``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from emoscope.models.audio_lm import AudioLM
from emoscope.models.families import STATUS, built_in
from tests.models.absent import ABSENT

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

TABLE = "EMOSCOPE_FAMILY_TABLE"
"""Environment variable with the file to which the tests write what they measured, a JSON object a family."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "official layout loads": (
        "test_the_tiny_folder_is_laid_out_like_the_released_one",
        "test_the_released_names_are_those_that_the_loader_expects",
        "test_every_weight_on_disk_is_in_the_loaded_model",
    ),
    "offline round trip": ("test_it_loads_and_saves_and_loads_without_a_network",),
    "site exact": ("test_proof[site exact]",),
    "batch = single": (
        "test_proof[batch equals single]",
        "test_rows_of_mixed_length_are_padded_on_the_declared_side",
        "test_clips_of_a_batch_do_not_leak_into_each_other",
    ),
    "cached = full": ("test_proof[cached audio equals the full forward]",),
    "hook = column edit": ("test_proof[gain by hook equals column edit]",),
    "per-row gains under generate": (
        "test_proof[gains per row equal single runs while generating]",
        "test_gains_of_a_row_act_on_it_alone_while_writing",
    ),
    "official-code parity": (
        "test_logits_equal_the_official_forward",
        "test_greedy_answers_equal_the_official_generate",
    ),
    "spread over devices": ("test_layers_spread_over_devices",),
    "8-bit weights": ("test_weights_of_eight_bits",),
}
"""Column -> tests of tests/models/family_checks.py that must all pass."""

MEASURED = {
    "site exact": "site exact",
    "batch = single": "batch equals single",
    "cached = full": "cached audio equals the full forward",
    "hook = column edit": "gain by hook equals column edit",
    "per-row gains under generate": "gains per row equal single runs while generating",
}
"""Column -> the proof whose measured difference it shows."""


class Collector:
    """Keeps the outcome of every test of a family, by the class that holds them, and why tests did not run."""

    def __init__(self, measured: Path) -> None:
        self.file, self.seen = measured, 0
        self.outcomes: dict[str, dict[str, str]] = defaultdict(dict)
        self.measured: dict[str, dict[str, Any]] = {}
        self.family: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.refused: dict[str, str | None] = defaultdict(lambda: None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        if report.skipped:
            self._skip(report.nodeid, report.longrepr)
        where, _, test = report.nodeid.rpartition("::")
        if report.when != "call" and report.passed:
            return
        # a test that breaks before or after its call has failed as well
        if self.outcomes[where].get(test) != "failed":
            self.outcomes[where][test] = report.outcome
        rows = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        for line in rows[self.seen :]:
            row = json.loads(line)
            self.family[where], self.measured[where] = row["family"], row
        self.seen = len(rows)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called by pytest for each file: one may be skipped as a whole."""
        if report.skipped:
            self._skip(report.nodeid, report.longrepr)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called by pytest with all tests: some families declare that they refuse packed weights."""
        for item in items:
            self.refused[item.nodeid.rpartition("::")[0]] = getattr(getattr(item, "cls", None), "not_quantised", None)

    def _skip(self, nodeid: str, longrepr: Any) -> None:
        reason = longrepr[-1] if isinstance(longrepr, tuple) else str(longrepr)
        self.skipped[nodeid] = str(reason).removeprefix("Skipped: ").removeprefix("skipped: ")

    def rows(self) -> dict[str, dict[str, str]]:
        """Family -> column -> what the table says."""
        found = {}
        for where, family in self.family.items():
            outcomes, measured = self.outcomes[where], self.measured[where]
            row = {}
            for column, tests in COLUMNS.items():
                states = {outcomes.get(test, "not run") for test in tests}
                state = next((s for s in ("failed", "not run", "skipped") if s in states), "passed")
                value = measured.get(MEASURED.get(column, ""))
                row[column] = f"{value:.1e}" if state == "passed" and value else state.replace("skipped", "not run")
            if self.refused[where] and row["8-bit weights"] == "passed":
                row["8-bit weights"] = "refused"
            row["largest difference"] = f"{measured['largest difference']:.1e}"
            found[family] = row
        return found


def run_tests() -> Collector:
    """Run the tests of all families in this process."""
    folder = Path(__file__).parent
    files = [str(path) for path in sorted(folder.glob("test_*.py")) if "FamilyChecks" in path.read_text("utf-8")]
    with tempfile.TemporaryDirectory() as place:
        collector = Collector(Path(place) / "measured.jsonl")
        os.environ[TABLE] = str(collector.file)
        try:
            pytest.main(["-q", "-p", "no:randomly", *files], plugins=[collector])
        finally:
            del os.environ[TABLE]
    return collector


def families() -> dict[type[AudioLM], list[str]]:
    """Class -> the ``model_type`` values under which it is known."""
    return {one.load(): [one.model_type, *one.further_types] for one in built_in().values()}


def named(page: str) -> set[str]:
    """The families that a page describes."""
    return set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^### .*$", page, re.MULTILINE))))


def write_page(collector: Collector) -> str:
    """The text of docs/models.md."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    rows = collector.rows()
    head = ["family", *COLUMNS, "largest difference"]
    table = [_line(head), _line("---" for _ in head)]
    for cls in families():
        row = rows.get(cls.model_type, dict.fromkeys(head[1:], "not run"))
        table.append(_line([cls.model_type, *(row[column] for column in head[1:])]))
    about = "\n\n".join(_about(cls, names) for cls, names in families().items())
    skipped = sorted({(nodeid.split("::")[0].split("/")[-1], reason) for nodeid, reason in collector.skipped.items()})
    not_run = [f"* {file}: {reason}" for file, reason in skipped]
    return f"""# Models

Every family below is **{STATUS}**.
The released weights were out of reach where this was written. What stands in for them: tiny random checkpoints of the real classes, in the released layout and with the released key names, saved and loaded as the released ones are, and compared with the official code.
Try a model that you have with `emoscope model check FOLDER_OR_HUB_NAME`, which makes these proofs on the real weights, before you trust a study on it.

This page is made by `python -m tests.models.table`, which runs the families' tests and writes down what they showed ({versions}, float32 on a CPU).

## What was shown

{chr(10).join(table)}

Numbers are the largest differences measured, of logits or (site exact) of activations; without a number, *passed* means that nothing is measured or that the difference is exactly 0.

* *Official layout loads*: names and sizes of the released files (`tests/models/official_keys`) are those that the loader expects; every weight on disk is in the model. A folder that lacks one, deleted or under another name, is refused (50 drawn a family), as are layers too many or too few in config.json, other shapes, and values that are not finite.
* *Offline round trip*: loads, saves and loads again with the same answers; any use of the network fails the test.
* *Site exact*: activation times up_proj(x) is what enters down_proj, in all layers, in the prompt and at the answer.
* *Batch = single*: clips of mixed length on the declared padding side; clips of one batch do not leak into each other.
* *Cached = full*: encoded sound that is kept and used again gives the logits of the model's own forward.
* *Hook = column edit*: a gain on one neuron by hook and in the weights.
* *Per-row gains under generate*: each row of a batch under gains of its own, step by step, against single runs.
* *Official-code parity*: logits and greedy tokens against the modelling code of transformers (Kimi-Audio: against recorded answers of its own code, see its tests) on inputs that are made as the official processor makes them.
* *Spread over devices*: `device_map = "auto"` of accelerate, on a machine with one CPU; the same logits.
* *8-bit weights*: `quantise = "8bit"` with bitsandbytes on a CPU: all proofs but those that edit weights, and the comparison of weights with the files. *Refused*: the family adds an adapter to its weights when it loads, which cannot be done exactly to packed ones.
* A pass may begin at a later layer, from the state that the layers before it left (for gains that act later): shown to change no bit on a CPU, and shown anew in every run before it is used. Gemma 3n, whose last layers read what an earlier one made, runs every pass in full.

Not run here:

{chr(10).join(not_run) or "* nothing was skipped"}
* the released weights, in any precision
* GPUs, and models spread over several of them

## What is taken, and what is refused

A model is a folder in the layout of transformers, a name on the hub, or, for `es.wrap(model, processor)`, a model and its processor in memory. Only safetensors are read; code that lies beside them is never run.
Before a library opens a folder, its index, shards and small files are looked at by their names, sizes, headers and first bytes, which takes less than a second for any size: shards that are missing, cut off, or Git LFS pointers, unfinished downloads, an index of another version and broken JSON are refused by name, with what to do. `--dry-run` and `model check` look before torch is imported. What a library finds wrong later is told in the same way. When it is loaded or wrapped, a model is asked two short questions, with a second of noise and without, so that a tokenizer, chat template or feature extractor that is missing or of another model is found before a study begins.
Adapters, folders of the hub's cache (give `snapshots/COMMIT` in it) and models that torch.compile, DataParallel or peft have wrapped are named as such.

`model list` and `--dry-run` need no network for the names below: layers and neurons of the released models stand in the package. Otherwise the hub is asked once, for at most ten seconds, where a folder is not on this machine; with `HF_HUB_OFFLINE=1` it is not asked at all. `emoscope model fetch NAME` brings all that a model needs.

## Families

*Exposure*: whether the released model was trained on a corpus, as far as its makers say; corpora that are not named are unknown. A model's own test sets are no training data, but are not unseen either.

{about}

## Absent, and why

{chr(10).join(f"* **{name}**: {why}" for name, why in ABSENT.items())}

Others can be added: [add-a-model.md](add-a-model.md).

## Quantised models, and several devices

`quantise = "8bit"` or `"4bit"` in a study (`emoscope model check NAME --quantise 8bit`) loads with bitsandbytes: activations are read, gains act, and edits of weights are refused, as a column of packed weights cannot be scaled exactly; the proofs "gain by hook equals column edit" and "all weights came from the files" then say *not run*. `device_map = "auto"` spreads the layers with accelerate. Their packages are extras: `pip install "emoscope[quantised]"`, `"emoscope[devices]"`. 8-bit weights round activations to 256 steps as well, so a batch and single rows differ more; the checks then allow 0.25.
"""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _about(cls: type[AudioLM], names: Sequence[str]) -> str:
    hub = ", ".join(cls.released) + (f" (revision `{cls.released_revision}`)" if cls.released_revision else "")
    sides = "; ".join(f"`{name}`, by default {place}" for name, place in cls.side_checkpoints.items()) or "none"
    by_source: dict[tuple[str, str], list[str]] = defaultdict(list)
    for corpus, what in cls.exposure.items():
        by_source[what].append(corpus)
    seen = "; ".join(f"{', '.join(sorted(corpora))}: {answer} ({why})" for (answer, why), corpora in by_source.items())
    return "\n".join(
        [
            f"### {', '.join(f'`{name}`' for name in names)}",
            "",
            (cls.__doc__ or "").strip().split("\n\n")[0],
            "",
            f"* on the hub: {hub}",
            f"* audio stands {'before' if cls.audio_first else 'after'} the question; batches are padded on the {cls.padding_side}",
            f"* sound: {cls.windows}",
            f"* further checkpoints: {sides}",
            f"* exposure: {seen or 'unknown for all corpora'}",
        ]
    )


if __name__ == "__main__":
    collected = run_tests()
    PAGE.write_text(write_page(collected), encoding="utf-8")
    bad = {name: row for name, row in collected.rows().items() if "failed" in row.values()}
    print(f"Wrote {PAGE}; families with a failed column: {', '.join(bad) or 'none'}")
    sys.exit(4 if bad else 0)
