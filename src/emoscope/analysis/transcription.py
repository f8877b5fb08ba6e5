"""Word errors of what the model writes down, under each condition: does an intervention harm the hearing of words?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from emoscope.analysis.run_tables import Run
from emoscope.schemas import empty, schema

INTRODUCTION = re.compile(
    r"^\s*(?:the\s+)?(?:speaker|person|man|woman|voice|recording|audio|transcript(?:ion)?)\b[^:\"“”«»„.!?]{0,60}"
    r"(?::|(?=[\"“«„]))\s*",
    re.IGNORECASE,
)
"""What some models put before the words: "The speaker says:", "The transcription of the audio is:"."""


def spoken_words(text: str) -> list[str]:
    r"""The words of a text as they are compared: no introduction, case, punctuation or composed characters.

    Apostrophes inside words are kept; numbers stay as they are written.

    Example:
        >>> spoken_words('The speaker says: "It\u2019s eleven o\'clock!"')
        ["it's", 'eleven', "o'clock"]
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", INTRODUCTION.sub("", plain, count=1))


def word_errors(said: Sequence[str], written: Sequence[str]) -> list[dict[str, int]]:
    """Fewest substitutions, deletions and insertions that turn what is said into what was written.

    Args:
        said: the true texts.
        written: the model's, one for each.

    Returns:
        one dictionary a text: words, errors, substitutions, deletions, insertions.

    Example:
        >>> word_errors(["stop it now"], ["Stop now, now."])[0]
        {'words': 3, 'errors': 1, 'substitutions': 1, 'deletions': 0, 'insertions': 0}
    """
    import jiwer

    rows = []
    for true, found in zip(said, written, strict=True):
        words = spoken_words(true)
        result = jiwer.process_words(" ".join(words), " ".join(spoken_words(found)))
        counts = {
            "substitutions": result.substitutions, "deletions": result.deletions, "insertions": result.insertions,
        }  # fmt: skip
        rows.append({"words": len(words), "errors": sum(counts.values()), **counts})
    return rows


def transcription(run: Run) -> pl.DataFrame:
    """Word errors of every item under every condition, those of foreign sets too.

    Args:
        run: a part in which the model was asked to write down what is said.

    Returns:
        the columns of table ``transcription``, by condition and item; empty where nothing was written down.
    """
    answers = pl.concat([run.answers, *(one.answers for one in run.foreign.values())]).unique(
        ["condition", "item", "scoring"], keep="first", maintain_order=True
    )
    written = answers.filter(pl.col("scoring") == "transcription").select("condition", "item", "text")
    if written.is_empty():
        return empty("transcription")
    found = written.join(run.items.select("item", "transcript"), on="item").sort("condition", "item")
    found = found.filter(pl.col("transcript").is_not_null()).with_columns(pl.col("text").fill_null(""))
    # one text may be written many times
    pairs = found.select("transcript", "text").unique(maintain_order=True)
    counted = pl.DataFrame(
        word_errors(pairs["transcript"].to_list(), pairs["text"].to_list()),
        schema={
            name: schema("transcription")[name]
            for name in ("words", "errors", "substitutions", "deletions", "insertions")
        },
    )
    texts = pairs.with_columns(
        pl.Series("said", [" ".join(spoken_words(text)) for text in pairs["transcript"]], dtype=pl.String),
        pl.Series("written", [" ".join(spoken_words(text)) for text in pairs["text"]], dtype=pl.String),
    )
    known = pl.concat([texts, counted], how="horizontal")
    return found.join(known, on=["transcript", "text"], maintain_order="left").select(list(schema("transcription")))
