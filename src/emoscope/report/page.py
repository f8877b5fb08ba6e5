"""The report: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode

from emoscope.analysis.tables import Tables, write_tables
from emoscope.report import sentences, tables
from emoscope.report.charts import FIGURES, main_figure
from emoscope.report.content import Content, number, open_content
from emoscope.report.theme import DARK, LIGHT, title_of, to_spec, to_svg
from emoscope.runs.folder import replacing

__all__ = ["FIGURES", "build_report", "main_figure", "render"]

GLOSSARY = {
    "clip": "One recording of one speaker.",
    "item": "A clip with the question asked about it and the order of its lettered options.",
    "baseline": "The model without any intervention.",
    "neuron": "One element of the inner layer of a decoder MLP: a layer and an index.",
    "selector": "A rule that scores how specific each neuron’s activation is to each emotion: LAP (firing frequency), LAPE "
    "(entropy), MAD (mean deviation), CAS (contrast between the two most frequent emotions).",
    "budget": "The share of all decoder neurons that is selected for each emotion.",
    "neuron set": "The neurons that a selector chose for one emotion. Each clip is answered under sets found on other speakers.",
    "scope": "The positions whose activations were counted: audio, text, decision (the last position before the answer), answer.",
    "deactivate": "Set a neuron’s activation to zero.",
    "amplify (steer), alpha": "Multiply a neuron’s activation by 1 + alpha.",
    "UAR": "Unweighted average recall: the mean over emotions of the share of clips answered correctly.",
    "point": "One percentage point.",
    "own effect, effect on others": "Change of accuracy on clips of the emotion whose neurons were changed; and on clips of the "
    "other emotions (self and cross).",
    "gap": "Own effect minus effect on others. Zero if all emotions suffer alike.",
    "matched": "Control neurons of the same layers with similar firing rate, magnitude and output weight, of no selected set.",
    "random": "Control neurons drawn anywhere.",
    "shuffled labels": "Neurons that the same selector finds when emotions are shuffled among each speaker’s clips.",
    "excess gap": "The gap of the selected neurons minus the mean gap of matched ones, item by item.",
    "pull": "Change of the share of clips that are answered with the emotion whose neurons were changed. On clips of that "
    "emotion it equals the own effect.",
    "interval": "95 % interval for other speakers of the same kind: delete-one-speaker jackknife, Student’s t with "
    "(effective number of speakers − 1) degrees of freedom. Given from five speakers on. "
    "Where all speakers agree exactly its width is zero, which does not mean certainty.",
    "numerical null": "A condition that changes nothing but the composition of batches; its changed answers are rounding.",
    "letter mass": "The probability that the model gives to the letters of all options together.",
    "agreement": "The share of items where the likeliest letter is also the answer that the model writes.",
    "MLP reliance": "UAR when MLP layers are switched off altogether; a reference line, not an upper bound.",
    "not identifiable": "An emotion with too few clips answered correctly to select neurons for; it stays an option.",
}  # fmt: skip
"""The words of the report, in plain language."""

MISSING = {
    "recall": "baseline answers", "confusion": "baseline answers", "deactivation": "no set was switched off",
    "gaps": "no set was switched off", "steering": "no set was amplified", "pulls": "no set was amplified",
    "dose": "no set was amplified", "positions": "neurons were not switched off by position",
    "reliance": "no MLP layer was switched off", "layers": "no neuron sets are stored",
    "layers_by_emotion": "no neuron sets are stored", "main": "no set was switched off",
}  # fmt: skip


def build_report(
    folder: str | Path, tables_of_run: Tables | None = None, step: Callable[[], None] | None = None
) -> Path:
    """Write ``tables/``, ``figures/*.svg`` and ``report.html`` of a run folder, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        folder: the run folder.
        tables_of_run: what ``write_tables`` returned, if the tables were just written.
        step: called after each figure, whether the run has it or not: ``len(FIGURES)`` times.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    content = open_content(folder, tables_of_run or write_tables(folder))
    figures = content.run.folder / "figures"
    figures.mkdir(exist_ok=True)
    shown: dict[str, dict[str, str]] = {}
    for name, draw in FIGURES.items():
        (figures / f"{name}.svg").unlink(missing_ok=True)
        shown[name] = _figure(content, name, draw, figures)
        if step:
            step()
    path = content.run.folder / "report.html"
    with replacing(path) as partial:
        partial.write_text(render(content, shown), encoding="utf-8")
    return path


def render(content: Content, figures: Mapping[str, Mapping[str, str]]) -> str:
    """The page's HTML.

    Args:
        content: what the report shows.
        figures: name to ``title``, ``how``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    null = content.uar("null")
    return environment.get_template("template.html").render(
        name=_study_name(content), subject=_subject(content), standing=sentences.standing(content),
        headline=sentences.headline(content), missing=_missing(content), figures=figures,
        matching={kind: sentences.matching(content, kind) for kind in tables.MEASURES},
        flips=None if null is None else number(null["changed"]), no_interval=_no_interval(content),
        baseline=tables.baseline(content), generated=tables.generated(content), effects={kind: tables.effects(content, kind) for kind in tables.MEASURES},
        reliance=_reliance(content), sets=tables.sets(content), identifiable=_identifiable(content),
        proofs=tables.proofs(content), counts=tables.facts(_counts(content), "counts"),
        environment=tables.facts(_environment(content), "environment"), study=_study(content),
        limits=sentences.limits(content), glossary=GLOSSARY, version=content.run.manifest.get("emoscope", ""),
    )  # fmt: skip


def _figure(content: Content, name: str, draw: Callable[..., Any], folder: Path) -> dict[str, str]:
    with debug_mode(False):  # the specifications are checked by the tests, not again in every report
        chart = draw(content)
    if chart is None:
        return {"missing": MISSING[name]}
    title, how = title_of(chart)
    spec = to_spec(chart)
    (folder / f"{name}.svg").write_text(to_svg(spec), encoding="utf-8")
    if name == "main":  # the page shows the full set of matrices instead
        return {"title": title, "how": how}
    pictures = {
        theme.name: _lean(to_svg(spec, theme, prefix=f"{name}-{theme.name}-", titled=False), title)
        for theme in (LIGHT, DARK)
    }
    return {"title": title, "how": how} | pictures


def _lean(svg: str, title: str) -> str:
    """Drop the label of every single mark, which would triple the page, and label the picture as a whole."""
    svg = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", svg)
    svg = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg)
    label = title.replace("&", "&amp;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _study_name(content: Content) -> str:
    study: Any = content.run.manifest.get("study")
    return str(study.get("name") or content.run.folder.name) if isinstance(study, dict) else content.run.folder.name


def _subject(content: Content) -> list[str]:
    manifest, panel = content.run.manifest, content.tables.panel
    model: Any = manifest.get("model") or {}
    corpora = [str(one.get("title") or one.get("id")) for one in manifest.get("corpora") or []]
    speakers = f"{content.speakers} speakers" if content.speakers else "speakers unknown"
    clips = content.run.items.filter(content.run.items["item"].is_in(panel.items.tolist()))["clip"].n_unique()
    headline = content.selector and (
        f"headline: {content.selector.upper()}, budget {number(100 * (content.budget or 0), 2)} %, scope {content.scope}"
        + (f", alpha {content.alpha:g}" if content.alpha is not None else "")
    )
    known = [
        model.get("id"),
        ", ".join(corpora),
        f"{clips} clips evaluated",
        speakers,
        f"{len(content.emotions)} emotions",
        headline,
    ]
    return [str(one) for one in known if one]


def _missing(content: Content) -> list[str]:
    files = [f"{name} is not in the run folder" for name in content.run.missing]
    return [*files, *content.tables.notes]


def _no_interval(content: Content) -> str | None:
    reasons = content.tables.uar.filter(content.tables.uar["condition"] == "baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None


def _reliance(content: Content) -> str | None:
    found = content.tables.reliance.filter(content.tables.reliance["layers"] == "all")
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    return (
        f"With every MLP layer off, UAR is {number(row['uar'])} %, and {number(row['commonest_share'], 0)} % of the answers are "
        f"“{row['commonest']}”. This is a reference line, not an upper bound: with all layers off the model may no longer know "
        "which letter stands for what."
    )


def _identifiable(content: Content) -> list[tuple[str, str]]:
    found: Any = content.run.manifest.get("identifiable") or {}
    return [(emotion, str(why)) for emotion, why in found.items() if not isinstance(why, (int, float))]


def _counts(content: Content) -> list[tuple[str, Any]]:
    counts: dict[str, Any] = dict(content.run.manifest.get("counts") or {})
    if not counts and len(content.run.items):
        clips = content.run.items.unique("clip")
        counts = {"clips": len(clips)} | dict(sorted(clips["fate"].value_counts().iter_rows()))
    names = ("used", "not needed", "excluded", "quarantined")
    pairs: list[tuple[str, Any]] = []
    if "clips" in counts:
        parts = [int(counts.get(name) or 0) for name in names]
        adds = "=" if sum(parts) == int(counts["clips"]) else "≠"
        text = " + ".join(f"{n} {name}" for n, name in zip(parts, names, strict=True))
        pairs.append(("clips", f"{counts['clips']} {adds} {text}"))
    lost = content.run.items.filter(
        content.run.items["why"].is_not_null() & content.run.items["fate"].is_in(["excluded", "quarantined"])
    )
    for row in lost.group_by("fate", "why").len().sort("fate", "why").iter_rows(named=True):
        pairs.append((f"{row['fate']}: {row['why']}", row["len"]))
    asked = content.run.conditions
    if len(asked):
        pairs.append(("conditions", f"{len(asked)}, answered: {content.run.answers['condition'].n_unique()}"))
    return pairs


def _environment(content: Content) -> list[tuple[str, Any]]:
    manifest = content.run.manifest
    model: Any = manifest.get("model") or {}
    wanted = ("id", "family", "revision", "checksum", "layers", "width", "site", "dtype", "device")
    pairs: list[tuple[str, Any]] = [(f"model {name}", model.get(name)) for name in wanted]
    first = model.get("audio_first")
    if first is not None:
        pairs.append(("audio stands before the question", "yes" if first else "no"))
    pairs += [(str(name), _flat(value)) for name, value in (manifest.get("environment") or {}).items()]
    names = {"total_s": "time (s)", "peak_memory_gb": "peak memory (GB)", "stages_s": "time by stage (s)"}
    pairs += [(names.get(name, str(name)), _flat(value)) for name, value in (manifest.get("timing") or {}).items()]
    for one in manifest.get("corpora") or []:
        pairs.append(
            (f"corpus {one.get('id')}", "; ".join(str(one[k]) for k in ("title", "licence", "citation") if one.get(k)))
        )
    return pairs


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(one)}" for name, one in value.items())
    return round(value, 2) if isinstance(value, float) else value


def _study(content: Content) -> str | None:
    path = content.run.folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else None
