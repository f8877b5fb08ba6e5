from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.corpora.audio import AudioError, hear
from emoscope.experiments.listen import DecodeAhead


@pytest.fixture
def blocks(tmp_path: Path) -> list[list[dict[str, str]]]:
    rng = np.random.default_rng(0)
    made = []
    for n in range(12):
        path = tmp_path / f"{n}.wav"
        soundfile.write(path, rng.normal(0, 0.1, 44_100), 44_100)
        made.append({"clip": f"c{n}", "path": str(path)})
    (tmp_path / "5.wav").write_bytes(b"no sound")
    # a clip whose letter orders fall into two blocks is in both
    return [made[:6], made[5:9], made[9:]]


@pytest.mark.parametrize("most_bytes", [1 << 28, 0])
def test_what_is_handed_out_is_what_loading_gives(blocks: list[list[dict[str, str]]], most_bytes: int) -> None:
    with DecodeAhead("normalised", most_bytes) as ahead:
        for place, block in enumerate(blocks):
            sounds = ahead.take([*block, block[0]])
            if place + 1 < len(blocks):
                ahead.start(blocks[place + 1])
            assert list(sounds) == [item["clip"] for item in block]
            for item in block:
                sound = sounds[item["clip"]]
                if item["clip"] == "c5":
                    assert isinstance(sound, AudioError)
                    assert "not readable as audio" in sound.reason
                else:
                    assert not isinstance(sound, AudioError)
                    wanted = hear(item["path"])
                    assert sound.samples.tobytes() == wanted.samples.tobytes()
                    assert (sound.told, sound.duration_s) == (wanted.told, wanted.duration_s)
        assert not ahead._waiting


def settled(ahead: DecodeAhead) -> None:
    end = time.monotonic() + 300
    while not all(future.done() for future in ahead._waiting.values()) and time.monotonic() < end:
        time.sleep(0.01)


def waiting_bytes(ahead: DecodeAhead, clips: Collection[str] | None = None) -> int:
    found = [future.result() for clip, future in ahead._waiting.items() if clips is None or clip in clips]
    return sum(sound.samples.nbytes for sound in found if sound and not isinstance(sound, AudioError))


def test_a_block_is_decoded_before_it_is_asked_for(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start(blocks[2])
        settled(ahead)
        assert waiting_bytes(ahead) == 3 * 4 * 16_000
        Path(blocks[2][0]["path"]).unlink()
        assert len(ahead.take(blocks[2])["c9"].samples) == 16_000


def test_the_sound_that_waits_is_bounded(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded", most_bytes=100_000) as ahead:
        ahead.start([*blocks[1][1:], *blocks[2]])
        settled(ahead)
        # one clip takes 64,000 bytes; each of the two threads may exceed the bound by one
        assert waiting_bytes(ahead) <= 100_000 + 2 * 64_000
        assert all(len(sound.samples) == 16_000 for sound in ahead.take([*blocks[1][1:], *blocks[2]]).values())


def test_a_fault_is_raised_where_its_clip_is_taken(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start([{"clip": "faulty", "path": 5}])  # type: ignore[dict-item]
        settled(ahead)
        ahead.start(blocks[2])
        settled(ahead)
        assert waiting_bytes(ahead, ["c9", "c10", "c11"]) == 3 * 4 * 16_000


def test_a_block_that_is_skipped_is_forgotten(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start(blocks[1])
        settled(ahead)
        ahead.take(blocks[2])
        assert not ahead._waiting


def test_a_stop_does_not_wait_for_the_queue(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 44_100 * 20), 44_100)
    futures = {}

    def stopped() -> None:
        with DecodeAhead("as recorded") as ahead:
            ahead.start([{"clip": str(n), "path": str(tmp_path / "a.wav")} for n in range(400)])
            futures.update(ahead._waiting)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    # what had not begun never begins
    assert len(futures) == 400
    assert sum(future.cancelled() for future in futures.values()) > 300
