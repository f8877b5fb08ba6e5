from __future__ import annotations

from itertools import chain, cycle, islice, repeat
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus

HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
RATERS = (
    "C-E2:\tNeutral;\t()\nC-E3:\tAnger; Frustration;\t()\nC-F1:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
)

TURNS = {
    "Session1/Ses01F_impro01": [
        ("Ses01F_impro01_F000", "neu", "2.5000, 2.5000, 2.5000"),
        ("Ses01F_impro01_M000", "ang", "1.5000, 4.0000, 4.5000"),
        ("Ses01F_impro01_M001", "xxx", "2.5000, 3.0000, 3.0000"),
        ("Ses01F_impro01_FXX0", "exc", "4.0000, 3.5000, 3.0000"),
    ],
    "Session1/Ses01M_script01_1b": [
        ("Ses01M_script01_1b_F003", "hap", "4.0000, 3.0000, 3.0000"),
        ("Ses01M_script01_1b_M010", "oth", "2.0000, 3.0000, 3.0000"),
    ],
    "Session5/Ses05F_impro04": [
        ("Ses05F_impro04_M012", "sad", "2.0000, 2.0000, 2.0000"),
        ("Ses05F_impro04_F001", "fru", "2.0000, 3.5000, 3.0000"),
    ],
}


@pytest.fixture
def iemocap(tmp_path: Path, sound) -> Path:
    root = tmp_path / "IEMOCAP_full_release"
    for dialog, turns in TURNS.items():
        session, name = dialog.split("/")
        labels = root / session / "dialog" / "EmoEvaluation"
        labels.mkdir(parents=True, exist_ok=True)
        blocks = [f"[6.2901 - 8.2357]\t{turn}\t{code}\t[{vad}]\n{RATERS}" for turn, code, vad in turns]
        (labels / f"{name}.txt").write_text(HEAD + "".join(blocks))
        for folder in ("Categorical", "Attribute", "Self-evaluation"):
            (labels / folder).mkdir(exist_ok=True)
            (labels / folder / f"{name}_e1_cat.txt").write_text(
                f"{turns[0][0]} :Anger; ()\n[1 - 2]\tSes01F_q_F000\tang\t[]\n"
            )
        (labels / f"._{name}.txt").write_bytes(b"\0\5\x16\7")
        spoken = root / session / "dialog" / "transcriptions"
        spoken.mkdir(exist_ok=True)
        lines = [f"{turn} [006.2901-008.2357]: Excuse me, caf\xe9." for turn, _, _ in turns]
        (spoken / f"{name}.txt").write_bytes("\n".join(lines).encode("latin-1"))
        for turn, _, _ in turns:
            sound(root / session / "sentences" / "wav" / name / f"{turn}.wav")
        (root / session / "sentences" / "wav" / name / f"._{turns[0][0]}.wav").write_bytes(b"\0")
    return root


def test_turns_become_clips(iemocap: Path) -> None:
    corpus = open_corpus("iemocap", iemocap)
    assert {clip.id: (clip.speaker, clip.session, clip.labels["emotion"]) for clip in corpus} == {
        "Ses01F_impro01_F000": ("Ses01F", "Session1", "neutral"),
        "Ses01F_impro01_M000": ("Ses01M", "Session1", "anger"),
        "Ses01F_impro01_FXX0": ("Ses01F", "Session1", "excitement"),
        "Ses01M_script01_1b_F003": ("Ses01F", "Session1", "happiness"),
        "Ses05F_impro04_M012": ("Ses05M", "Session5", "sadness"),
        "Ses05F_impro04_F001": ("Ses05F", "Session5", "frustration"),
    }
    assert {clip.block for clip in corpus} == {"Ses01F_impro01", "Ses01M_script01_1b", "Ses05F_impro04"}  # dialogues
    clip = next(clip for clip in corpus if clip.id == "Ses01F_impro01_M000")
    assert clip.block == "Ses01F_impro01"
    assert clip.transcript == "Excuse me, café."
    assert clip.path.is_file()
    assert clip.labels == {
        "emotion": "anger", "code": "ang", "scene": "improvised", "gender": "male",
        "valence": "1.5000", "activation": "4.0000", "dominance": "4.5000",
        "valence_third": "low", "activation_third": "high", "dominance_third": "high",
    }  # fmt: skip
    assert corpus.counts("scene") == {"improvised": 5, "scripted": 1}


