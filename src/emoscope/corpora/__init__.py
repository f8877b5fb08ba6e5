"""Corpora: clips with labels, whatever their layout on disk."""

from emoscope.corpora.audio import AudioError, checksum, load_audio
from emoscope.corpora.clip import Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.folds import assign_folds
from emoscope.corpora.registry import UnknownCorpus, list_corpora, open_corpus, polish_folder

__all__ = [
    "AudioError",
    "Clip",
    "Corpus",
    "CorpusInfo",
    "Lost",
    "UnknownCorpus",
    "assign_folds",
    "checksum",
    "list_corpora",
    "load_audio",
    "open_corpus",
    "polish_folder",
]
