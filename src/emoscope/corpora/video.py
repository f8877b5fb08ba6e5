"""Read the sound of videos, and of sound files that libsndfile does not read, with PyAV (the extra ``video``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emoscope.corpora.level import Unhearable

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

VIDEO = frozenset(
    f".{ending}"
    for ending in [
        "3g2",
        "3gp",
        "3gpp",
        "aac",
        "ac3",
        "adts",
        "amr",
        "ape",
        "asf",
        "avi",
        "awb",
        "dss",
        "dts",
        "eac3",
        "f4a",
        "f4b",
        "f4v",
        "flv",
        "gsm",
        "m2ts",
        "m4a",
        "m4b",
        "m4r",
        "m4v",
        "mka",
        "mkv",
        "mov",
        "mp4",
        "mpe",
        "mpeg",
        "mpg",
        "mts",
        "ogv",
        "qcp",
        "qt",
        "ra",
        "rm",
        "spx",
        "tak",
        "tta",
        "vob",
        "weba",
        "webm",
        "wma",
        "wmv",
        "wv",
    ]
)
"""Endings of video and sound files that PyAV reads and libsndfile does not."""

CONTENTS = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4)"), (0, b"#!AMR", "AMR"), (0, b"\x1aE\xdf\xa3", "Matroska or WebM"), (0, b"0&\xb2u", "WMA"),
    (0, b"FLV\1", "Flash video"), (0, b"\xff\xf1", "AAC"), (0, b"\xff\xf9", "AAC"), (8, b"AVI ", "AVI video"),
    (0, b".RMF", "RealMedia"), (0, b"MAC ", "Monkey's Audio"), (0, b"wvpk", "WavPack"), (0, b"TTA1", "True Audio"),
)  # fmt: skip
"""Offset and first bytes -> what only PyAV reads, whatever the file's name."""

TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "flv", "ape", "wv", "tta"})
"""Formats whose header states a length; of others PyAV guesses it from the bit rate."""

FORMATS = ",".join(
    [*sorted(TIMED), "aac", "ac3", "amr", "amrnb", "amrwb", "dss", "dts", "eac3", "flac", "gsm", "loas", "mp3", "mpeg", "mpegts",
     "ogg", "qcp", "rm", "tak", "wav"]
)  # fmt: skip
"""What PyAV may take a file for by its content; it knows lists of other files, too, and would open those."""

REMEDY = "pip install 'emoscope[video]', or convert the files to wav or flac"

SLACK_S = 0.5
"""By so much, in seconds, the length that a video's header gives may differ from its sound: encoders pad both ends."""


def is_video(path: Path) -> bool:
    """Whether a file's ending says that PyAV must read it."""
    return path.suffix.lower() in VIDEO


def kind_of(path: Path) -> str | None:
    r"""What a file is by its first bytes, where only PyAV reads it; ``None`` where they say nothing of the kind.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.wav"
        >>> _ = file.write_bytes(b"#!AMR\n")
        >>> kind_of(file)
        'AMR'
    """
    with path.open("rb") as file:
        start = file.read(26)
    return next((kind for at, mark, kind in CONTENTS if start[at : at + len(mark)] == mark), None)


def unread(path: Path) -> str | None:
    """Why a file cannot be read here: its ending needs PyAV, which is not installed; else ``None``."""
    return needed(path.suffix.lower().lstrip(".")) if is_video(path) and not can_read_videos() else None


def needed(kind: str) -> str:
    """Reason of a file that PyAV would read, where it is missing.

    Example:
        >>> needed("m4a")
        "m4a needs the extra video: pip install 'emoscope[video]', or convert the files to wav or flac"
    """
    return f"{kind} needs the extra video: {REMEDY}"


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
        Unhearable: PyAV is missing, the file is damaged or cut off, or it has no sound.
    """
    if not can_read_videos():
        raise Unhearable(needed(path.suffix.lower().lstrip(".") if is_video(path) else str(kind_of(path))))
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
        raise Unhearable("holds no sound: it is empty or cut off; copy the file again")
    if promised - held / rate > SLACK_S:
        lengths = f"its header promises {promised:.2f} s, it holds {held / rate:.2f} s"
        raise Unhearable(f"cut off ({lengths}): copy the file again")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    import av

    errors: Any = (av.FFmpegError, ValueError, UnicodeDecodeError)
    try:
        with av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise Unhearable("the video has no sound track")
            yield container, container.streams.audio[0]
    except Unhearable:
        raise
    except errors as error:
        ending = path.suffix.lower().lstrip(".")
        raise Unhearable(
            f"not readable as {ending}: the file is damaged; copy it again, or convert it to wav or flac"
        ) from error


def _seconds(container: InputContainer, stream: AudioStream) -> float:
    import av

    if container.format.name not in TIMED:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base
