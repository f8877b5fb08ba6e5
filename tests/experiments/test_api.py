from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import emoscope as es
from emoscope.experiments.api import Heard
from emoscope.neurons.sets import NeuronSets


def test_listen_select_intervene_and_ask(tmp_path: Path) -> None:
    from emoscope.corpora import polish_folder

    model = es.load_model("tiny")
    corpus = es.open_corpus("polish").where({"word": ["nie", "tak"], "take": [3, 4]})
    heard = es.listen(model, corpus, run=tmp_path / "run", items_per_emotion=30, log="quiet")
    assert (heard.items["status"] == "used").sum() == 60
    assert heard.uar > 0.4
    assert "UAR" in repr(heard)
    sets = es.select(heard, "mad", scope="all", minimum=3, matched=2, random=1, shuffled=1, orthogonal=0)
    assert set(sets) == {"anger", "fear", "neutral"}
    assert set(sets.folds) == {"m1", "m2", "m3", "m4", "m5"}
    assert all(len(neurons) == 102 for neurons in sets.values())
    result = es.intervene(model, heard, sets, alphas=(0.5,), to=("zero", "mean"))
    assert result.gap["speakers"] == 5
    assert result.gap == result.measure("gap", to="zero") != result.measure("gap", to="mean")
    assert result.measure("excess_gap", to="mean")["speakers"] == 5
    with pytest.raises(ValueError, match=r"deactivate to Mean.* to mean and zero"):
        result.measure("gap", to="Mean")
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
    other = es.select(heard, "cas", minimum=3, matched=0, random=0, shuffled=0, orthogonal=0)
    again = es.intervene(model, heard, sets, alphas=(0.5,), to="mean")
    assert again.to_frame().equals(result.to_frame())
    assert result.headline["selector"] == "mad"
    # nothing changed: the page is not drawn again
    drawn = (tmp_path / "run" / "report.html").stat().st_mtime_ns
    assert es.intervene(model, heard, sets, alphas=(0.5,), to="mean").gap == result.gap
    assert (tmp_path / "run" / "report.html").stat().st_mtime_ns == drawn
    (tmp_path / "run" / "report.html").unlink()
    es.intervene(model, heard, sets, alphas=(0.5,), to="mean")
    assert (tmp_path / "run" / "report.html").is_file()
    zero_only = es.intervene(model, heard, other, alphas=())
    assert set(zero_only.effects["selector"]) == {"cas"}
    assert (tmp_path / "run" / "report.html").stat().st_mtime_ns != drawn
    with pytest.raises(ValueError, match=r"'gap' \(deactivate to mean\) is not in this run.*deactivated to zero"):
        zero_only.measure("gap", to="mean")
    assert result.gap == again.gap
    with pytest.raises(ValueError, match="pass what select"):
        es.intervene(model, heard, NeuronSets(dict(sets), dict(sets.folds)))
    # what would be taken in another way than it is meant
    for error, wrong, message in (
        (TypeError, lambda: es.intervene(heard, model, sets), r"another order: write intervene\(model, heard, sets\)"),
        (TypeError, lambda: es.intervene(model, corpus, sets), "stands where what was heard is expected"),
        (TypeError, lambda: es.intervene(model, heard, sets["anger"]), r"NeuronSet\(anger: .* where all sets are expected"),
        (TypeError, lambda: es.intervene(model, heard, sets, alphas=0.5), r"alphas 0.5 is not a list: write for example alphas=\[0.5\]"),
        (TypeError, lambda: es.intervene(model, heard, sets, positions="audio"), "positions 'audio' is not a list"),
        (TypeError, lambda: es.intervene(model, heard, sets, agnostic="union"), "agnostic 'union' is not a list"),
        (ValueError, lambda: es.intervene(model, heard, sets, alpha="0.5"), "^alpha '0.5': expected `float`, got `str`"),
        (ValueError, lambda: es.intervene(model, heard, sets, alpha=-1), "^alpha -1: expected `float` > 0"),
        (ValueError, lambda: es.intervene(model, heard, sets, to="median"), "^to 'median' is not known"),
        (TypeError, lambda: es.select(model), "stands where what was heard is expected"),
        (ValueError, lambda: es.select(heard, budget=-0.1), "^budget -0.1 is not a fraction of neurons: give a number"),
        (ValueError, lambda: es.select(heard, budget="0.05"), "^budget '0.05': expected `float"),
        (ValueError, lambda: es.select(heard, minimum=0), "^minimum 0: expected `int` >= 1"),
        (ValueError, lambda: es.select(heard, matched=-1), "^matched -1: expected `int` >= 0"),
        (ValueError, lambda: es.select(heard, "caz"), "^selector 'caz'"),
        (ValueError, lambda: es.select(heard, scope="speech"), "^scope 'speech' is not known"),
        (KeyError, lambda: sets["angry"], "did you mean 'anger'"),
        (KeyError, lambda: sets["joy"], "there are sets for anger, fear, neutral"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            wrong()
    with pytest.warns(UserWarning, match=r"no set for (anger|fear|neutral): .*\d+"):
        fewer = es.select(heard, "mad", minimum=weakest(heard) + 1, matched=0, random=0, shuffled=0, orthogonal=0)
    (gone,) = fewer.lacking
    assert f"no set for {gone}" in repr(fewer)
    with pytest.raises(KeyError, match=f"no set for {gone}: .*{fewer.lacking[gone][:10]}"):
        fewer[gone]


@pytest.mark.long
def test_a_cell_that_was_stopped_goes_on_when_it_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    import signal

    from emoscope.runs import Log

    model = es.load_model("tiny")
    corpus = es.open_corpus("polish").where({"word": ["nie"], "take": [3, 4]})

    def cell(folder: str) -> pl.DataFrame:
        heard = es.listen(model, corpus, run=tmp_path / folder, log="quiet")
        sets = es.select(heard, "mad", scope="all", minimum=2, matched=1, random=0, shuffled=0, orthogonal=0)
        return es.intervene(model, heard, sets).to_frame()

    # a shell starts what runs behind it with Ctrl-C ignored
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    whole = cell("undisturbed")
    step = Log.step
    for stop_at in ("reading files", "listening", "intervening", "writing tables and report"):

        def interrupted(log: Log, count: int = 1, stop_at: str = stop_at) -> None:
            step(log, count)
            if log._stage == stop_at:
                signal.raise_signal(signal.SIGINT)  # what Ctrl-C and a notebook's stop button send

        with monkeypatch.context() as patch:
            patch.setattr(Log, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                cell("stopped")
        assert not list((tmp_path / "stopped").glob("lock*")), stop_at
    assert cell("stopped").equals(whole)
    assert (tmp_path / "stopped" / "report.html").is_file()


def weakest(heard: Heard) -> int:
    """The fewest correct clips of an emotion outside any fold."""
    right = heard.items.filter(heard.items["correct"])
    counts = []
    for emotion in set(right["truth"]):
        mine = right.filter(right["truth"] == emotion)
        counts.append(min(mine.filter(mine["fold"] != fold).height for fold in set(heard.items["fold"].drop_nulls())))
    return min(counts)


@pytest.mark.parametrize(
    ("error", "given", "message"),
    [
        (TypeError, {"emotions": "anger"}, r"emotions 'anger' is not a list: write for example emotions=\["),
        (TypeError, {"merge": {"bad": "anger"}}, "merge 'bad': 'anger' is not a list"),
        (TypeError, {"merge": ["anger", "fear"]}, r"merge \['anger', 'fear'\]: write new = old"),
        (ValueError, {"emotions": ["angry", "anger", "fear"]}, "^emotions 'angry' and 'anger' are one emotion"),
        (ValueError, {"emotions": ["angyr", "fear"]}, "did you mean 'anger'"),
        (ValueError, {"loudness": "loud"}, "^loudness 'loud': give"),
        (ValueError, {"wording": "nice"}, "^wording 'nice': choose from"),
        (ValueError, {"letter_orders": 0}, "^letter_orders 0: give a number from 1 to 3"),
        (ValueError, {"items_per_emotion": -3}, "^items_per_emotion -3: expected `int` >= 1"),
        (ValueError, {"seed": "one"}, "^seed 'one': expected `int`"),
        (ValueError, {"site": "gates"}, "^site 'gates' is not known"),
        (ValueError, {"log": "loud"}, "^log 'loud' is not known"),
        (ValueError, {"folds": 1}, "^(folds|1 fold)"),
        (ValueError, {"folds": "speakr"}, "speakr"),
    ],
    ids=str,
)
def test_mistakes_in_listening_are_said_in_the_words_of_the_call(
    error: type[Exception], given: dict[str, object], message: str, tmp_path: Path
) -> None:
    corpus = es.open_corpus("polish").where({"take": [3], "word": ["nie"]})
    with pytest.raises(error, match=message):
        es.listen(es.load_model("tiny"), corpus, run=tmp_path, **given)  # type: ignore[arg-type]


def test_arguments_of_another_kind_or_order_are_refused(tmp_path: Path) -> None:
    model, corpus = es.load_model("tiny"), es.open_corpus("polish")
    for wrong, message in (
        (lambda: es.listen(corpus, model), r"another order: write listen\(model, corpus\)"),
        (lambda: es.listen("tiny", corpus), r'give load_model\("tiny"\)'),
        (lambda: es.listen(model, "polish"), r"give open_corpus\('polish'\)"),
        (lambda: es.select("cas"), "'cas' stands where what was heard is expected"),
        (lambda: es.run({"name": "x"}), "is no study: give a study file"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="choose another with run="):
        es.listen(model, corpus, run=tmp_path / "file" / "run")


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
