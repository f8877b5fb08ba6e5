"""What a run folder may be given a second time, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emoscope.corpora import polish_folder
from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import ChangedInput
from emoscope.experiments.schema import Study
from emoscope.experiments.study import parse_study
from emoscope.models.lookup import TINY
from emoscope.models.registry import load_model
from emoscope.questions import WORDINGS
from emoscope.runs import Log, RunFolder

STUDY = """
[model]
id = "MODEL"
[[corpora]]
id = "folder"
root = "VOICES"
pattern = "{emotion}/{speaker}-{word}_{take}.flac"
[identify]
minimum = 1
selectors = ["mad", "cas"]
scope = "all"
[headline]
selector = "mad"
[interventions]
alphas = [1.0]
agnostic = []
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 1
shuffled = 1
orthogonal = 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the voices and of the model's checkpoint."""
    folder = tmp_path_factory.mktemp("listened")
    for clip in polish_folder().glob("m[123].?_nie_[34].flac"):
        speaker, rest = clip.stem.split(".")
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[rest[0]]
        (folder / "voices" / emotion).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / "voices" / emotion / f"{speaker}-{rest[2:]}.flac")
    shutil.copytree(TINY, folder / "model")
    return folder


def text(place: Path) -> str:
    return STUDY.replace("VOICES", str(place / "voices")).replace("MODEL", str(place / "model"))


@pytest.fixture(scope="module")
def model(place: Path):
    return load_model(place / "model")


@pytest.fixture(scope="module")
def study(place: Path) -> Study:
    return parse_study(text(place))


@pytest.fixture(scope="module")
def done(study: Study, place: Path, model) -> RunFolder:
    return run_study(study, place / "run", model=model)


@pytest.fixture
def run(done: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run."""
    return RunFolder(shutil.copytree(done.path, tmp_path / "run"))


def everything(run: RunFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.name != "log.jsonl"}


def test_a_changed_clip_is_refused_by_name_and_the_run_stays_as_it_was(
    study: Study, run: RunFolder, place: Path, model
) -> None:
    before = everything(run)
    changed = place / "voices" / "fear" / "m2-nie_3.flac"
    kept = changed.read_bytes()
    shutil.copy(polish_folder() / "m2.s_tak_1.flac", changed)
    with pytest.raises(ChangedInput, match=r"clip 'fear/m2-nie_3' has other content .*m2-nie_3\.flac.*--out.*--fresh"):
        run_study(study, run.path, model=model)
    assert everything(run) == before
    changed.write_bytes(b"no longer a sound")
    with pytest.raises(ChangedInput, match="fear/m2-nie_3"):
        run_study(study, run.path, model=model)
    changed.write_bytes(kept)
    run_study(study, run.path, model=model)
    assert everything(run) == before


def test_a_changed_model_is_refused_by_name(study: Study, run: RunFolder, place: Path) -> None:
    config = place / "model" / "generation_config.json"
    kept = config.read_text() if config.is_file() else None
    config.write_text(json.dumps({**json.loads(kept or "{}"), "repetition_penalty": 1.1}))
    with pytest.raises(ChangedInput, match=r"model '.*model' has other files than when the run .* --fresh"):
        run_study(study, run.path)
    config.unlink()
    if kept is not None:
        config.write_text(kept)
    other = parse_study(STUDY.replace("VOICES", str(place / "voices")).replace("MODEL", "tiny"))
    run.write_json("listened.json", {**run.read_json("listened.json"), "model": {"id": "mine", "checksum": "0" * 64}})
    with pytest.raises(ChangedInput, match="model 'tiny' is not 'mine', with which the run"):
        run_study(other, run.path)


@pytest.mark.long
def test_other_questions_listen_anew_and_say_so(
    study: Study, run: RunFolder, place: Path, tmp_path: Path, model
) -> None:
    other = next(name for name in WORDINGS if name != study.question.wording)
    asked = text(place) + f'[question]\nwording = "{other}"\n'
    log = Log("quiet", tmp_path / "log.jsonl")
    run_study(parse_study(asked), run.path, log, model=model)
    log.close()
    said = [json.loads(line).get("text", "") for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert any("differs from the last one in this folder in clips or questions: listening anew" in s for s in said)


def test_an_edited_study_asks_only_what_is_new(run: RunFolder, place: Path, tmp_path: Path, model) -> None:
    old = run.units()
    edited = parse_study(
        text(place).replace("alphas = [1.0]", "alphas = [1.0, 2.0]").replace('["mad", "cas"]', '["mad"]')
    )
    log = Log("quiet", tmp_path / "log.jsonl")
    run_study(edited, run.path, log, model=model)
    log.close()
    new = run.units()
    # three emotions and their one matched draw, steered at one more strength; the dropped selector's units stay for
    # re-use and are not read
    assert len(new - old) == (tmp_path / "log.jsonl").read_text().count('"event": "unit"') == 6
    assert new > old
    listed = set(run.read_table("units")["unit"])
    assert len(listed) < len(new)
    assert not run.read_table("conditions")["selector"].drop_nulls().is_in(["cas"]).any()
