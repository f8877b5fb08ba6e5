"""The page stands alone, holds what the run holds, and names what it lacks."""

import json
import re
import shutil
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import polars as pl
import pytest

from emoscope.report.charts import FIGURES
from emoscope.report.page import build_report
from tests.report.synthetic import SEVEN, THREE, write_run

VOID = {"meta", "br", "hr", "img", "input", "link", "col"}


class Page(HTMLParser):
    """Collects attributes that could load something, text, and unbalanced tags."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.ids, self.links, self.open, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        assert tag not in ("script", "iframe", "link", "img", "object", "embed", "base", "form"), tag
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action", "background", "poster", "xlink:href"):
                self.loads.append((tag, name, value))
            if name == "href":
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"<{tag}> closes something else"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def fast(folder, monkeypatch):
    """The text of a page whose pictures are defined but not drawn, which takes most of the time."""
    monkeypatch.setattr("emoscope.report.page.to_svg", lambda *_, **__: "<svg ></svg>")
    return Page(build_report(folder).read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), THREE, 5, 6)


@pytest.fixture(scope="module")
def page(folder):
    return build_report(folder).read_text(encoding="utf-8")


def test_the_page_loads_nothing(page):
    parsed = Page(page)
    assert parsed.loads == []
    assert all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids)), "an id is used twice"
    assert parsed.open == []
    assert not re.search(r"@import|url\((?!#)", page)
    assert not re.search(r"https?://", page)


def test_seven_emotions_fit_into_three_megabytes_and_ten_seconds(tmp_path):
    write_run(tmp_path, SEVEN, 5, 3)
    began = time.process_time()  # the machine may be busy with other work
    path = build_report(tmp_path)
    assert time.process_time() - began < 10
    assert path.stat().st_size < 3e6


def test_the_headline_says_what_was_planted(page):
    text = Page(page).text
    assert "clearly above chance" in text
    assert "an emotion’s own neurons hurt it more than the other emotions (difference −" in text
    assert "amplification pulls answers towards its emotion (difference +" in text


def test_what_was_run_is_told(page):
    text = Page(page).text
    assert "94 = 90 used + 0 not needed + 3 excluded + 1 quarantined" in text
    assert re.search(r"not run", text)
    assert "the numerical null changes 1.1 % of the answers" in text
    assert "# fixed before <evaluation>" in text  # the study file, verbatim
    assert "trained on a part of planted (take 1, 2)" in text
    assert "2 of the 5 speakers below were heard then" in text
    assert "0.31" in text  # the largest standardised difference of the matched controls


def test_figures_are_written_beside_the_page(folder, page):
    assert {path.stem for path in (folder / "figures").iterdir()} == set(FIGURES)
    for path in (folder / "figures").iterdir():
        ET.fromstring(path.read_text(encoding="utf-8"))


def test_every_figure_is_a_step(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("emoscope.report.page.to_svg", lambda *_, **__: "<svg ></svg>")
    for lacking in ("report.html", "answers"):  # all of the figures, and hardly any
        run, steps = tmp_path / lacking, []
        shutil.copytree(folder, run, ignore=shutil.ignore_patterns(lacking, "tables", "figures"))
        build_report(run, step=lambda run=run, steps=steps: steps.append(len(list((run / "figures").iterdir()))))
        assert len(steps) == len(FIGURES)
        assert steps == sorted(steps)


def test_the_same_run_gives_the_same_page(folder, page, tmp_path):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("tables", "figures", "report.html"))
    again = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert again == page


@pytest.mark.parametrize(
    "name", ["manifest.json", "items.parquet", "sets.parquet", "conditions.parquet", "answers", "sets", "study.toml"]
)
def test_whatever_is_missing_is_named(folder, tmp_path, name, monkeypatch):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(name, "tables", "figures", "report.html"))
    text = fast(tmp_path / "run", monkeypatch)
    expected = {"sets": "no neuron sets are stored", "study.toml": "Not in this run: study.toml"}
    assert expected.get(name, f"{name}{'/' if name == 'answers' else ''} is not in the run folder") in text


def test_an_empty_folder_gives_a_page(tmp_path):
    text = Page(build_report(tmp_path).read_text(encoding="utf-8")).text
    for needed in ("items.parquet is not in the run folder", "no set was switched off", "baseline answers"):
        assert needed in text


def test_a_run_with_baseline_and_deactivation_only(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 5, 4, only=("baseline", "deactivate"))
    text = fast(tmp_path, monkeypatch)
    assert "Amplifying the selected neurons was not part of this run" in text
    assert "Not in this run: no set was amplified" in text
    assert "Not in this run: the numerical null" in text
    assert "Not in this run: no MLP layer was switched off" in text


def test_fewer_than_five_speakers(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 4, 4)
    text = fast(tmp_path, monkeypatch)
    assert "Only 4 speakers: with fewer than five no interval can be given" in text
    assert "No intervals: only 4 speakers: an interval needs at least 5" in text
    assert "no conclusion is drawn, since there are too few speakers" in text
    assert "clearly" not in text


def test_unknown_speakers(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, None, 4)
    text = fast(tmp_path, monkeypatch)
    assert "Speakers unknown: the same voice may be on both sides" in text
    assert "no conclusion is drawn, since speakers are unknown" in text
    assert "clearly" not in text


def changed(folder, place, manifest=None, items=None):
    """A copy of a run in which the study and the items are changed."""
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("tables", "figures", "report.html"))
    found = json.loads((folder / "manifest.json").read_text())
    found["study"] |= manifest or {}
    (place / "manifest.json").write_text(json.dumps(found))
    if items is not None:
        items(pl.read_parquet(folder / "items.parquet")).write_parquet(place / "items.parquet")
    return place


def test_what_the_study_allowed_stands_at_the_top_and_in_the_limits(folder, tmp_path, monkeypatch):
    study = {"model": {"allow_trained_on": True}, "evaluate": {"allow_shared_speakers": True}}
    text = fast(changed(folder, tmp_path / "run", study), monkeypatch)
    top, limits = text.split("Does the model know emotion at all")[0], text.split("What may not be concluded")[-1]
    assert "Clips on which the model was trained are evaluated" in top
    assert "clips on which the model was trained are evaluated" in limits
    assert "Speakers may be on both sides" in top
    assert "speakers may be on both sides" in limits
    assert "not evaluated here" not in limits
    assert "in other recordings" not in limits
    study = {"model": {"allow_trained_on": False}, "evaluate": {"allow_shared_speakers": False}}
    text = fast(changed(folder, tmp_path / "other", study), monkeypatch)
    assert "are evaluated:" not in text
    assert "both sides" not in text


def test_controls_that_match_badly_are_called_so(folder, tmp_path, monkeypatch):
    text = fast(changed(folder, tmp_path / "run"), monkeypatch)  # every set differs by 0.31 in mean activity
    words = "The controls are not well matched in mean activity"
    assert text.count(words) == 4  # in the headline and beside the figures, for switching off and for amplifying
    assert f"{words}: in 0 % of the 30 control sets every standardised mean difference is within 0.25" in text
    assert "and the largest is 0.31; mean activity is further off in 100 % of the control sets" in text
    assert "by up to 0.31 standard deviations (control minus selected, mean +0.31)" in text
    assert "may come from that difference and not from emotion" in text


def test_controls_that_match_well_are_called_so(folder, tmp_path, monkeypatch):
    run = changed(folder, tmp_path / "run")
    sets = pl.read_parquet(run / "sets.parquet")
    matched = pl.col("control") == "matched"
    differing = pl.when(matched).then(pl.when(pl.col("draw") == 0).then(-0.2).otherwise(0.1)).alias("smd_magnitude")
    sets.with_columns(differing, pl.when(matched).then(True).alias("well_matched")).write_parquet(run / "sets.parquet")
    text = fast(run, monkeypatch)
    assert "not well matched in" not in text
    words = "in 100 % of the 30 control sets every standardised mean difference is within 0.25, and the largest is 0.20"
    assert text.count(words) == 2


def test_matching_is_silent_where_no_control_was_run(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 5, 2, only=("baseline", "deactivate"))
    assert fast(tmp_path, monkeypatch).count("control sets every standardised") == 1


def test_speakers_known_in_part(folder, tmp_path, monkeypatch):
    some = pl.when(pl.col("speaker") == "s00").then(None).otherwise("speaker").alias("speaker")
    text = fast(changed(folder, tmp_path / "run", items=lambda items: items.with_columns(some)), monkeypatch)
    assert "Speakers unknown for 20 % of the items: the same voice may be on both sides" in text


def test_speakers_unknown_without_answers(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, None, 1)
    shutil.rmtree(tmp_path / "answers")
    assert "Speakers unknown: the same voice may be on both sides" in fast(tmp_path, monkeypatch)


def test_emotions_without_sets_are_listed(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 5, 4, unidentifiable=("fear",))
    assert "fear: not identifiable (3 correct)" in fast(tmp_path, monkeypatch)


def test_ten_emotions(tmp_path, monkeypatch):
    write_run(tmp_path, (*SEVEN, "boredom", "calm", "contempt"), 5, 1, only=("baseline", "null", "deactivate"))
    assert "averaged over 10 emotions" in fast(tmp_path, monkeypatch)


def test_text_from_the_run_cannot_become_markup(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("tables", "figures", "report.html"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["study"]["name"] = "<script>x</script>"
    manifest["proofs"][0]["note"] = "<script>y</script>"
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    assert "<script>x</script>" in fast(tmp_path / "run", monkeypatch)
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "x</script>" not in text


def test_the_sentence_on_steering_says_whether_own_clips_are_pulled_more(tmp_path, monkeypatch):
    text = fast(write_run(tmp_path, THREE, 5), monkeypatch)
    assert "of the clips, averaged over their emotions" in text
    assert re.search(r"own emotion(’s clips)? more than others .{0,20}\(excess pull gap [+−]", text)
