"""Open a sound file or video with the library that reads it, and give its samples some at a time, all that it holds."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emoscope.corpora.chunks import Bytes, Extent, Spliced, extent, pages
from emoscope.corpora.frames import HEAD, Frames, Stream, stream, walk
from emoscope.files import what_is

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from soundfile import SoundFile

Waveform = npt.NDArray[np.float32]

SHORTEST_S = 0.1
"""A clip shorter than this, in seconds, gives fewer than two audio tokens and is quarantined."""

BLOCK = 1 << 18
"""Frames of a file that are decoded at once: 5 s at 48 kHz."""

UNREADABLE = "not readable as audio: the file is damaged or no sound file; convert it to wav or flac"
"""Reason of a file that libsndfile cannot read (its own messages name the wrong cause)."""

SAVE_AGAIN = "open it in a sound editor, and save what belongs to it"
REMEDY = "pip install 'emoscope[video]', or convert the files to wav or flac"


class Unhearable(ValueError):
    """Sound that cannot be used; the message is a short reason."""


def endings(text: str) -> frozenset[str]:
    """Endings of files from their words: "wav mp3" gives .wav and .mp3."""
    return frozenset(f".{word}" for word in text.split())


VIDEO = endings(
    "3g2 3gp 3gpp aac ac3 adts amr ape asf avi awb dss dts eac3 f4a f4b f4v flv gsm m2ts m4a m4b m4r m4v mka mkv mov mp4 "
    "mpe mpeg mpg mts ogv qcp qt ra rm spx tak tta vob weba webm wma wmv wv"
)
"""Endings of video and sound files that PyAV reads and libsndfile does not."""

CONTENTS = {
    b"ftyp": "MPEG-4 (m4a, mp4)",
    b"#!AMR": "AMR",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u": "WMA",
    b"FLV\1": "Flash video",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
    b"AVI ": "AVI video",
    b".RMF": "RealMedia",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"TTA1": "True Audio",
}
"""First bytes -> what only PyAV reads, whatever the file's name; some stand behind a size or an id (``BEHIND``)."""

BEHIND = {b"ftyp": 4, b"AVI ": 8}

TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "flv", "ape", "wv", "tta"})
"""Formats whose header states a length; of others PyAV guesses it from the bit rate."""

FORMATS = ",".join(sorted(TIMED)) + (
    ",aac,ac3,amr,amrnb,amrwb,dss,dts,eac3,flac,gsm,loas,mp3,mpeg,mpegts,ogg,qcp,rm,tak,wav"
)
"""What PyAV may take a file for by its content; it knows lists of other files, too, and would open those."""

SLACK_S = 0.5
"""By so much, in seconds, the length that a video's header gives may differ from its sound: encoders pad both ends."""

Blocks = Iterator[tuple[Waveform, int, int]]
"""Samples (time, channel), their rate in Hz, and how many there will be (0: not known)."""

Opened = tuple["SoundFile", float | None, float]
"""A file as libsndfile reads all of it; how many seconds it should hold and how many of something else follow, by what
does not guess: its own header, and its frames or bytes."""


def blocks(path: Path) -> Blocks:
    """Samples of a sound file or video, some at a time.

    Sizes in headers that are 0, unknown or wrong are put right from what the file holds before libsndfile reads it,
    and an MP3's frames are counted; what then is missing or left over is refused with both numbers.

    Raises:
        Unhearable: the file is damaged, cut off, or something else than its name says.
    """
    import soundfile

    if path.suffix.lower() == ".raw":
        fault = "holds, by its ending raw, samples without a header, so that their rate is not known"
        raise Unhearable(_really(path, f"{fault}: convert it to wav or flac"))
    if is_video(path):
        yield from _video_blocks(path)
        return
    # libsndfile reports a fault while it opens a file, or while it reads
    try:
        with _opened(path) as (file, promised, further):
            if further > SHORTEST_S:
                follows = f"what would last another {further:.2f} s follows"
                raise Unhearable(f"its header promises {promised or 0.0:.2f} s, and {follows}: {SAVE_AGAIN}")
            rate, held = file.samplerate, 0
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                held += len(block)
                yield block, rate, file.frames
            _check_held(held / rate, promised, SHORTEST_S)
    except soundfile.SoundFileError as error:
        if not kind_of(path):
            raise Unhearable(_really(path, UNREADABLE)) from error
        yield from _video_blocks(path)


def _really(path: Path, else_: str) -> str:
    words = what_is(path)
    return f"is {words}" if words else else_


def _check_held(held: float, promised: float | None, slack: float) -> None:
    """Refuse a file that held less sound than its header promises, in seconds, or none."""
    if not held:
        raise Unhearable("holds no sound: it is empty or cut off; copy the file again")
    if promised is not None and promised - held > slack:
        raise Unhearable(f"cut off (its header promises {promised:.2f} s, it holds {held:.2f} s): copy the file again")


