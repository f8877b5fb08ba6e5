from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emoscope.corpora import UnknownCorpus, list_corpora, open_corpus, polish_folder
from emoscope.corpora.registry import check_corpus_id, register


def test_an_unknown_id_names_the_nearest_and_the_known() -> None:
    with pytest.raises(
        UnknownCorpus, match=r"corpus 'ravdes' is not known: did you mean 'ravdess'\? known are polish, rav"
    ):
        open_corpus("ravdes")


def test_ids_are_read_in_any_case() -> None:
    assert open_corpus("POLISH").info.id == "polish"


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corpus 'iemocap' is not part of the package: give its folder with root="):
        open_corpus("iemocap")
    with pytest.raises(
        FileNotFoundError, match=r"folder .*nowhere does not exist \(.* does\): give the folder that holds"
    ):
        open_corpus("ravdess", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file: the root of corpus 'ravdess' must be a folder"):
        open_corpus("ravdess", tmp_path / "file")


def test_a_path_opens_as_folder_or_table(tmp_path: Path, sound) -> None:
    sound(tmp_path / "angry" / "1.wav")
    assert open_corpus(tmp_path).counts() == {"anger": 1}
    assert open_corpus(str(tmp_path)).counts() == {"anger": 1}
    (tmp_path / "t.csv").write_text("path,emotion\nangry/1.wav,sad\n")
    assert open_corpus(tmp_path / "t.csv").counts() == {"sadness": 1}
    assert open_corpus("table", root=tmp_path / "t.csv").counts() == {"sadness": 1}


def test_a_missing_path_is_not_called_an_unknown_corpus(tmp_path: Path) -> None:
    for path in (tmp_path / "no", str(tmp_path / "no"), "clips.csv"):
        with pytest.raises(FileNotFoundError, match="does not exist: give a folder, a table"):
            open_corpus(path)


def test_an_unknown_option_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpus 'folder' has no option 'patern': it takes pattern, labels"):
        open_corpus("folder", tmp_path, patern="{emotion}/{}")
    with pytest.raises(ValueError, match="corpus 'polish' has no option 'columns': it takes none"):
        open_corpus("polish", columns={})


def test_the_list_says_what_is_known() -> None:
    infos = {info.id: info for info in list_corpora()}
    assert infos["polish"].may_embed_audio
    assert not infos["iemocap"].may_embed_audio
    assert not infos["ravdess"].may_embed_audio
    assert all(info.title for info in infos.values())
    own = {"folder", "table", "emobox", "datasets", "audformat"}
    assert own <= set(infos)
    assert all(info.licence and info.citation and info.language for name, info in infos.items() if name not in own)
    assert not any(infos[name].may_embed_audio for name in own)


def test_opening_imports_nothing_heavy() -> None:
    code = (
        "import sys; from emoscope.corpora import open_corpus, list_corpora; open_corpus('polish'); list_corpora();"
        "print([m for m in ('torch', 'transformers', 'polars', 'xarray', 'altair', 'scipy', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package, as an installer leaves it: a module and the metadata that names its corpora."""
    (tmp_path / "voices_corpora.py").write_text(
        "from emoscope.corpora import CorpusInfo, open_corpus\nfrom emoscope.corpora.named import Grammar\n\n"
        "def few(root, take=1):\n    return open_corpus('polish', root).where({'take': take})\n\n"
        "names = Grammar(CorpusInfo('names', 'Names'), 'm1.a_nie_2', r'(?P<speaker>m\\d)\\.(?P<emotion>[an])_\\w+',"
        " {'emotion': {'a': 'anger', 'n': 'neutral'}})\nnumber = 3\n"
    )
    info = tmp_path / "voices_corpora-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: voices-corpora\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[emoscope.corpora]\nfew = voices_corpora:few\nnames = voices_corpora:names\nbroken = voices_corpora:number\n"
        "polish = voices_corpora:names\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("emoscope.corpora.registry._OWN", {})


@pytest.mark.usefixtures("package")
def test_a_package_brings_corpora() -> None:
    assert len(open_corpus("few", polish_folder(), take=[1, 2])) == 180
    assert open_corpus("Names", polish_folder()).counts() == {"anger": 150, "neutral": 150}
    titles = {info.id: info.title for info in list_corpora()}
    assert titles["names"] == titles["broken"] == "a corpus of voices_corpora"
    check_corpus_id("few")
    with pytest.raises(ValueError, match="corpus 'few' has no option 'takes': it takes take"):
        open_corpus("few", polish_folder(), takes=1)
    with pytest.raises(ValueError, match="corpus 'broken' is 3: expected a Grammar or a function"):
        open_corpus("broken")
    with pytest.raises(UnknownCorpus, match="did you mean 'names'"):
        open_corpus("name")


@pytest.mark.usefixtures("package")
def test_no_package_takes_the_place_of_a_known_corpus() -> None:
    assert open_corpus("polish").counts("take") == dict.fromkeys("12345", 90)


def test_a_program_registers_corpora(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoscope.corpora.registry._OWN", {})
    register("mine", lambda root=None: open_corpus("polish", root).where({"take": 1}))
    assert len(open_corpus("mine")) == 90
    register("mine", lambda root=None: open_corpus("polish", root).where({"take": [1, 2]}))
    assert len(open_corpus("mine")) == 180
    for name, why in (
        ("polish", "is emoscope's own: choose another id"),
        ("My corpus", "an id is made of small letters"),
    ):
        with pytest.raises(ValueError, match=why):
            register(name, open_corpus)
