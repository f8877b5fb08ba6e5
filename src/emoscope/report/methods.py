"""What an author pastes into a paper: a paragraph on the methods of this run, and its references as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from emoscope.analysis.parts import Part
from emoscope.neurons.controls import CONTROLS
from emoscope.report.wording import name_selector
from emoscope.vocabulary import PRESENTED
from emoscope.wording import listed, number, span

PAPER = """@inproceedings{zhao2026emotion,
  author    = {Zhao and Schuller and Sisman},
  title     = {Discovering and Causally Validating Emotion-Sensitive Neurons in Large Audio-Language Models},
  booktitle = {Proceedings of the 64th Annual Meeting of the Association for Computational Linguistics (ACL 2026)},
  pages     = {15056--15071},
  year      = {2026},
  note      = {arXiv:2601.03115}
}"""
LAPE = """@inproceedings{tang2024language,
  author    = {Tang, Tianyi and Luo, Wenyang and Huang, Haoyang and Zhang, Dongdong and Wang, Xiaolei and Zhao, Xin and Wei, Furu and Wen, Ji-Rong},
  title     = {Language-Specific Neurons: The Key to Multilingual Capabilities in Large Language Models},
  booktitle = {Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics (ACL 2024)},
  pages     = {5701--5715},
  year      = {2024}
}"""

SELECTORS = {
    "lap": "the highest probability of being active (LAP)",
    "lape": "the lowest entropy of the probability of being active over emotions (LAPE; Tang et al., 2024)",
    "lape-original": "the lowest entropy in one list, each neuron for every emotion above the bar (LAPE-original; Tang et al., 2024)",
    "mad": "the largest mean activation above the mean of the other emotions (MAD)",
    "mad-z": "the mean activation above that of the other emotions in standard deviations of the clips’ means within emotions (MAD-z)",
    "mad-active": "the mean activation above that of the other emotions among neurons active at a tenth of the positions or more (MAD-active)",
    "cas": "the largest margin between their two largest probabilities of being active (CAS)",
    "attribution": "the largest attribution of the log-odds of the emotion’s option (gradient times activation)",
    "attribution-contrast": "the largest attribution of the log-odds of the emotion’s option above that on clips of the other emotions",
    "attribution-between": "the largest attribution of the log-odds of the emotion’s option to what differs from clips of other emotions by the same speaker",
}
"""By what a selector ranks neurons, in sentences."""


def paragraph(part: Part) -> list[str]:
    """The methods of this run in a few sentences each on data, selection, interventions and statistics."""
    if part.selector is None or not len(part.responses.items):
        return []
    return [_data(part), _selection(part), _interventions(part), _statistics(part)]


def bibtex(part: Part) -> str:
    """The references of a report on this run."""
    manifest = part.run.manifest
    software = (
        "@software{emoscope,\n  author  = {{The emoscope authors}},\n"
        "  title   = {emoscope: emotion-sensitive neurons in large audio-language models},\n"
        f"  version = {{{manifest.get('emoscope') or 'unknown'}}},\n  year    = {{2026}}\n}}"
    )
    corpora = [_corpus(corpus) for corpus in manifest.get("corpora") or [] if corpus.get("citation")]
    ranked = [LAPE] if any(name.startswith("lape") for name in part.selectors) else []
    return "\n\n".join([PAPER, software, *corpora, *ranked])


def _corpus(corpus: dict[str, Any]) -> str:
    citation = str(corpus["citation"])
    year = re.search(r"\b(?:19|20)\d\d\b", citation)
    fields = [("title", str(corpus.get("title") or corpus.get("id"))), ("howpublished", citation)]
    fields += [("year", year[0])] if year else []
    lines = ",\n".join(f"  {name} = {{{re.sub(r'[{}]', '', text)}}}" for name, text in fields)
    return f"@misc{{{re.sub('[^a-z0-9]', '', str(corpus.get('id')).lower())},\n{lines}\n}}"


def _data(part: Part) -> str:
    manifest, responses = part.run.manifest, part.responses
    model = manifest.get("model") or {}
    corpora = " and ".join(
        str(corpus.get("title") or corpus.get("id")) + (f" ({corpus['citation']})" if corpus.get("citation") else "")
        for corpus in manifest.get("corpora") or []
    )
    known = PRESENTED.get(part.presentation or "audio")
    asked = (known and known.asks) or PRESENTED["audio"].asks
    voices = f"{part.speakers} speakers" if part.speakers else "speakers whose names are not known"
    text = (
        f"We asked {model.get('id', 'the model')} ({model.get('layers')} decoder layers of {model.get('width')} MLP neurons, "
        f"{model.get('dtype')}, {model.get('device')}) {asked} in {part.clips} clips "
        f"by {voices}" + (f" of {corpora}" if corpora else "") + f", with {len(responses.labels)} lettered options "
        f"({', '.join(responses.labels)}) whose order differs between clips. The answer is the option whose letter is most probable"
    )
    row = part.uar("baseline")
    if row is None or row["uar"] is None:
        return f"{text}."
    within = "" if row["low"] is None else f" ({span(row['low'], row['high'])})"
    return (
        f"{text}; without intervention the unweighted average recall is {number(row['uar'])} %{within}, chance being "
        f"{number(row['chance'])} %."
    )


def _selection(part: Part) -> str:
    own = part.own(part.run.sets).filter(pl.col("control") == "target")
    size, clips = own["size_wanted"].drop_nulls().to_list(), own["n"].drop_nulls().to_list()
    named = [part.selector, *(name for name in part.selectors if name != part.selector)]
    ways = [SELECTORS.get(name or "", f"the selector {name_selector(name)}") for name in named]
    others = f" For comparison, neurons were also selected by {listed(ways[1:])}." if len(ways) > 1 else ""
    folds = [fold for fold in own["fold"].unique().sort().to_list() if fold != "all"]
    crossed = (
        f"The sets that act on a clip were found on other {'speakers' if part.speakers else 'recordings'} ({len(folds)} folds)."
        if len(folds) > 1
        else "The sets were found on clips that are not evaluated."
    )
    many = f" ({max(size)})" if size else ""
    from_clips = f", from {min(clips)} correctly answered clips per emotion" if clips else ""
    asked = (part.run.manifest.get("study") or {}).get("identify") or {}
    after_product = " Its activation was read after the product with up_proj(x) (site “product”)."
    read = after_product if asked.get("site") == "product" else ""
    if asked.get("balance_letters"):
        from_clips += ", chosen so that the right option stood behind each letter as equally often as could be"
    return (
        f"Following Zhao, Schuller and Sisman (2026), a neuron is one element of act(gate_proj(x)) in a decoder MLP.{read} For each "
        f"emotion we selected {100 * (part.budget or 0):g} % of all neurons{many} with {ways[0]}, counted at the "
        f"positions “{part.scope}”{from_clips}. {crossed}{others}"
    )


def _interventions(part: Part) -> str:
    asked = part.own(part.run.conditions)
    kinds = set(asked["kind"].to_list())
    done = []
    if "deactivate" in kinds:
        means = " and, in further conditions, to its mean over clips" if "mean" in set(asked["to"].to_list()) else ""
        done.append(f"deactivated (set to zero{means})")
    alphas = asked.filter(kind="steer", control="target")["alpha"].drop_nulls().unique().sort()
    if len(alphas):
        weakened = " or weakened" if alphas[0] < 0 else ""
        values = listed([f"{alpha:g}" for alpha in alphas])
        done.append(f"amplified{weakened} (multiplied by 1 + alpha, alpha = {values})")
    draws = {name: asked.filter(control=name)["draw"].n_unique() for name in CONTROLS}
    controls = [
        f"{draws[name]} {kind.sets or f'sets of {name} neurons'}" for name, kind in CONTROLS.items() if draws[name]
    ]
    against = f" Controls were {listed(controls)} per emotion." if controls else ""
    if {"misses", "false-alarms"} & set(asked["control"].to_list()):
        against += (
            " Further sets were found on misses and on false alarms of the untouched model, and compared with sets found on "
            "as many hits of the same emotions."
        )
    return f"The neurons of each set were {listed(done) or 'not changed'} at all positions of the prompt and the answer.{against}"


def _stopped(manifest: Mapping[str, Any]) -> str:
    """Why not all permuted draws were asked, with a space before it; empty where all were."""
    why = manifest.get("permuted")
    return f" Labels were permuted draw after draw: {why} (Besag and Clifford 1991)." if why else ""


def _statistics(part: Part) -> str:
    manifest = part.run.manifest
    study, environment = manifest.get("study") or {}, manifest.get("environment") or {}
    used = [name for name in environment if name in ("python", "torch", "transformers")]
    versions = ", ".join(f"{name} {environment[name]}" for name in used)
    holm = (
        " The declared claims rest on the pairwise change of separations beyond control sets, whose spread is part of "
        "the error; each is tested only if the one before it holds, the first of both sequences after Holm’s correction "
        "and, with 19 draws or more, against sets selected on labels permuted within block."
        if len(part.table("tests"))
        else ""
    )
    return (
        "Effects are changes in percentage points, averaged over emotions; the excess is the effect of the selected minus that of "
        "matched neurons on the same clips. Sensitivity is the change of the one-against-rest area under the ROC curve of the option’s "
        "log-odds, bias their mean change on clips of other emotions. Intervals (95 %) are delete-one-speaker jackknife intervals "
        f"with Student’s t and (effective number of speakers − 1) degrees of freedom.{holm}{_stopped(manifest)} "
        f"We used emoscope {manifest.get('emoscope', '')} (seed {study.get('seed', 'unknown')}; {versions})."
    )
