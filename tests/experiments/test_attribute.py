"""Attribution in a study: what it keeps, that it is not done twice, and which neurons it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emoscope.corpora import polish_folder
from emoscope.experiments.attribute import attribute, refuse_model
from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import load_inputs
from emoscope.experiments.parts import dry_run
from emoscope.experiments.schema import StudyError
from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import check_study, parse_study
from emoscope.models.audio_lm import AudioLM
from emoscope.models.registry import load_model
from emoscope.neurons.activity import Activity
from emoscope.neurons.attributed import FOLDER
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.shards import Unfinished

STUDY = """
name = "attributed"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
[identify]
scope = "all"
items_per_emotion = 8
minimum = 2
selectors = ["mad", "attribution", "attribution-contrast", "attribution-between"]
budgets = [0.005]
[headline]
selector = "attribution"
budget = 0.005
[interventions]
alphas = []
agnostic = []
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
orthogonal = 1
shuffled = 1
"""


MORE = '"attribution", "attribution-contrast", "attribution-between"'


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory, model) -> RunFolder:
    return run_study(parse_study(STUDY), tmp_path_factory.mktemp("runs") / "one", model=model)


def test_sets_are_the_neurons_to_which_log_odds_owe_most(run, model):
    items = run.read_table("items").filter(pl.col("status") == "used", pl.col("correct"))
    prepared = dict(zip(items["item"].to_list(), load_inputs(run, items["item"].to_list()), strict=True))
    sets = run.read_table("sets").filter(pl.col("selector") == "attribution", pl.col("control") == "target")
    n = int(sets["n"].max())
    activity = Activity.open(run / "activity.zarr")
    for row in sets.filter(fold="all").iter_rows(named=True):
        own = items.filter(truth=row["emotion"])
        assert len(own) <= 8 or n == 8
        letters = [[chr(ord("A") + options.index(row["emotion"]))] for options in own["options"].to_list()]
        found = model.attribute([prepared[item] for item in own["item"]], letters).attributed[0]
        stored = [
            activity.attributed.read("attributed", layer, own["item"].to_numpy(), row["emotion"]) for layer in range(4)
        ]
        assert np.allclose(np.stack(stored, 1), found, atol=2e-3 * np.abs(found).max())
    names = set(run.read_table("sets")["control"])
    assert names == {"target", "matched", "orthogonal", "shuffled"}
    proofs = {proof["name"]: proof["status"] for proof in run.read_json("manifest.json")["proofs"]}
    assert proofs["gradients tell what small gains do"] == "passed"


def counted(monkeypatch, folder: Path, model: AudioLM, study: str = STUDY, shard: Shard | None = None) -> int:
    """How many rows are attributed when the study's listening is done, or gone on with."""
    rows, real = [], AudioLM.attribute

    def attribute_and_count(self, prepared, *more):
        rows.append(len(prepared))
        return real(self, prepared, *more)

    with monkeypatch.context() as patch:
        patch.setattr(AudioLM, "attribute", attribute_and_count)
        # the run's own proof attributes, too
        patch.setattr("emoscope.experiments.stages.needs_gradients", lambda names: False)
        listen(Task(parse_study(study), RunFolder(folder, create=True), Log("quiet")), model, shard)
    return sum(rows)


