"""Read the sound of video files with PyAV, which the extra ``video`` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

VIDEO = frozenset({".mp4", ".m4a", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
"""Endings of files whose sound PyAV reads; libsndfile reads none of them."""

NEEDED = "is a video, and PyAV is not installed: `pip install 'emoscope[video]'`, or convert the videos to wav or flac"
"""Reason of a video where PyAV is missing."""

SLACK_S = 0.5
"""By so much, in seconds, the length that a video's header gives may differ from its sound: encoders pad both ends."""


class VideoError(ValueError):
    """A video whose sound cannot be read; the message is a short reason."""


def is_video(path: Path) -> bool:
    """Whether a file's ending says that PyAV must read it."""
    return path.suffix.lower() in VIDEO


def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def video_blocks(path: Path) -> Iterator[tuple[npt.NDArray[np.float32], int]]:
    """Decode the first sound track of a video, frame by frame.

    Yields:
        samples (time, channels) as they are stored, and their rate in Hz.

    Raises:
        VideoError: PyAV is missing, the file is damaged or cut off, or it has no sound.
    """
    import_av()
    import av

    held = 0
    with _opened(path) as (container, stream):
        rate, promised = stream.rate, _seconds(container, stream)
        same = av.AudioResampler(format="fltp")
        for frame in chain(container.decode(stream), [None]):  # None flushes what is left
            for part in same.resample(frame):
                held += part.samples
                yield np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32), rate
    if not held:
        raise VideoError("holds no sound: it is empty or cut off; copy the file again")
    if promised - held / rate > SLACK_S:
        lengths = f"its header promises {promised:.2f} s, it holds {held / rate:.2f} s"
        raise VideoError(f"cut off ({lengths}): copy the file again")


def video_facts(path: Path) -> tuple[float, int, int]:
    """Length in seconds, rate in Hz and channels of the first sound track, from the header.

    Raises:
        VideoError: as in :func:`video_blocks`.
    """
    import_av()
    with _opened(path) as (container, stream):
        return _seconds(container, stream), stream.rate, stream.channels


def import_av() -> None:
    """Refuse where PyAV is missing, and name the extra.

    Raises:
        VideoError: PyAV is not installed.
    """
    if not can_read_videos():
        raise VideoError(NEEDED)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    import av

    errors: Any = (av.FFmpegError, ValueError, UnicodeDecodeError)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise VideoError("the video has no sound track")
            yield container, container.streams.audio[0]
    except VideoError:
        raise
    except errors as error:
        raise VideoError("not readable as a video: the file is damaged; copy it again, or convert it to wav") from error


def _seconds(container: InputContainer, stream: AudioStream) -> float:
    import av

    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base
