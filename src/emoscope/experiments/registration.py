"""What a study declares before it is run: written down with a hash and a time, and compared with what was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from emoscope import __version__
from emoscope.analysis import declared
from emoscope.analysis.headline import CONTROLS
from emoscope.analysis.registration import AFTER, differences
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.study import imported_code
from emoscope.runs import RunFolder
from emoscope.runs.folder import digest, replacing
from emoscope.vocabulary import LEVEL, MINIMUM_SPEAKERS

ENDING = ".registration.json"
"""A study's registration stands beside its file: ``study.registration.json`` beside ``study.toml``."""
KEPT = "registration.json"
"""The same in the folder of a run."""

ESTIMAND = (
    "pairwise change: of every two emotions, the change under a set of the mean of log p(first) - log p(second) on clips "
    "of the first minus that on clips of the second, within speakers; pairs with the set's emotion minus other pairs, mean "
    "over emotions with a set; target sets minus the mean of control draws"
)
ERROR = (
    "jackknife over units, plus the larger of how much control sets differ from each other and how differently target sets "
    "act on emotions that they are not named after; t with Satterthwaite's degrees of freedom"
)
UNIT = "the session, where every speaker stands in one alone and some session holds several; else the speaker"
SETS = (
    "label",
    "scope",
    "site",
    "folds",
    "split",
    "items_per_emotion",
    "minimum",
    "lape_floor",
    "balance_letters",
    "where",
)
"""Fields of ``[identify]`` that decide which neurons the headline's sets have."""


def declares(study: Study, looks: int = 1) -> dict[str, Any]:
    """What a study declares: how sets are found, what is done with them, and how it is judged.

    Args:
        looks: how often the evaluated clips are looked at, as planned.

    Example:
        >>> declares(Study())["sequences"][0]
        ['exists', 'disproportionate', 'selective']
    """
    plain: dict[str, Any] = msgspec.to_builtins(study)
    if "import" in plain:  # by what was run of each file, wherever it lies
        plain["import"] = {Path(path).name: checksum for path, checksum in imported_code(study).items()}
    identify, question = plain["identify"], plain["question"]
    kinds = dict.fromkeys(claim.kind for claim in declared.CLAIMS)
    content = {
        "rules": declared.RULE,
        "emoscope": __version__,
        "study": digest(plain),
        "sets": {"selector": study.headline.selector, **{name: identify[name] for name in SETS}},
        "budget": study.headline.budget,
        "dose": {"deactivate": "zero", "alpha": study.headline.alpha, "alphas": plain["interventions"]["alphas"]},
        "positions": "all",
        "layers": "all",
        "question": question,
        "estimand": ESTIMAND,
        "error": ERROR,
        "unit": UNIT,
        "block": "labels are exchanged within the speaker and, where a block holds several emotions, within the block",
        "sequences": [[claim.name for claim in declared.CLAIMS if claim.kind == kind] for kind in kinds],
        "level": f"{LEVEL:g}, two-sided; the first of both sequences after Holm, the others only if the one before holds",
        "draws": plain["controls"],
        "beyond": list(CONTROLS),
        "permutation null": f"first claims: p = (1 + b) / (1 + d) of shuffled draws at most {LEVEL:g}, where d allows it",
        "exclusions": {
            "fewest units of a pair": MINIMUM_SPEAKERS,
            "fewest emotions": declared.FEWEST_EMOTIONS,
            "fewest control draws": declared.FEWEST_DRAWS,
            "unknown speakers": "left out where most clips have a speaker",
            "corpora": [{name: corpus[name] for name in ("id", "emotions", "merge", "where")} for corpus in plain["corpora"]],
        },
        "evaluate": plain["evaluate"],
        "seed": study.seed,
        "looks": looks,
    }  # fmt: skip
    return dict(json.loads(json.dumps(content)))  # as it is read again: lists, no tuples


def preregister(study: Study, file: Path, looks: int = 1) -> dict[str, Any]:
    """Write down what a study declares, its hash and the time; what was registered so before keeps its time.

    Raises:
        StudyError: the file holds another registration.
    """
    content = declares(study, looks)
    if file.exists():
        before = read_registration(file)
        if before["hash"] == digest(content):
            return before
        told = "; ".join(differences(before["declares"], content))
        raise StudyError(f"{file} registers something else ({told}): name another file with --out, and keep both")
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"hash": digest(content), "time": time, "declares": content}
    with replacing(file) as partial:
        partial.write_text(as_json(found), encoding="utf-8")
    return found


def as_json(registration: Mapping[str, Any]) -> str:
    """A registration as it is written: the same text for the same content."""
    return json.dumps(registration, indent=1, ensure_ascii=False) + "\n"


def read_registration(file: Path) -> dict[str, Any]:
    """A registration as it was written.

    Raises:
        FileNotFoundError: it is not there.
        StudyError: it is none, or was changed.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: `emoscope preregister STUDY` writes it")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        wrong = not isinstance(found["time"], str) or found["hash"] != digest(found["declares"])
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{file} is no registration: `emoscope preregister STUDY` writes one") from error
    if wrong:
        raise StudyError(f"{file} was changed after it was written: its hash is not that of what it declares")
    return dict(found)


def take_registration(run: RunFolder, study_file: Path | None, given: Path | None = None) -> None:
    """Keep in a run's folder the registration that is given, or that stands beside the study's file, if there is one.

    Raises:
        StudyError: it was changed, or the run began with another one.
    """
    beside = study_file.with_suffix(ENDING) if study_file else None
    file = given or (beside if beside and beside.is_file() else None)
    if file is None:
        return
    found, before = read_registration(file), run.read_json(KEPT)
    if before is None:
        begun = any(any(run.path.glob(name)) for name in ("answers/*", "parts/*/answers/*", "items.parquet"))
        run.write_json(KEPT, {**found, "begun": begun})
    elif before["hash"] != found["hash"]:
        raise StudyError(
            f"{run.path} was begun with another registration ({before['time']}) than {file} ({found['time']}): choose "
            "another folder with --out"
        )


def compared(run: RunFolder, study: Study) -> dict[str, Any]:
    """What a manifest holds of a registration, under ``registration``; empty where nothing was registered."""
    found = run.read_json(KEPT)
    if found is None:
        return {}
    content = found["declares"]
    differs = [*([AFTER] if found["begun"] else []), *differences(content, declares(study, content.get("looks", 1)))]
    about = {"time": found["time"], "hash": found["hash"], "kept": not differs, "differs": differs}
    return {"registration": about}