def test_what_is_left_out_is_counted(iemocap: Path) -> None:
    (iemocap / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    corpus = open_corpus("iemocap", iemocap)
    statuses = {lost.id: (lost.status, lost.why) for lost in corpus.lost}
    assert statuses == {
        "Ses01F_impro01_F000": ("quarantined", "file not found"),
        "Ses01F_impro01_M001": ("excluded", "no majority among the raters (xxx)"),
        "Ses01M_script01_1b_M010": ("excluded", "labelled other (oth)"),
    }
    assert corpus.told == ("3 files are ._ files that macOS left beside the recordings, not counted as clips",)


def test_the_four_classes_of_the_literature(iemocap: Path) -> None:
    corpus = open_corpus("iemocap", iemocap).merged({"happiness": ["happiness", "excitement"]})
    four = corpus.keep(["anger", "happiness", "neutral", "sadness"])
    assert four.counts() == {"anger": 1, "happiness": 2, "neutral": 1, "sadness": 1}
    assert four.where({"session": "Session1"}).counts("speaker") == {"Ses01F": 3, "Ses01M": 1}


def test_oddities_are_accounted_for(iemocap: Path, sound) -> None:
    extra = iemocap / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F099.wav"
    sound(extra)
    labels = iemocap / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    labels.write_text(
        labels.read_text()
        + "[1.0 - 2.0]\tSes01F_impro01_F000\tang\t[1, 1, 1]\n"  # labelled twice
        + "[1.0 - 2.0]\tgarbage\n"
        + "[1.0 - 2.0]\tSes01F_impro01_Z000\tang\t[1, 1, 1]\n"
        + "[1.0 - 2.0]\tSes01F_impro01_F098\tzzz\t[1, 1, 1]\n"
    )
    corpus = open_corpus("iemocap", iemocap)
    assert len(corpus) == 6
    whys = [lost.why for lost in corpus.lost]
    assert whys.count("line is not a labelled turn") == 2
    for why in ("second label of this clip", "code 'zzz' is not known", "no label in dialog/EmoEvaluation"):
        assert whys.count(why) == 1


def test_the_folder_above_does_too(iemocap: Path) -> None:
    assert len(open_corpus("iemocap", iemocap.parent)) == 6


def test_a_folder_without_labels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no Session\*/dialog/EmoEvaluation: give the folder IEMOCAP_full_release"
    ):
        open_corpus("iemocap", tmp_path)
    (tmp_path / "Session1/dialog/EmoEvaluation").mkdir(parents=True)
    with pytest.raises(ValueError, match="no labelled turn was found"):
        open_corpus("iemocap", tmp_path)


def test_transcripts_may_be_missing(iemocap: Path) -> None:
    (iemocap / "Session5/dialog/transcriptions/Ses05F_impro04.txt").unlink()
    corpus = open_corpus("iemocap", iemocap)
    assert {clip.transcript for clip in corpus if clip.session == "Session5"} == {None}


def test_all_codes_can_be_kept(iemocap: Path) -> None:
    corpus = open_corpus("iemocap", iemocap, all_codes=True)
    assert corpus.counts("code") == {"ang": 1, "exc": 1, "fru": 1, "hap": 1, "neu": 1, "oth": 1, "sad": 1, "xxx": 1}
    assert corpus.counts()["other"] == corpus.counts()["unknown"] == 1
    assert corpus.counts("activation_third") == {"high": 3, "low": 2, "mid": 3}


