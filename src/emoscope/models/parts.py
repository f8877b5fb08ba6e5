"""A tokenizer and a feature extractor of the transformers library, where the processor that joins them cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoscope.models.loading import transformers_class


@dataclass(frozen=True)
class Parts:
    """Has the attributes under which a processor holds the same two.

    Attributes:
        tokenizer: text to token ids.
        feature_extractor: sound to log-mel features.
    """

    tokenizer: Any
    feature_extractor: Any

    @classmethod
    def from_folder(cls, folder: Path) -> Parts:
        """Load both from a checkpoint folder, without the network."""
        return cls(
            transformers_class("AutoTokenizer").from_pretrained(folder, local_files_only=True),
            transformers_class("WhisperFeatureExtractor").from_pretrained(folder, local_files_only=True),
        )
