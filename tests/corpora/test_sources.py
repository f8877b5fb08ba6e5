from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from emoscope.corpora import AudioError, load_audio
from emoscope.corpora.audio import hear
from emoscope.corpora.frames import _crc8, _crc16, walk
from emoscope.corpora.sources import blocks as sound_blocks

RATE = 16_000


def voice(seconds: float = 1.5, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    # a glide, so that every part of it is known from every other
    return (0.2 * np.sin(2 * np.pi * (200 + 300 * time / seconds) * time)).astype(np.float32)


def written(samples: np.ndarray, rate: int = RATE, **kind: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()


def varied(samples: np.ndarray, rate: int = RATE, mode: str = "VARIABLE") -> bytes:
    return written(samples, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5, bitrate_mode=mode)


def without_info(mp3: bytes) -> bytes:
    """The file as programs that do not go back to its beginning write it: without the frame that states its length."""
    frames = walk(mp3)
    assert frames is not None
    return mp3[frames.start :]


def tag(size: int = 3000) -> bytes:
    return b"ID3\x03\0\0" + bytes([0, 0, size >> 7, size & 127]) + b"\xff\xfb\x90\0" * (size // 4)


def loud_then_quiet(seconds: float, rate: int = RATE) -> np.ndarray:
    # the first frames, from which a length is guessed, take more bytes than the others
    sound = 0.01 * voice(seconds, rate)
    sound[: len(sound) // 4] += np.random.default_rng(0).normal(0, 0.2, len(sound) // 4).astype(np.float32)
    return sound


@pytest.mark.parametrize("name", ["a.raw", "A.RAW"])
def test_samples_without_a_header_are_named_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(voice().tobytes())
    with pytest.raises(AudioError, match="samples without a header, so that their rate is not known"):
        load_audio(tmp_path / name)


def flac(samples: np.ndarray, stated: int | None = None) -> bytes:
    """A FLAC file; its header may state another number of samples (36 bits; a program that cannot go back leaves 0)."""
    whole = written(samples, format="FLAC", subtype="PCM_24")
    if stated is None:
        return whole
    return whole[:21] + bytes([whole[21] & 0xF0]) + stated.to_bytes(4, "big") + whole[26:]


@pytest.mark.parametrize("before", [b"", tag()], ids=["plain", "with a tag"])
@pytest.mark.parametrize("stated", [0, 1, RATE, 20 * RATE - 1])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_whose_header_states_nothing_or_too_little_is_heard_whole(tmp_path, channels, stated, before):
    sound = np.stack([voice(20), 0.5 * voice(20)][:channels], axis=1)
    (tmp_path / "whole.flac").write_bytes(flac(sound))
    (tmp_path / "wrong.flac").write_bytes(before + flac(sound, stated))
    np.testing.assert_array_equal(load_audio(tmp_path / "wrong.flac"), load_audio(tmp_path / "whole.flac"))


def raw_samples(path: Path) -> np.ndarray:
    return np.concatenate([samples[:, 0] for samples, _, _ in sound_blocks(path)])


def copied(whole: bytes, begin: float, end: float) -> bytes:
    """The frames of a FLAC file between two times, as programs copy them without decoding: with their numbers."""
    out = io.BytesIO()
    with av.open(io.BytesIO(whole)) as source, av.open(out, "w", format="flac") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None and begin <= packet.pts * packet.time_base < end:
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize(("begin", "end"), [(5, 9), (19, 99)])
def test_a_part_of_flac_that_was_copied_is_as_long_as_its_frames(tmp_path, begin, end):
    part = copied(flac(voice(20), 0), begin, end)
    (tmp_path / "part.flac").write_bytes(part)
    with av.open(io.BytesIO(part)) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert hear(tmp_path / "part.flac").duration_s == len(heard) / RATE
    np.testing.assert_array_equal(raw_samples(tmp_path / "part.flac"), heard.astype(np.float32) / 2**31)


def test_a_part_of_flac_with_the_header_of_the_whole_is_cut_off(tmp_path):
    (tmp_path / "part.flac").write_bytes(copied(flac(voice(20)), 15, 99))
    # the first frame behind 15 s begins at 15.104 s
    with pytest.raises(AudioError, match=r"its header promises 20.00 s, it holds 4.90 s"):
        load_audio(tmp_path / "part.flac")


def renumbered(whole: bytes) -> bytes:
    """A FLAC file of two frames as encoders of before 2007 wrote blocks of several lengths: numbered by samples."""
    second = whole.find(b"\xff\xf8", whole.find(b"\xff\xf8", 42) + 2)
    assert whole[second + 4] == 1
    # the number 4096 takes three bytes; header and frame end with their checksums
    head = whole[second : second + 4] + b"\xe1\x80\x80"
    size = 5 + {6: 1, 7: 2}.get(whole[second + 2] >> 4, 0)
    head += whole[second + 5 : second + size]
    frame = head + bytes([_crc8(head)]) + whole[second + size + 1 : -2]
    lengths = struct.pack(">HH", 16, 4096)
    return whole[:8] + lengths + whole[12:second] + frame + _crc16(frame).to_bytes(2, "big")


def test_old_flac_whose_frames_are_numbered_by_samples_is_heard_whole(tmp_path):
    whole = flac(voice(0.4))
    (tmp_path / "whole.flac").write_bytes(whole)
    (tmp_path / "old.flac").write_bytes(renumbered(whole))
    np.testing.assert_array_equal(load_audio(tmp_path / "old.flac"), load_audio(tmp_path / "whole.flac"))


def alone(whole: bytes) -> bytes:
    """A FLAC file without the blocks that may follow the one that describes its sound."""
    at = 42
    while not whole[at] & 128:
        at += 4 + int.from_bytes(whole[at + 1 : at + 4], "big")
    at += 4 + int.from_bytes(whole[at + 1 : at + 4], "big")
    return whole[:4] + b"\x80" + whole[5:42] + whole[at:]


@pytest.mark.parametrize("stated", [0, RATE])
def test_flac_without_tags_is_heard_whole(tmp_path, stated):
    (tmp_path / "whole.flac").write_bytes(flac(voice(3)))
    (tmp_path / "alone.flac").write_bytes(alone(flac(voice(3), stated)))
    np.testing.assert_array_equal(load_audio(tmp_path / "alone.flac"), load_audio(tmp_path / "whole.flac"))
    (tmp_path / "two.flac").write_bytes(flac(voice(3)) + alone(flac(voice(2))))
    with pytest.raises(AudioError, match=r"promises 3\.00 s, and another FLAC file follows"):
        load_audio(tmp_path / "two.flac")


@pytest.mark.parametrize("blocks", [(16, 65_535), (4096, 65_535)])
def test_flac_whose_header_states_other_blocks_than_its_frames_have_is_heard_whole(tmp_path, blocks):
    whole = flac(voice(3))
    (tmp_path / "whole.flac").write_bytes(whole)
    (tmp_path / "blocks.flac").write_bytes(whole[:8] + struct.pack(">HH", *blocks) + whole[12:])
    np.testing.assert_array_equal(load_audio(tmp_path / "blocks.flac"), load_audio(tmp_path / "whole.flac"))


@pytest.mark.parametrize("behind", [
    b"TAG".ljust(128, b" "), b"APETAGEX" + b"x" * 9_000, bytes(5_000), b"\n", b"\r\n", b"LYRICSBEGIN" + b"x" * 500,
])  # fmt: skip
def test_what_programs_write_behind_flac_is_no_sound(tmp_path, behind):
    (tmp_path / "whole.flac").write_bytes(flac(voice(3)))
    (tmp_path / "more.flac").write_bytes(flac(voice(3), 0) + behind)
    np.testing.assert_array_equal(load_audio(tmp_path / "more.flac"), load_audio(tmp_path / "whole.flac"))


@pytest.mark.parametrize("stated", [0, 1, RATE, 3 * RATE])
def test_flac_that_is_cut_off_is_refused_whatever_its_header_states(tmp_path, stated):
    sound = voice(3) + np.random.default_rng(0).normal(0, 0.05, 3 * RATE).astype(np.float32)
    content = flac(sound, stated)
    for kept in np.linspace(0.2, 0.99, 12):
        (tmp_path / "a.flac").write_bytes(content[: int(kept * len(content))])
        # where only the end of the last frame is missing, libsndfile finds it
        with pytest.raises(AudioError, match=r"cut off|the file is damaged"):
            load_audio(tmp_path / "a.flac")


@pytest.mark.parametrize("kind", [{"format": "FLAC"}, {"format": "OGG"}, {"format": "OGG", "subtype": "OPUS"}])
def test_two_recordings_in_one_file_are_refused_with_the_first_ones_length(tmp_path, kind):
    one, other = written(voice(3), **kind), written(voice(2), **kind)
    (tmp_path / "a.x").write_bytes(one + other)
    with pytest.raises(AudioError, match=r"promises 3\.00 s, and .* follows"):
        load_audio(tmp_path / "a.x")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_file_that_is_cut_off_is_refused(tmp_path, subtype):
    content = written(loud_then_quiet(8), format="OGG", subtype=subtype)
    (tmp_path / "a.ogg").write_bytes(content)
    assert len(load_audio(tmp_path / "a.ogg")) == 8 * RATE
    for kept in (0.3, 0.6, 0.99):
        (tmp_path / "a.ogg").write_bytes(content[: int(kept * len(content))])
        with pytest.raises(AudioError, match=r"cut off \(its last part lacks [\d,]+ bytes\)"):
            load_audio(tmp_path / "a.ogg")


@pytest.mark.parametrize("info", [True, False])
def test_an_mp3_with_a_part_of_another_kind_in_its_middle_is_refused_with_both_lengths(tmp_path, info):
    one, other = varied(voice(3)), varied(np.stack([voice(2), voice(2)], axis=1))
    parts = [one, other, one] if info else [without_info(part) for part in (one, other, one)]
    (tmp_path / "a.mp3").write_bytes(b"".join(parts))
    with pytest.raises(AudioError, match=r"promises 6\.\d\d s, and what would last another 2\.\d\d s follows"):
        load_audio(tmp_path / "a.mp3")


def test_an_mp3_behind_which_another_one_of_another_kind_follows_is_refused_with_both_lengths(tmp_path):
    one, other = varied(voice(3)), varied(np.stack([voice(2), voice(2)], axis=1))
    (tmp_path / "a.mp3").write_bytes(one + other)
    with pytest.raises(AudioError, match=r"promises 3\.\d\d s, and what would last another 2\.\d\d s follows"):
        load_audio(tmp_path / "a.mp3")
    # what encoders and players write behind the sound is none
    rng = np.random.default_rng(0)
    for behind in (b"TAG".ljust(128, b" "), b"APETAGEX" + rng.bytes(300_000), b"\xff\xfb\x90\0" * 500):
        (tmp_path / "a.mp3").write_bytes(one + behind)
        assert len(load_audio(tmp_path / "a.mp3")) / RATE == pytest.approx(3, abs=0.15)


SHAPES = [
    (8_000, "VARIABLE", 1), (16_000, "VARIABLE", 1), (22_050, "VARIABLE", 2), (44_100, "VARIABLE", 1), (48_000, "VARIABLE", 2),
    (16_000, "AVERAGE", 1), (44_100, "AVERAGE", 2), (16_000, "CONSTANT", 2), (44_100, "CONSTANT", 1),
]  # fmt: skip


@pytest.mark.parametrize(("rate", "mode", "channels"), SHAPES)
def test_an_mp3_without_a_stated_length_is_read_whole(tmp_path: Path, rate: int, mode: str, channels: int) -> None:
    stated = varied(np.stack([loud_then_quiet(2.0, rate)] * channels, axis=1), rate, mode)
    (tmp_path / "whole.mp3").write_bytes(stated)
    end = load_audio(tmp_path / "whole.mp3", "as recorded")[-RATE // 2 : -RATE // 8]
    path = tmp_path / "a.mp3"
    for content in (without_info(stated), tag() + without_info(stated) + b"TAG" + bytes(125)):
        path.write_bytes(content)
        heard = hear(path, "as recorded")
        # encoders pad both ends; without a header nobody knows by how much
        assert 2.0 <= heard.duration_s < 2.0 + 4000 / rate
        assert hear(path).duration_s == heard.duration_s
        rest = heard.samples[-RATE - 8000 :]
        at = int(np.correlate(rest, end, "valid").argmax())
        match = np.corrcoef(end, rest[at : at + len(end)])[0, 1]
        assert match > 0.95


@pytest.mark.parametrize("stated", [0, 3, 40, 4000])
def test_a_number_of_frames_that_is_wrong_is_not_believed(tmp_path: Path, stated: int) -> None:
    content = bytearray(varied(loud_then_quiet(3.0)))
    frames = walk(bytes(content))
    assert frames is not None
    place = content.index(b"Xing" if b"Xing" in content else b"Info") + 8
    content[place : place + 4] = stated.to_bytes(4, "big")
    (tmp_path / "a.mp3").write_bytes(bytes(content))
    if stated < frames.count:
        assert hear(tmp_path / "a.mp3").duration_s == 3.0
    else:
        with pytest.raises(AudioError, match=r"cut off \(its header promises 14\d\.\d\d s, it holds [23]\.\d\d s\)"):
            load_audio(tmp_path / "a.mp3")


def patched(content: bytes, place: int, layout: str, size: int) -> bytes:
    data = bytearray(content)
    struct.pack_into(layout, data, place, size)
    return bytes(data)


def sizes() -> dict[str, tuple[bytes, int, str]]:
    """Container -> a file, where it says how long its sound is, and how."""
    sound = voice()
    files = {
        kind: written(sound, format=kind, subtype="PCM_16") for kind in ("WAV", "AIFF", "CAF", "AU", "RF64", "W64")
    }
    return {
        "WAV": (files["WAV"], files["WAV"].index(b"data") + 4, "<i"),
        "AIFF": (files["AIFF"], files["AIFF"].index(b"SSND") + 4, ">i"),
        "CAF": (files["CAF"], files["CAF"].index(b"data") + 4, ">q"),
        "AU": (files["AU"], 8, ">i"),
        "RF64": (files["RF64"], files["RF64"].index(b"ds64") + 16, "<q"),
        "W64": (files["W64"], files["W64"].index(b"data") + 16, "<q"),
    }


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU", "RF64", "W64"])
@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_a_program_left_open_is_what_follows(tmp_path: Path, kind: str, size: int) -> None:
    content, place, layout = sizes()[kind]
    (tmp_path / "a.wav").write_bytes(patched(content, place, layout, size))
    heard = hear(tmp_path / "a.wav", "as recorded")
    assert heard.duration_s == 1.5
    assert np.abs(heard.samples - voice()).max() < 1e-4
    assert hear(tmp_path / "a.wav").duration_s == 1.5


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU", "RF64", "W64"])
def test_a_size_below_what_follows_is_told_with_both_numbers(tmp_path: Path, kind: str) -> None:
    content, place, layout = sizes()[kind]
    (tmp_path / "a.wav").write_bytes(patched(content, place, layout, 16_000))
    with pytest.raises(AudioError) as caught:
        load_audio(tmp_path / "a.wav")
    found = re.search(r"promises ([\d.]+) s, and what would last another ([\d.]+) s follows", caught.value.reason)
    assert found is not None
    assert abs(float(found[1]) - 0.5) < 0.01
    assert abs(float(found[2]) - 1.0) < 0.01


def test_what_stands_behind_the_sound_is_not_heard(tmp_path: Path) -> None:
    plain = written(voice(), format="WAV", subtype="PCM_16")
    text = b"INFOISFT" + struct.pack("<I", 4000) + bytes(range(1, 251)) * 16
    chunk = b"LIST" + struct.pack("<I", len(text)) + text
    for content in (plain + chunk, patched(plain, plain.index(b"data") + 4, "<i", 0) + chunk, plain + bytes(9000)):
        (tmp_path / "a.wav").write_bytes(content)
        assert hear(tmp_path / "a.wav").duration_s == 1.5


def test_two_files_in_one_are_told_apart_from_one(tmp_path: Path) -> None:
    half = written(voice(0.75), format="WAV", subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes(half + half)
    with pytest.raises(
        AudioError, match=r"promises 24,000 bytes of sound, and another 24,044 bytes follow|another 0\.75 s"
    ):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("kind", ["CAF", "AU", "NIST", "AIFF", "W64"])
def test_other_formats_that_are_cut_off_are_not_taken_for_short_ones(tmp_path: Path, kind: str) -> None:
    content = written(voice(), format=kind, subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(AudioError, match="cut off"):
        load_audio(tmp_path / "a.wav")


def test_what_is_no_sound_is_named_with_its_remedy(tmp_path: Path) -> None:
    contents = {
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "a Git LFS pointer.*git lfs pull",
        b"<!DOCTYPE html><html>404</html>": "a web page",
        b"\x1f\x8b\x08\0" + bytes(50): "gzip-compressed: unpack it",
        b"PK\x03\x04" + bytes(50): "a ZIP archive: unpack it",
    }
    for name in ("a.wav", "a.mp4"):
        for content, said in contents.items():
            (tmp_path / name).write_bytes(content)
            with pytest.raises(AudioError, match=f"is {said}"):
                load_audio(tmp_path / name)


def test_a_video_under_another_name_is_heard(tmp_path: Path, film) -> None:
    content = film(tmp_path / "film.mp4", seconds=0.5).read_bytes()
    (tmp_path / "film.wav").write_bytes(content)
    assert len(load_audio(tmp_path / "film.wav")) >= 8_000


@pytest.mark.parametrize("rate", [1, 50, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused_by_its_number(tmp_path: Path, rate: int) -> None:
    wav = written(voice(), format="WAV")
    path = tmp_path / "x.wav"
    path.write_bytes(wav[:24] + struct.pack("<I", rate) + wav[28:])
    for look in (load_audio, hear):
        with pytest.raises(AudioError, match=f"its header says {rate:,} samples a second"):
            look(path)


def test_days_of_silence_in_a_small_file_do_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.zeros(4_100_000, np.int16), 1_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(AudioError, match="lasts more than 60 minutes"):
        load_audio(path)


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="skipped: PyAV (extra video) is not installed")
    soundfile.write(tmp_path / "other.flac", voice(), RATE)
    for text in ("ffconcat version 1.0\nfile other.flac\n", f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/other.flac\n"):
        (tmp_path / "x.m4a").write_text(text)
        with pytest.raises(AudioError, match="not readable as m4a"):
            load_audio(tmp_path / "x.m4a")
