"""The page stands alone, holds what the run holds, and names what it lacks."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import Future
from html.parser import HTMLParser

import polars as pl
import pytest

from emoscope.chapters.pages import build_report, figures, tables
from emoscope.chapters.results import write_tables
from emoscope.report import theme
from tests.helpers.planted import SEVEN, THREE, write_run
from tests.helpers.program import figureless, undrawn

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


def fast(folder, monkeypatch, figures=False):
    """The text of a page without its figures, which take most of the time; or with figures that are not drawn."""
    if figures:
        undrawn(monkeypatch)
    else:
        figureless(monkeypatch)
    return Page(build_report(write_tables(folder)).read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), THREE, 5, 6)


@pytest.fixture(scope="module")
def page(folder):
    return build_report(write_tables(folder)).read_text(encoding="utf-8")


def test_the_page_loads_nothing(page):
    parsed = Page(page)
    assert parsed.loads == []
    assert all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids)), "an id is used twice"
    assert parsed.open == []
    assert not re.search(r"@import|url\((?!#)", page)
    assert not re.search(r"https?://", page)


def drawn_here(_, *figure):
    """A figure drawn by this process, where it can be counted."""
    found = Future()
    found.set_result(theme.pictures(*figure))
    return found


def test_a_figure_is_compiled_once_and_drawn_three_times_at_most(folder, tmp_path, monkeypatch):
    # drawing takes most of a report's time; the megabytes of seven emotions: tests/docs/test_example_run.py
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("tables", "figures", "report.html"))
    compiled, drawn, printed = [], [], []
    monkeypatch.setattr("emoscope.report.theme.Drawing.draw", drawn_here)
    monkeypatch.setattr("vl_convert.vegalite_to_vega", lambda _: compiled.append(1) or {})
    monkeypatch.setattr("vl_convert.vega_to_svg", lambda _: drawn.append(1) or "<svg ></svg>")
    monkeypatch.setattr("emoscope.report.theme.to_pdf", lambda _: printed.append(1) or b"")
    build_report(write_tables(tmp_path / "run"))
    assert len(list((tmp_path / "run" / "figures").glob("*.svg"))) == len(printed) == len(compiled)
    assert 2 * len(printed) - 1 <= len(drawn) <= 3 * len(printed)


def files_of(run):
    found = [run / "report.html", *(run / "figures").iterdir(), *(run / "tables").iterdir()]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def test_only_figures_that_changed_are_drawn_again(folder, page, tmp_path, monkeypatch):
    drawn, draw = [], theme.Drawing._drawn
    monkeypatch.setattr("emoscope.report.theme.Drawing._drawn", lambda *of: drawn.append(of[2]) or draw(*of))
    again, anew = tmp_path / "again", tmp_path / "anew"
    shutil.copytree(folder, again)
    shutil.copytree(folder, anew, ignore=shutil.ignore_patterns("figures", "cache", "report.html"))
    before, times = files_of(again), {path: path.stat().st_mtime_ns for path in again.rglob("*.*")}
    part = write_tables(again)
    build_report(part)
    assert drawn == []
    assert files_of(again) == before
    assert {path: path.stat().st_mtime_ns for path in again.rglob("*.*") if path in times} == times
    table = part.table("confusion").with_columns(share=pl.col("share") / 2)
    build_report(part.changed(confusion=table))
    assert drawn == ["recall", "confusion"]
    build_report(write_tables(anew).changed(confusion=table))
    assert len(drawn) > 10
    assert files_of(again) == files_of(anew)
    changed = {name for name, content in files_of(again).items() if content != before[name]}
    assert changed == {"report.html", *(f"figures/{name}.{end}" for name in drawn[:2] for end in ("svg", "pdf"))}


def test_the_headline_says_what_was_planted(page):
    text = Page(page).text
    assert "The model recognises emotion clearly above chance" in text
    assert (
        "Switching these neurons off makes the model tell the emotion’s clips from others less well: beyond what similar"
        in text
    )
    assert (
        "Amplifying them makes the model answer the emotion more, and tell its clips from others about as well: amplified by 50 %"
        in text
    )
    assert len(re.findall(r"Of the excess gap of −\d\d\.\d points, −\d+\.\d know nothing of the clip", text)) == 1


def test_sections_stand_in_order(page):
    wanted = [
        "model",
        "which",
        "deactivation",
        "steering",
        "data",
        "layers",
        "words",
        "agnostic",
        "controls",
        "factors",
    ]
    wanted += ["run", "limits", "glossary"]
    assert re.findall(r'<h2 id="([^"]+)"', page) == wanted
    assert [link[1:] for link in Page(page).links if link != "#claims"][-len(wanted) :] == wanted
    drawn = re.findall(r'<figure id="figure-([^"]+)"', page)
    # nothing is said of what only a further command makes
    assert drawn == [one.name for one in figures("run") if one.on_page and one.missing]
    assert {one.name for one in figures("run") if not one.missing} == {"oracle"}


def test_every_number_of_the_three_sentences_stands_in_a_table(folder, page):
    """Take each number out of the sentences, in order, and look it up where it was computed."""
    text = Page(page).text.split("emoscope report")[-1].split("What Zhao")[0].split("not corrected:")[-1]
    numbers = [float(one.replace("−", "-")) for one in re.findall(r"(?<![\w.])[+−]?\d+(?:\.\d+)?", text)]

    def table(name):
        return pl.read_parquet(folder / "tables" / f"{name}.parquet")

    def effect(kind, measure):
        found = table("effects").filter(
            (pl.col("kind") == kind) & (pl.col("measure") == measure) & (pl.col("selector") == "cas") & (pl.col("to").fill_null("zero") == "zero")
            & (pl.col("control") == "target") & (pl.col("positions") == "all") & (pl.col("layers") == "all") & (pl.col("alpha").fill_null(0.5) == 0.5)
        )  # fmt: skip
        return found.row(0, named=True)

    def verdict(kind):
        found = table("verdicts").filter((pl.col("kind") == kind) & pl.col("headline"))
        row = found.row(0, named=True)
        return [round(row[f"excess_evidence{end}"], 1) for end in ("", "_low", "_high")] + [
            round(row[f"excess_bias{end}"], 2) for end in ("", "_low", "_high")
        ]

    base = (
        table("uar")
        .filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
        .row(0, named=True)
    )
    gap, pull, own = (
        effect("deactivate", "excess_gap"),
        effect("steer", "excess_pull_overall"),
        effect("steer", "excess_pull_gap"),
    )
    expected = [round(base["uar"]), 3, 95, round(base["low"]), round(base["high"]), round(base["chance"])]
    expected += [round(-gap["estimate"], 1), 95, round(-gap["high"], 1), round(-gap["low"], 1)]
    blind = 1.5 * effect("deactivate", "excess_pull_overall")["estimate"]
    expected += [round(gap["estimate"], 1), round(blind, 1)]
    for kind in ("deactivate", "steer"):
        if kind == "steer":
            expected += [50, round(pull["estimate"], 1), 95, round(pull["low"], 1), round(pull["high"], 1)]
            expected += [round(own["estimate"], 1), 95, round(own["low"], 1), round(own["high"], 1)]
        evidence = verdict(kind)
        expected += [evidence[0], 95, *evidence[1:3], evidence[3], 95, *evidence[4:]]
    assert numbers == expected


def test_what_was_run_is_told(folder, page):
    text = Page(page).text
    uar = pl.read_parquet(folder / "tables" / "uar.parquet")
    flips = uar.filter((pl.col("condition") == "null") & (pl.col("scoring") == "likelihood"))["changed"][0]
    assert "94 = 90 used + 0 not needed + 3 excluded + 1 quarantined" in text
    assert re.search(r"not run", text)
    assert f"the numerical null changes {flips:.1f} % of the answers" in text
    assert "# fixed before <evaluation>" in text  # the study file, verbatim
    assert "trained on a part of planted (take 1, 2)" in text
    assert "2 of the 5 speakers below were heard then" in text


def test_figures_are_written_beside_the_page(folder, page):
    written = {path.name for path in (folder / "figures").iterdir()}
    assert written == {f"{one.name}.{end}" for one in figures("run") if one.missing for end in ("svg", "pdf")}
    for path in (folder / "figures").glob("*.svg"):
        ET.fromstring(path.read_text(encoding="utf-8"))
        pdf = path.with_suffix(".pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert pdf.count(b"/Type /Page\n") == 1
        assert b"/FontName" in pdf  # text stays text


def test_every_figure_is_a_step(folder, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    for lacking in ("report.html", "answers"):  # all of the figures, and hardly any
        run, steps = tmp_path / lacking, []
        shutil.copytree(folder, run, ignore=shutil.ignore_patterns(lacking, "tables", "figures"))
        build_report(
            write_tables(run), step=lambda run=run, steps=steps: steps.append(len(list((run / "figures").iterdir())))
        )
        assert len(steps) == len(figures("run"))
        assert steps == sorted(steps)


@pytest.mark.long
def test_the_same_run_gives_the_same_page(folder, page, tmp_path):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("tables", "figures", "report.html"))
    again = build_report(write_tables(tmp_path / "run")).read_text(encoding="utf-8")
    assert again == page


@pytest.mark.parametrize(
    "names",
    [
        ("manifest.json", "study.toml"),
        ("items.parquet",),
        ("sets.parquet", "sets"),
        ("conditions.parquet",),
        ("answers",),
    ],
    ids=" and ".join,
)
def test_whatever_is_missing_is_named(folder, tmp_path, names, monkeypatch):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(*names, "tables", "figures", "report.html"))
    text = fast(tmp_path / "run", monkeypatch, figures=True)
    expected = {"sets": "no neuron sets are stored", "study.toml": "Not in this run: study.toml"}
    for name in names:
        assert expected.get(name, f"{name}{'/' if name == 'answers' else ''} is not in the run folder") in text


def test_an_empty_folder_gives_a_page(tmp_path):
    text = Page(build_report(write_tables(tmp_path)).read_text(encoding="utf-8")).text
    for needed in ("items.parquet is not in the run folder", "no set was switched off", "baseline answers"):
        assert needed in text


def test_a_run_with_baseline_and_deactivation_only(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 5, 4, only=("baseline", "deactivate"))
    text = fast(tmp_path, monkeypatch, figures=True)
    assert "amplifying them was not part of this run" in text
    assert "Not in this run: no set was amplified" in text
    assert "Not in this run: the numerical null" in text
    assert "Not in this run: no MLP layer was switched off" in text


def test_fewer_than_five_speakers(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, 4, 4)
    text = fast(tmp_path, monkeypatch)
    assert "Only 4 speakers: with fewer than five no interval can be given" in text
    assert "No intervals: only 4 speakers: an interval needs at least 5" in text
    assert "There is no verdict on what switching these neurons off does (" in text
    assert "without a conclusion, since there are too few speakers for an interval" in text
    assert "clearly above" not in text


def test_unknown_speakers(tmp_path, monkeypatch):
    write_run(tmp_path, THREE, None, 4)
    text = fast(tmp_path, monkeypatch)
    assert " planted Speakers unknown: the same voice may be on both sides" in text  # right behind the title
    assert "There is no verdict on what switching these neurons off does (" in text
    assert "without a conclusion, since speakers are unknown" in text
    assert "clearly above" not in text


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


def test_controls_that_match_badly_are_called_so(page):
    text = Page(page).text  # every set differs by 0.31 in mean activity
    words = "The controls are not well matched in mean activity"
    top, rest = text.split("1 The untouched model")[0], text.split("1 The untouched model")[-1]
    assert words in top
    assert f"{words}: in 0 % of the control sets every standardised mean difference is within 0.25" in rest
    assert "and the largest is 0.31" in rest
    assert "may come from that difference and not from emotion" in rest
    assert words in rest.split("What may not be concluded")[-1]


def test_controls_that_match_well_are_called_so(folder, tmp_path, monkeypatch):
    run = changed(folder, tmp_path / "run")
    sets = pl.read_parquet(run / "sets.parquet")
    matched = pl.col("control") == "matched"
    differing = pl.when(matched).then(pl.when(pl.col("draw") == 0).then(-0.2).otherwise(0.1)).alias("smd_magnitude")
    sets.with_columns(differing, pl.when(matched).then(True).alias("well_matched")).write_parquet(run / "sets.parquet")
    text = fast(run, monkeypatch)
    assert "not well matched in" not in text
    words = "in 100 % of the control sets every standardised mean difference is within 0.25, and the largest is 0.20"
    assert text.count(words) == 1


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


@pytest.mark.long
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


def test_a_pilot_makes_no_claims(folder, tmp_path, monkeypatch):
    run = changed(folder, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["pilot"] = {"clips_per_second": 3.1, "verdict": ["The model hears enough.", "The study takes 2 hours."]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "tables").mkdir()
    (run / "tables" / "claims.tex").write_text("stale")
    text = fast(run, monkeypatch)
    assert "Nothing below supports a claim" in text
    assert "The model hears enough. The study takes 2 hours." in text
    assert "clearly above chance" not in text
    assert "Switching these neurons off" not in text
    assert "which a pilot does not give" in text
    assert "claim tested" not in text
    assert not (run / "tables" / "verdicts.tex").exists()
    assert not (run / "tables" / "claims.tex").exists()  # that of an earlier page has gone


def test_a_null_that_was_not_run_says_why(folder, tmp_path, monkeypatch):
    run = changed(folder, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text()) | {"null": "not run: every batch holds one row"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    conditions = pl.read_parquet(run / "conditions.parquet").filter(pl.col("kind") != "null")
    conditions.write_parquet(run / "conditions.parquet")
    for path in (run / "answers").glob("*.parquet"):
        if pl.read_parquet(path, columns=["condition"])["condition"][0] == "null":
            path.unlink()
    assert "The numerical null was not run: every batch holds one row" in fast(run, monkeypatch)


def test_tables_are_written_as_latex_beside_the_csv(folder, page):
    written = {path.stem for path in (folder / "tables").glob("*.tex")}
    # it asks in one wording, has no misses, no peer, no untrained model, no oracle, and emotions of high arousal alone
    named = {one.name for one in tables("run") if one.files} | {"claims"}
    assert written == named - {"wordings", "outcomes", "outcome_sets", "published", "arousal", "untrained", "oracle"}
    for name in written:
        assert f'id="table_{name}"' in page
    tex = (folder / "tables" / "effects_deactivate.tex").read_text(encoding="utf-8")
    assert len(re.findall(r" \\\\$", tex, re.MULTILINE)) == 7  # the heading, four sets to zero and two to their mean
    assert "CAS, selected, to their mean" in tex


def test_no_table_holds_what_two_runs_of_a_study_do_not_share(folder, page, tmp_path, monkeypatch):
    manifest = json.loads((folder / "manifest.json").read_text())
    fast(changed(folder, tmp_path / "run"), monkeypatch)
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest | {"timing": {"total_s": 98765}}))
    assert "98765" in fast(tmp_path / "run", monkeypatch)
    for path in (tmp_path / "run" / "tables").iterdir():
        assert path.read_bytes() == (folder / "tables" / path.name).read_bytes(), path.name


def test_words_that_neurons_write_are_text(page):
    assert "␣anger" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.long
def test_a_report_is_built_without_torch(tmp_path):
    write_run(tmp_path / "run", THREE, 5, 1, only=("baseline", "deactivate"))
    code = (
        "import sys; from emoscope.chapters import pages, results\n"
        "pages.build_report(results.write_tables(sys.argv[1]))\n"
        "print([m for m in ('torch', 'transformers', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
