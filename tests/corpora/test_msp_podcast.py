from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus
from emoscope.emotions import CORPORA

HEAD = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
ROWS = [
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1",
    "MSP-PODCAST_0001_0019.wav,A,5.8,1.8,6.0,30,Male,Test1",
    "MSP-PODCAST_0002_0033.wav,S,1.6,2.0,2.2,101,Female,{dev}",
    "MSP-PODCAST_0002_0039.wav,H,5.2,6.2,4.8,Unknown,Unknown,Train",
    "MSP-PODCAST_0003_0040.wav,U,4.4,4.6,4.2,7,Female,Train",
    "MSP-PODCAST_0003_0041.wav,F,4.0,2.6,2.8,7,Female,Train",
    "MSP-PODCAST_0003_0042.wav,D,4.2,2.2,4.4,7,Female,Test2",
    "MSP-PODCAST_0003_0043.wav,C,3.8,2.4,4.6,Unknown,Female,Train",
    "MSP-PODCAST_0003_0044.wav,O,3.0,3.0,3.0,7,Female,Train",
    "MSP-PODCAST_0003_0045.wav,X,3.4,3.6,3.4,7,Female,Train",
]
DETAIL = {
    "text": "FileName,EmoDetail\n"
    'MSP-PODCAST_0001_0008.wav,"WORKER00000001; Neutral; Neutral,Concerned; A:2.000000; V:4.000000; D:3.000000;"\n'
    'MSP-PODCAST_0001_0008.wav,"WORKER00000002; Happy; Happy; A:3.000000; V:5.000000; D:3.000000;"\n'
    'MSP-PODCAST_0001_0008.wav,"WORKER00000003; Neutral; ; A:2.000000; V:4.000000; D:2.000000;"\n'
    'MSP-PODCAST_0001_0008.wav,"WORKER00000004; Other-bored; Other; A:2.000000; V:4.000000; D:2.000000;"\n'
    'MSP-PODCAST_0003_0045.wav,"WORKER00000001; Angry; Angry; A:2.000000; V:4.000000; D:2.000000;"\n',
    "columns": "FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom,Gender,SpkrID,Split_Set\n"
    'MSP-PODCAST_0001_0008.wav,WORKER00000001,Neutral,"Neutral,Concerned",2,4,3,Male,30,Test1\n'
    "MSP-PODCAST_0001_0008.wav,WORKER00000002,Happy,Happy,3,5,3,Male,30,Test1\n"
    "MSP-PODCAST_0001_0008.wav,WORKER00000003,Neutral,,2,4,2,Male,30,Test1\n"
    "MSP-PODCAST_0001_0008.wav,WORKER00000004,Other-bored,Other,2,4,2,Male,30,Test1\n"
    "MSP-PODCAST_0003_0045.wav,WORKER00000001,Angry,Angry,2,4,2,Female,7,Train\n",
}


def release(
    root: Path, sound, labels: str = "Labels/labels_consensus.csv", audio: str = "Audios", dev: str = "Development"
) -> Path:
    table = root / labels
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(HEAD + "\n".join(ROWS).format(dev=dev) + "\n")
    for row in ROWS:
        # one file of release 1.8 is stereo at 44.1 kHz
        odd = "0002_0039" in row
        sound(root / audio / row.split(",")[0], rate=44_100 if odd else 16_000, channels=2 if odd else 1)
    return root


@pytest.mark.parametrize(
    ("labels", "audio", "dev"),
    [
        ("Labels/labels_consensus.csv", "Audios", "Development"),
        ("label/labels_concensus.csv", "Audio", "Validation"),
        ("labels/labels_concensus.csv", "Audios/Audios", "Validation"),
    ],
)
def test_every_release_is_read(tmp_path: Path, sound, labels: str, audio: str, dev: str) -> None:
    root = release(tmp_path / "msp", sound, labels, audio, dev)
    for folder in (root, tmp_path):
        corpus = open_corpus("msp-podcast", folder)
        assert corpus.counts() == {
            "anger": 1, "disgust": 1, "fear": 1, "happiness": 1, "neutral": 1, "sadness": 1, "surprise": 1,
            "contempt": 1,
        }  # fmt: skip
        assert corpus.counts("split") == {"development": 1, "test1": 2, "test2": 1, "train": 4}


def test_columns_of_a_clip(tmp_path: Path, sound) -> None:
    corpus = open_corpus("msp-podcast", release(tmp_path, sound))
    clips = {clip.id: clip for clip in corpus}
    first = clips["MSP-PODCAST_0001_0008"]
    assert (first.speaker, first.session, first.block, first.split) == ("30", "0001", "0001", "test1")
    assert first.labels == {
        "emotion": "neutral", "code": "N", "gender": "male", "activation": "2.2", "valence": "4.0",
        "dominance": "2.6", "activation_third": "low", "valence_third": "high", "dominance_third": "low",
    }  # fmt: skip
    unknown = clips["MSP-PODCAST_0002_0039"]
    assert unknown.speaker is None
    assert "gender" not in unknown.labels
    assert clips["MSP-PODCAST_0003_0043"].labels["gender"] == "female"
    assert corpus.counts("speaker") == {"7": 3, "30": 2, "101": 1, "unknown": 2}
    assert corpus.where({"speaker": "0-99999"}).counts("speaker") == {"7": 3, "30": 2, "101": 1}