@contextmanager
def _opened(path: Path) -> Iterator[Opened]:
    import soundfile

    with ExitStack() as stack:
        content = stack.enter_context(path.open("rb"))
        raw: Bytes = stack.enter_context(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))

        def opened(head: bytes = b"", start: int = 0, end: int = 0) -> SoundFile:
            """The file, or a part of it behind another head."""
            source = stack.enter_context(Spliced(head, raw, start, end)) if head else path
            return stack.enter_context(soundfile.SoundFile(source))

        if (found := extent(raw)) is not None:
            if fault := _fault(found):
                try:
                    opened()
                except soundfile.SoundFileError:
                    raise Unhearable(fault) from None
            wrong = found.stated is None or (raw[:4] == b"riff" and found.end < len(raw))
            yield _by_bytes(found, opened(found.true_head(raw), found.start, found.end) if wrong else opened())
        elif (flac := stream(raw)) is not None:
            _check_flac(flac)
            right = flac.held == flac.stated
            file = opened() if right else opened(flac.true_head(raw), flac.start + HEAD, len(raw))
            yield file, flac.held / flac.rate, 0.0
        else:
            file = opened()
            if (ogg := pages(raw)) is not None:
                if ogg.missing:
                    raise Unhearable(f"cut off (its last part lacks {ogg.missing:,} bytes): copy the file again")
                # positions in Opus count at 48 kHz, whatever the rate
                further = ogg.further / (48_000 if file.subtype == "OPUS" else file.samplerate)
                yield file, file.frames / file.samplerate, further
            elif (frames := walk(raw) if file.format == "MP3" else None) is not None:
                yield _by_frames(frames, file, opened)
            else:
                yield file, _stated_by_nist(raw, file), 0.0


def _by_bytes(found: Extent, file: SoundFile) -> Opened:
    if found.stated is None or not found.held or not file.frames:
        return file, None, 0.0
    per_byte = file.frames / file.samplerate / found.held
    return file, found.stated * per_byte, found.further * per_byte


def _by_frames(frames: Frames, file: SoundFile, opened: Callable[[bytes, int, int], SoundFile]) -> Opened:
    length, read = frames.duration_s, file.frames / file.samplerate
    # where libsndfile reads on, the first frames were none
    further = frames.further_s if read - length <= SHORTEST_S else 0.0
    if frames.stated != frames.count and length - read > SHORTEST_S:
        if frames.first.layer == 3:
            # libsndfile stops where its own guess, or a wrong header, says that the file ends
            file = opened(frames.true_info(), frames.start, frames.end)
    elif frames.stated is not None:
        # without what encoders add at both ends
        length = read
    return file, length, further


def _fault(found: Extent) -> str | None:
    """What is wrong with a file's sizes in bytes, where libsndfile does not open it at all."""
    if found.stated is None or (found.held == found.stated and not found.further):
        return None
    promised = f"its header promises {found.stated:,} bytes of sound"
    if found.further:
        return f"{promised}, and another {found.further:,} bytes follow: {SAVE_AGAIN}"
    return f"cut off ({promised}, it holds {found.held:,}): copy the file again"


def _check_flac(flac: Stream) -> None:
    """Refuse a FLAC file that is not whole, or that another one follows."""
    stated, held = flac.stated / flac.rate, flac.held / flac.rate
    if flac.more:
        first = f"its header promises {stated:.2f} s" if stated else f"its first part holds {held:.2f} s"
        raise Unhearable(f"{first}, and another FLAC file follows: {SAVE_AGAIN}")
    if flac.cut or held < stated:
        both = f"its header promises {stated:.2f} s, it holds {'less than ' if flac.cut else ''}{held:.2f} s"
        last = f"its last frame, up to {held:.2f} s, is not whole"
        raise Unhearable(f"cut off ({both if held <= stated else last}): copy the file again")


def _stated_by_nist(raw: Bytes, file: SoundFile) -> float | None:
    said = re.search(rb"(?:^|\s)sample_count\s+\S+\s+(\d+)(?:\s|$)", raw[:1024]) if file.format == "NIST" else None
    return int(said[1]) / file.samplerate if said else None


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
    return next((kind for mark, kind in CONTENTS.items() if start.startswith(mark, BEHIND.get(mark, 0))), None)


def unread(path: Path, kind: str | None = None) -> str | None:
    """Why a file that PyAV must read, by its ending or by what it is, cannot be read here; else ``None``."""
    kind = path.suffix.lower().lstrip(".") if is_video(path) else kind
    if kind is None:
        return None
    try:
        import av  # noqa: F401
    except ImportError:
        return f"{kind} needs the extra video: {REMEDY}"
    return None


def _video_blocks(path: Path) -> Blocks:
    """Decode the first sound track of a video, frame by frame; errors as in :func:`blocks`, or PyAV is missing."""
    try:
        if why := unread(path, kind_of(path)):
            raise Unhearable(why)
        import av

        held = 0
        with _opened_video(path) as (container, stream):
            rate, promised = stream.rate, _seconds(container, stream)
            same = av.AudioResampler(format="fltp")
            for frame in chain(container.decode(stream), [None]):  # None flushes what is left
                for part in same.resample(frame):
                    held += part.samples
                    yield np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32), rate, 0
        _check_held(held / rate, promised, SLACK_S)
    except Unhearable as error:
        raise Unhearable(_really(path, str(error))) from error


@contextmanager
def _opened_video(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    import av

    try:
        with av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise Unhearable("the video has no sound track")
            yield container, container.streams.audio[0]
    except Unhearable:
        raise
    except (av.FFmpegError, ValueError) as error:
        ending = path.suffix.lower().lstrip(".")
        fault = "the file is damaged; copy it again, or convert it to wav or flac"
        raise Unhearable(f"not readable as {ending}: {fault}") from error


def _seconds(container: InputContainer, stream: AudioStream) -> float:
    import av

    if container.format.name not in TIMED:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base
