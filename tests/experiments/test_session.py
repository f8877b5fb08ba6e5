from __future__ import annotations

from pathlib import Path

import pytest

import emoscope as es
from emoscope.neurons.neuron_set import NeuronSets


def test_listen_select_intervene_and_ask(tmp_path: Path) -> None:
    from emoscope.corpora import polish_folder

    model = es.load_model("tiny")
    corpus = es.open_corpus("polish").where({"word": ["nie", "tak"], "take": [3, 4]})
    heard = es.listen(model, corpus, run=tmp_path / "run", items_per_emotion=30, log="quiet")
    assert (heard.items["fate"] == "used").sum() == 60
    assert heard.uar > 0.4
    assert "UAR" in repr(heard)
    sets = es.select(heard, "mad", scope="all", minimum=3, matched=2, random=1, shuffled=1)
    assert set(sets) == {"anger", "fear", "neutral"}
    assert set(sets.folds) == {"m1", "m2", "m3", "m4", "m5"}
    assert all(len(neurons) == 102 for neurons in sets.values())
    result = es.intervene(model, heard, sets, alphas=(0.5,), to=("zero", "mean"))
    assert result.gap["speakers"] == 5
    assert result.gap == result.measure("gap", to="zero") != result.measure("gap", to="mean")
    assert result.measure("excess_gap", to="mean")["speakers"] == 5
    assert result.gap["low"] <= result.gap["estimate"] <= result.gap["high"]
    assert {"gap", "excess_gap", "pull"} <= set(result.to_frame()["measure"])
    assert result.plot().to_dict()["title"]
    assert f", {result.blind.brief()}; pull" in repr(result)
    assert result.blind.part == pytest.approx(1.5 * result.measure("excess_pull_overall")["estimate"])
    clip = polish_folder() / "m1.a_nie_3.flac"
    plain = es.ask(model, clip, options=("anger", "fear", "neutral"))
    assert plain == es.ask(model, clip, options=("anger", "fear", "neutral"), under=es.steer(sets["anger"], 0.0))
    steered = es.ask(model, clip, options=("anger", "fear", "neutral"), under=es.deactivate(sets["anger"]))
    assert steered != plain
    # the set brings the means of its neurons
    means = heard.activity.mean_product().ravel()[sets["anger"].neurons]
    to_mean = es.ask(model, clip, options=("anger", "fear", "neutral"), under=es.deactivate(sets["anger"], to="mean"))
    assert to_mean not in (plain, steered)
    by_hand = es.deactivate(sets["anger"].neurons, to="mean", means=means)
    assert to_mean == es.ask(model, clip, options=("anger", "fear", "neutral"), under=by_hand)
    # a selection that fails, or another one, changes nothing about the first
    with pytest.raises(ValueError, match="fewer than two emotions"):
        es.select(heard, "cas", folds=2, minimum=60)
    other = es.select(heard, "cas", minimum=3, matched=0, random=0, shuffled=0)
    again = es.intervene(model, heard, sets, alphas=(0.5,), to="mean")
    assert again.to_frame().equals(result.to_frame())
    assert result.headline["selector"] == "mad"
    zero_only = es.intervene(model, heard, other, alphas=())
    assert set(zero_only.effects["selector"]) == {"cas"}
    with pytest.raises(ValueError, match=r"'gap' \(deactivate to mean\) is not in this run.*deactivated to zero"):
        zero_only.measure("gap", to="mean")
    assert result.gap == again.gap
    with pytest.raises(ValueError, match="pass what select"):
        es.intervene(model, heard, NeuronSets(dict(sets), dict(sets.folds)))


def test_importing_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, emoscope, emoscope.cli, emoscope.corpora, emoscope.experiments.study\n"
        "print([m for m in ('torch', 'transformers', 'polars', 'xarray', 'altair') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="lisen"):
        es.lisen  # noqa: B018