def test_what_is_there_is_not_attributed_again_and_shards_share_it(tmp_path, model, monkeypatch):
    monkeypatch.setattr("emoscope.experiments.attribute.BYTES", 4 * 3 * 2048 * 8)  # four items of three options a file
    every = counted(monkeypatch, tmp_path / "one", model)
    assert counted(monkeypatch, tmp_path / "one", model) == 0
    files = sorted((tmp_path / "one" / FOLDER).glob("*.safetensors"))
    assert len(files) == -(-every // 4) > 2
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:1000])
    assert counted(monkeypatch, tmp_path / "one", model) == 4
    assert files[1].read_bytes() == whole
    # without such a selector nothing is attributed, and a study with another scope takes nothing of this one's
    assert (
        counted(
            monkeypatch,
            tmp_path / "bare",
            model,
            STUDY.replace('"attribution", "attribution-contrast", "attribution-between"', '"cas"').replace(
                'selector = "attribution"', 'selector = "cas"'
            ),
        )
        == 0
    )
    assert not (tmp_path / "bare" / FOLDER).exists()
    assert (
        counted(monkeypatch, tmp_path / "one", model, STUDY.replace('scope = "all"', 'scope = "audio+answer"')) == every
    )
    shares = []
    for number in (1, 2, 1):
        try:
            shares.append(counted(monkeypatch, tmp_path / "shares", model, shard=Shard(number, 2)))
        except Unfinished:
            shares.append(None)
    assert shares[0] is None
    assert shares[2] == 0
    assert counted(monkeypatch, tmp_path / "shares", model) == 0
    assert [path.name for path in sorted((tmp_path / "shares" / FOLDER).glob("*"))] == [path.name for path in files]


def test_what_allows_no_attribution_is_said(run, model, tmp_path):
    with pytest.raises(StudyError, match="before it is fed back"):
        check_study(parse_study(STUDY.replace('scope = "all"', 'scope = "answer"')))
    items = run.read_table("items")
    with pytest.raises(StudyError, match="compares clips of a speaker"):
        attribute(
            run, parse_study(STUDY), items.with_columns(speaker=pl.lit(None, pl.String)), model, Log("quiet"), None
        )
    shared = type("Shared", (), {"shares_keys": True, "info": model.info})()
    with pytest.raises(StudyError, match="layers share keys"):
        refuse_model(parse_study(STUDY), shared)
    fewer = items.with_columns(options=pl.col("options").list.head(2))
    with pytest.raises(StudyError, match="all options on every item"):
        attribute(run, parse_study(STUDY), pl.concat([fewer.head(3), items.tail(-3)]), model, Log("quiet"), None)


def test_the_dry_run_says_what_attribution_takes(capsys):
    dry_run(parse_study(STUDY))
    said = " ".join(capsys.readouterr().out.split())
    assert "Attribution: 2 backward passes for each of the 15 items that may identify" in said
    dry_run(parse_study(STUDY.replace(MORE, '"cas"').replace('selector = "attribution"', 'selector = "cas"')))
    assert "Attribution" not in capsys.readouterr().out


def test_a_study_of_two_corpora_ranks_by_gradients_in_its_shared_parts_too(tmp_path, model):
    labels = {"a": "anger", "s": "fear", "n": "neutral"}  # m1.a_nie_1.flac
    files = sorted(polish_folder().glob("*_nie_[12].flac"))
    for take, name in enumerate(("one", "two"), 1):
        rows = [f"{path},{labels[path.name[3]]},{path.name[:2]}" for path in files if path.stem.endswith(str(take))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["path,emotion,speaker", *rows]))
    corpora = "".join(f'[[corpora]]\nid = "table"\nroot = "{tmp_path}/{name}.csv"\n' for name in ("one", "two"))
    start, end = STUDY.index("[[corpora]]"), STUDY.index("[identify]")
    study = parse_study(STUDY[:start] + corpora + STUDY[end:].replace('"attribution-between"', '"cas"'))
    found = run_study(study, tmp_path / "run", model=model)
    shared = [path for path in (found / "parts").iterdir() if path.name.endswith(".shared")]
    assert len(shared) == 2
    assert all(list((path / FOLDER).glob("*.safetensors")) for path in shared)


def test_attribution_of_other_clips_is_not_kept(tmp_path, model, monkeypatch):
    assert counted(monkeypatch, tmp_path / "run", model) > 0
    other = (
        STUDY.replace(MORE, '"cas"')
        .replace('selector = "attribution"', 'selector = "cas"')
        .replace("take = [1]", "take = [2]")
    )
    assert counted(monkeypatch, tmp_path / "run", model, other) == 0
    assert not (tmp_path / "run" / FOLDER).exists()
