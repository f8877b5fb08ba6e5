from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emoscope.corpora import UnknownCorpus, list_corpora, open_corpus


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