COUNTS = {
    "neu": 1708, "ang": 1103, "sad": 1084, "exc": 1041, "hap": 595,
    "fru": 1849, "sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507,
}  # fmt: skip
STANDARD = ("neu", "ang", "sad", "exc", "hap")
PER_SESSION = (1085, 1023, 1151, 1031, 1241)
"""Turns of the four classes in each session."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with as many turns of every code, dialogs and speakers as the release holds."""
    root = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    one = root.parent / "one.wav"
    sound_of(one)
    data = one.read_bytes()
    standard = chain.from_iterable(repeat(code, COUNTS[code]) for code in STANDARD)
    rest = [code for code, count in COUNTS.items() if code not in STANDARD for _ in range(count)]
    dialogs = iter(range(151))
    for number, size in enumerate(PER_SESSION, start=1):
        codes = [*islice(standard, size), *rest[number - 1 :: 5]]
        names = [f"Ses0{number}{'FM'[k % 2]}_impro{k:02d}" for k in islice(dialogs, 31 if number == 5 else 30)]
        labels = root / f"Session{number}" / "dialog" / "EmoEvaluation"
        labels.mkdir(parents=True)
        blocks: dict[str, list[str]] = {name: [HEAD] for name in names}
        for turn, (code, name) in enumerate(zip(codes, cycle(names), strict=False)):
            clip = f"{name}_{'MF'[turn // len(names) % 2]}{turn // len(names):03d}"
            folder = root / f"Session{number}" / "sentences" / "wav" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{clip}.wav").write_bytes(data)
            vad = f"{1 + turn % 9 / 2:.4f}, {1 + turn % 7 / 2:.4f}, 3.0000"
            blocks[name].append(f"[1.0000 - 2.0000]\t{clip}\t{code}\t[{vad}]\n{RATERS}")
        for name, lines in blocks.items():
            (labels / f"{name}.txt").write_text("".join(lines))
    return root


def sound_of(path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(path, 0.1 * np.sin(np.arange(1700)), 16_000)


@pytest.mark.long
def test_the_official_counts_give_5531_turns_of_four_classes(whole: Path) -> None:
    corpus = open_corpus("iemocap", whole)
    assert len(corpus) + len(corpus.lost) == sum(COUNTS.values()) == 10_039
    four = corpus.merged({"happiness": ["hap", "exc"]}).keep(["ang", "hap", "neu", "sad"])
    assert len(four) == 5_531
    assert four.counts() == {"anger": 1103, "happiness": 1636, "neutral": 1708, "sadness": 1084}
    assert tuple(four.counts("session").values()) == PER_SESSION
    assert len(four.counts("speaker")) == 10
    assert len(list(whole.glob("Session*/dialog/EmoEvaluation/*.txt"))) == 151
    facts = corpus.summary()
    assert facts["differences"] == []
    assert facts["clips"] == facts["used"] + facts["excluded"] + facts["quarantined"]


def test_a_study_names_the_four_classes_in_two_lines(whole: Path) -> None:
    from emoscope.experiments.items import study_corpus, study_options
    from emoscope.experiments.study import parse_study

    study = parse_study(
        f"""
        [[corpora]]
        id = "iemocap"
        root = "{whole}"
        merge = {{ happiness = ["hap", "exc"] }}
        emotions = ["anger", "happiness", "neutral", "sadness"]
        """
    )
    corpus = study_corpus(study)
    assert len(corpus) == 5_531
    assert study_options(study, corpus) == ("anger", "happiness", "neutral", "sadness")


def test_a_study_may_ask_about_thirds_of_arousal(whole: Path) -> None:
    from emoscope.experiments.items import study_corpus, study_options
    from emoscope.experiments.study import parse_study

    study = parse_study(
        f"""
        [[corpora]]
        id = "iemocap"
        root = "{whole}"
        options = {{ all_codes = true }}
        [identify]
        label = "activation_third"
        """
    )
    corpus = study_corpus(study)
    assert len(corpus) == 10_039
    assert study_options(study, corpus) == ("high", "low", "mid")