def test_dropped_classes_and_files_are_counted(tmp_path: Path, sound) -> None:
    root = release(tmp_path, sound)
    sound(root / "Audios/MSP-PODCAST_0009_0001.wav")
    sound(root / "Audios/MSP-PODCAST_test3_0001.wav")
    sound(root / "Audios/more/MSP-PODCAST_0001_0008.wav")
    (root / "Audios/._MSP-PODCAST_0001_0008.wav").write_bytes(b"\0\5\x16\7")
    (root / "Audios/MSP-PODCAST_0003_0040.wav").unlink()
    with (root / "Labels/labels_consensus.csv").open("a") as file:
        file.write("MSP-PODCAST_0001_0008.wav,A,1,1,1,30,Male,Test1\nMSP-PODCAST_0009_0002.wav,,,,,,,Test3\n")
        file.write(
            "MSP-PODCAST_0009_0003.wav,Z,1,1,1,30,Male,Train\nMSP-PODCAST_0009_0004.wav,N,1\n,N,1,1,1,1,Male,Train\n"
        )
    facts = open_corpus("msp-podcast", root).summary()
    assert facts["reasons"] == {
        "excluded": {
            "no agreement among the raters (X)": 1,
            "labelled other (O)": 1,
            "second copy": 1,
            "second label of this clip": 1,
            "the release withholds the labels of Test3": 2,
            "code 'Z' is not known": 1,
            "row has 3 cells where the header has 8": 1,
            "row names no file": 1,
            "its speaker is not given": 2,
            "no row in labels_consensus.csv (labels of Test3 are withheld)": 1,
        },
        "quarantined": {"file not found": 1},
    }
    assert facts["used"] == 5  # two speakers are Unknown
    assert facts["clips"] == facts["used"] + facts["excluded"] + facts["quarantined"] == 18
    assert facts["channels"] == {"1": 5}


def test_all_codes_can_be_kept(tmp_path: Path, sound) -> None:
    corpus = open_corpus("msp-podcast", release(tmp_path, sound), all_codes=True)
    assert Counter(corpus.counts()) == Counter(
        ["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "other", "unknown"]
    )


@pytest.mark.parametrize("layout", list(DETAIL))
def test_soft_labels_are_shares_of_the_raters(tmp_path: Path, sound, layout: str) -> None:
    root = release(tmp_path, sound)
    (root / "Labels/labels_detailed.csv").write_text(DETAIL[layout])
    corpus = open_corpus("msp-podcast", root)
    soft = {name: text for name, text in corpus.clips[0].labels.items() if name.startswith(("share", "rater", "agree"))}
    assert soft == {
        "raters": "4", "agreement": "0.500", "share_anger": "0.000", "share_sadness": "0.000",
        "share_happiness": "0.250", "share_surprise": "0.000", "share_fear": "0.000", "share_disgust": "0.000",
        "share_contempt": "0.000", "share_neutral": "0.500", "share_other": "0.250",
    }  # fmt: skip
    assert "raters" not in corpus.clips[1].labels
    undecided = next(lost.clip for lost in corpus.lost if lost.id.endswith("0045"))
    assert undecided is not None
    assert undecided.labels["share_anger"] == "1.000"
    assert "agreement" not in undecided.labels


def test_counts_are_compared_with_the_release_that_the_folder_names(tmp_path: Path, sound) -> None:
    root = release(tmp_path / "MSP-PODCAST-Publish-1.11", sound)
    for folder in (root, tmp_path):
        assert ["split=test1", 30_647, 2] in open_corpus("msp-podcast", folder).summary()["differences"]
    assert open_corpus("msp-podcast", root, release="1.8").info.expected["split=train"] == 44_879
    assert not open_corpus("msp-podcast", release(tmp_path / "msp", sound)).info.expected
    with pytest.raises(ValueError, match=r"release '3.0' of MSP-Podcast: counts are known of 1.8, 1.10, 1.11"):
        open_corpus("msp-podcast", root, release="3.0")
    assert [sum(splits.values()) for splits in CORPORA["msp-podcast"]["releases"].values()] == [
        73_042,
        104_267,
        149_307,
    ]


def test_a_folder_that_is_not_msp_podcast_is_an_error(tmp_path: Path, sound) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no Labels/labels_consensus.csv \(in older releases labels_concens"
    ):
        open_corpus("msp-podcast", tmp_path)
    root = release(tmp_path / "a", sound, audio="elsewhere")
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder Audios or Audio beside .*: give it with audio_root"
    ):
        open_corpus("msp-podcast", root)
    assert len(open_corpus("msp-podcast", root, audio_root=root / "elsewhere")) == 8
    (root / "Labels/labels_detailed.csv").write_text("FileName,Mood\na.wav,b\n")
    with pytest.raises(ValueError, match="has no column 'EmoDetail': its columns are FileName, Mood"):
        open_corpus("msp-podcast", root, audio_root=root / "elsewhere")
