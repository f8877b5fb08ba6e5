"""The site "product": neurons are selected by what enters down_proj, and changed as ever."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from emoscope.corpora.audio import load_audio
from emoscope.experiments.engine import run_study
from emoscope.experiments.schema import StudyError
from emoscope.experiments.stages import Task, listen, select
from emoscope.experiments.study import parse_study
from emoscope.models.audio_lm import Request
from emoscope.models.registry import load_model
from emoscope.models.values import AUDIO
from emoscope.neurons.activity import Activity
from emoscope.neurons.selection import SetSpec, find_sets
from emoscope.questions import Question
from emoscope.runs import Log, RunFolder

FIGURES = "defined"

STUDY = """
name = "sites"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = {{ take = [1], word = ["nie"] }}
[identify]
site = "{site}"
items_per_emotion = 4
minimum = 2
selectors = ["mad", "lap"]
[headline]
selector = "mad"
[interventions]
alphas = [0.5]
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
shuffled = 0
orthogonal = 0
"""


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, model):
    """A whole run at the product; at the gate what is needed to compare: activity, baseline answers and sets."""
    folder = tmp_path_factory.mktemp("runs")
    gate = RunFolder(folder / "gate", create=True)
    task = Task(parse_study(STUDY.format(site="gate")), gate, Log("quiet", gate / "log.jsonl"))
    select(listen(task, model)).found.save_sets(gate / "sets")
    return {
        "gate": gate,
        "product": run_study(parse_study(STUDY.format(site="product")), folder / "product", model=model),
    }


class AtDown:
    """Keeps the product of each layer as an observer sees it in the prompt."""

    def __init__(self) -> None:
        self.seen = []

    def observe(self, layer, activation, product, scopes):
        self.seen.append((activation.clone(), product.clone(), scopes.clone()))


def test_it_fires_where_the_product_is_above_zero(runs, model):
    item = runs["product"].read_table("items").filter(pl.col("status") == "used").row(0, named=True)
    question = Question(item["label"], tuple(item["options"]), item["wording"])
    rows = model.prepare([Request(load_audio(item["path"]), question.text, question.letters)])
    observer = AtDown()
    model.score(rows, observe=observer)
    for layer in range(model.info.layers):
        gate, product, scopes = observer.seen[layer]
        place = scopes[0] == AUDIO
        for site, values in (("gate", gate), ("product", product)):
            activity = Activity.open(runs[site] / "activity.zarr")
            counted = activity.to_xarray()["audio_count"].sel(item=item["item"]).values.reshape(model.info.layers, -1)
            assert activity.site == site
            assert np.abs(counted[layer] - (values[0, place] > 0).sum(0).numpy()).max() <= 1
        # the sign of up_proj(x) makes the two differ in most neurons
        assert ((gate[0, place] > 0).sum(0) != (product[0, place] > 0).sum(0)).float().mean() > 0.5


def test_selection_works_on_it_and_says_so(runs):
    product = runs["product"]
    assert set(product.read_table("sets")["site"]) == {"product"}
    assert product.read_json("manifest.json")["model"]["site"] == "product"
    chosen = {site: sorted((run / "sets").rglob("all.safetensors")) for site, run in runs.items()}
    contents = {site: [path.read_bytes() for path in paths] for site, paths in chosen.items()}
    assert contents["gate"] != contents["product"]
    assert "site “product”" in (product / "report.html").read_text(encoding="utf-8")
    effects = pl.read_parquet(product / "tables" / "effects.parquet")
    assert {"deactivate", "steer"} <= set(effects["kind"])


def test_what_was_asked_and_answered_is_the_same(runs):
    baseline = {
        site: pl.read_parquet(run / "answers" / "*.parquet").filter(pl.col("condition") == "baseline").sort("item")
        for site, run in runs.items()
    }
    assert baseline["gate"]["answer"].to_list() == baseline["product"]["answer"].to_list()


def test_activity_of_one_site_serves_no_other(runs):
    activity = Activity.open(runs["gate"] / "activity.zarr")
    items = runs["gate"].read_table("items").filter(pl.col("status") == "used")
    spec = SetSpec(
        emotions=("anger", "fear"), selectors=("mad",), budgets=(0.05,), site="product", headline=("mad", 0.05)
    )
    with pytest.raises(ValueError, match="site 'product': the activity was read at 'gate'"):
        find_sets(activity, items, spec)


def test_other_sites_are_refused():
    with pytest.raises(StudyError, match=r'identify\.site \'up\' is not known: give "gate" or "product"'):
        parse_study(STUDY.format(site="up"))


def test_gains_scale_gate_and_product_alike(model):
    """So that a neuron selected at either site is changed in the same way."""
    site, x = model.decoder.sites[0], torch.randn(1, 3, model.info.hidden)
    with torch.inference_mode():
        gate, up = site.activation(site.gate(x)), site.upward(site.up(x))
        assert torch.allclose(0.5 * (gate * up), (0.5 * gate) * up)
