"""The study file: what is refused, how it is written, and that every study in the repository can be run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from emoscope.corpora import list_corpora
from emoscope.corpora.registry import check_corpus_id
from emoscope.experiments.parts import has_parts
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.study import paper_study, parse_study, read_study, to_toml, usual_study
from emoscope.models.families import releasing

DEMO = Path(__file__).parents[2] / "src" / "emoscope" / "data" / "demo.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam = 'x'", "did you mean `name`"),
        ("[headline]\nselctor = 'mad'", "in [headline] is not known: did you mean `selector`"),
        ("[[corpora]]\nrot = 'x'", "in [corpora] is not known: did you mean `root`"),
        ("[headline]\nbudget = 3", "headline.budget 3.0 is not a fraction of neurons"),
        ("[headline]\nbudget = 0", "headline.budget 0.0 is not a fraction"),
        ("[identify]\nitems_per_emotion = 0", "identify.items_per_emotion"),
        ("[identify]\nselectors = ['lop']", "selector 'lop' is not known"),
        ("[identify]\nselectors = ['lap']", "headline.selector 'cas' is not among"),
        ("[identify]\nscope = 'audio+nose'", "'nose' is not known"),
        ("[identify]\nstore = ['audio']", "which identify.store does not keep"),
        ("[identify]\nwhere = { take = 1 }", "go together"),
        ("[question]\nletter_orders = 'some'", "letter_orders 'some'"),
        ("[interventions]\nalphas = [-2.0]", "alpha -2.0"),
        ("[interventions]\ndeactivate = ['median']", "interventions.deactivate 'median' is not known"),
        ("[interventions]\ndeactivate = ['mean']", 'what is claimed is deactivation to zero; give ["zero", "mean"]'),
        ("[interventions]\ndeactivate = ['zero', 'zero']", "names one twice"),
        ("[[corpora]]\nloudness = 'loud'", "loudness 'loud'"),
        ("x =", "not valid TOML"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused_with_the_field_and_the_remedy(text: str, said: str) -> None:
    with pytest.raises(StudyError) as error:
        parse_study(text)
    assert said in str(error.value)


def test_writing_and_reading_gives_the_same_study() -> None:
    study = read_study(DEMO)
    assert parse_study(to_toml(study)) == study
    assert parse_study(to_toml(Study())) == Study()


def test_every_field_says_what_it_means() -> None:
    fields = [line for line in to_toml(Study()).splitlines() if line and not line.startswith(("[", "# "))]
    assert len(fields) > 25
    assert all(len(line.split(" # ")[-1]) > 8 for line in fields)


def test_a_missing_budget_is_filled_in_by_the_model() -> None:
    study = Study().with_budget(0.05)
    assert study.headline.budget == 0.05
    assert study.identify.budgets == (0.05,)
    fixed = parse_study("[headline]\nbudget = 0.01\n[identify]\nbudgets = [0.02]").with_budget(0.05)
    assert fixed.identify.budgets == (0.01, 0.02)


def test_a_pilot_keeps_the_headline_and_asks_less() -> None:
    pilot = Study(name="s").pilot(4)
    assert (pilot.name, pilot.headline, pilot.evaluate.items_per_emotion) == ("s-pilot4", Study().headline, 4)
    assert pilot.identify.minimum == 1
    assert Study().pilot(200).identify.minimum == 20
    with pytest.raises(StudyError, match="at least 2"):
        Study().pilot(1)


def test_a_study_is_a_value() -> None:
    assert msgspec.structs.replace(Study(), seed=1) != Study()
    with pytest.raises(AttributeError):
        Study().seed = 4  # type: ignore[misc]


def test_the_study_file_knows_every_selector_and_scope_of_the_package() -> None:
    from emoscope.experiments.schema import SELECTORS
    from emoscope.neurons import activity, selectors

    assert set(SELECTORS) < set(selectors.SELECTORS)
    assert Study().identify.store == activity.SCOPES


def test_sizes_and_the_floor_of_lape_are_checked() -> None:
    study = parse_study("[identify]\nsizes = [5, 20]\nlape_floor = 0.9\ncompare_at_common_size = true")
    assert (study.identify.sizes, study.identify.size_draws, study.identify.lape_floor) == ((5, 20), 3, 0.9)
    # a pilot has no clips for them
    assert study.pilot(8).identify.sizes == ()
    assert not study.pilot(8).identify.compare_at_common_size
    for wrong in ("sizes = [0]", "size_draws = 0", "lape_floor = 1.0"):
        with pytest.raises(StudyError, match=f"identify.{wrong.split()[0]}"):
            parse_study(f"[identify]\n{wrong}")
    with pytest.raises(StudyError, match="selector 'casual' is not known: choose from lap, lape, lape-original"):
        parse_study('[identify]\nselectors = ["casual", "cas"]')


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_study_file_with_a_mark_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "study.toml"
    file.write_bytes("name = 'größe'\r\n[[corpora]]\r\nid = 'polish'\r\n".encode(encoding))
    assert read_study(file).name == "größe"
    file.write_bytes("name = 'größe'".encode("cp1252"))
    with pytest.raises(StudyError, match="save it as UTF-8"):
        read_study(file)


@pytest.mark.parametrize("root", ["C:\\Users\\me", "D:\\new\\test", "\\\\server\\share"])
def test_a_windows_path_in_double_quotes_gets_the_sentence_that_helps(root: str) -> None:
    with pytest.raises(StudyError, match="write a path of Windows in single quotes, or with /"):
        parse_study(f'[[corpora]]\nid = "folder"\nroot = "{root}"')
    assert parse_study(f"[[corpora]]\nid = 'folder'\nroot = '{root}'").corpus.root == root


def test_a_backslash_in_another_line_is_not_blamed() -> None:
    with pytest.raises(StudyError, match=r"at line 2, column 8\)\)$"):
        parse_study('# "such as \\d"\nseed = = 1\n')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5_000, "not valid TOML"),
        ("a = " + "{a=" * 5_000, "not valid TOML"),
        ("seed = " + "9" * 10_000, "not valid TOML"),
        ("a." * 100_000 + "a = 1", "is no study file"),
        ("[" + "'a' . " * 100_000 + "a]", "is no study file"),
        ("# " + "9" * 2_000_000, "is no study file"),
        ("# " + "9" * 900_000 + "\nname = 3", "name"),
    ],
)
def test_what_would_keep_the_parser_is_refused(text: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        parse_study(text)


ROOT = Path(__file__).parents[2]
PAPER = sorted((ROOT / "src" / "emoscope" / "data" / "paper").glob("*.toml"))
FILES = [*PAPER, *sorted((ROOT / "studies").rglob("*.toml"))]
ROOTS = {"iemocap": "$IEMOCAP", "meld": "$MELD", "msp-podcast": "$MSP_PODCAST"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_file_can_be_run(path: Path) -> None:
    study = read_study(path)
    for corpus in study.corpora:
        check_corpus_id(corpus.id)
        assert corpus.id == "polish" or corpus.root.startswith("$"), "a root is a folder of whoever runs it"
    if study.model.id != "tiny":
        assert study.model.side == releasing(study.model.id).side_checkpoints


def test_the_paper_is_nine_studies_and_one_of_all_corpora_for_each_model() -> None:
    studies = [read_study(path) for path in PAPER]
    pairs = {(study.model.id, study.corpus.id) for study in studies if not has_parts(study)}
    models = {model for model, _ in pairs}
    assert models == {"Qwen/Qwen2.5-Omni-7B", "moonshotai/Kimi-Audio-7B-Instruct", "nvidia/audio-flamingo-3-hf"}
    assert pairs == {(model, corpus) for model in models for corpus in ROOTS}
    assert {study.model.id for study in studies if has_parts(study)} == models
    assert len({study.name for study in studies}) == len(studies) == 12
    for study in studies:
        assert {corpus.id: corpus.root for corpus in study.corpora}.items() <= ROOTS.items()
        assert {corpus.loudness for corpus in study.corpora} == {"as recorded"}
        assert (study.headline.budget, study.headline.alpha) == (0.005, 0.5)
        assert (study.identify.items_per_emotion, study.evaluate.items_per_emotion) == (100, 150)
        assert study.identify.scope == "audio+answer"


def test_the_readme_names_every_file() -> None:
    text = (ROOT / "studies" / "paper" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in PAPER)


USUAL_TASKS = {info.id: info.usual for info in list_corpora() if info.usual}


@pytest.mark.parametrize("corpus", USUAL_TASKS)
def test_a_new_study_of_a_known_corpus_asks_its_usual_task(corpus: str) -> None:
    text, task = usual_study("mine", corpus, "$ROOT"), USUAL_TASKS[corpus]
    study = parse_study(text)
    assert study.corpus.emotions == task.emotions
    assert study.corpus.merge == task.merge
    assert study.identify.folds == task.folds
    assert f"# The usual task of {corpus}: {task.about}." in text.splitlines()
    assert (study.name, study.corpus.root) == ("mine", "$ROOT")


def test_a_new_study_of_a_folder_or_table_names_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,emotion\n")
    for place, kind in ((tmp_path, "folder"), (tmp_path / "t.csv", "table")):
        found = parse_study(usual_study("s", str(place))).corpus
        assert (found.id, found.root) == (kind, str(place))


def test_a_new_study_takes_an_id_for_the_corpus_and_not_for_a_folder_beside_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ravdess").mkdir()
    monkeypatch.chdir(tmp_path)
    # as the check and the study itself do
    assert parse_study(usual_study("s", "ravdess")).corpus.id == "ravdess"


def test_a_study_of_the_paper_is_written_as_it_is() -> None:
    assert paper_study("qwen-iemocap") == (PAPER[0].parent / "qwen-iemocap.toml").read_text(encoding="utf-8")
    with pytest.raises(StudyError, match=r"did you mean 'qwen-iemocap'.*flamingo-meld.*qwen-transfer"):
        paper_study("quen-iemocap")
