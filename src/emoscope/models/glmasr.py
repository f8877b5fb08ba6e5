"""GLM-ASR: Audio Flamingo 3's way of hearing, with an encoder of its own and a Llama decoder."""

from __future__ import annotations

from emoscope.models.audioflamingo3 import AudioFlamingo3

README = "the model card and github.com/zai-org/GLM-ASR name no training corpora"


class GlmAsr(AudioFlamingo3):
    """Declares the family; the processor has the interface of Audio Flamingo 3's, the template is the folder's own."""

    model_type = "glmasr"
    model_class = "GlmAsrForConditionalGeneration"
    processor_class = "GlmAsrProcessor"
    audio_first = True
    padding_side = "left"
    exposure = dict.fromkeys(("iemocap", "meld", "msp-podcast", "ravdess", "crema-d"), ("unknown", README))

    @property
    def longest_s(self) -> float:
        """630 s in the released files: of the 655 s that they name, the processor takes the whole windows."""
        window = float(self.processor.feature_extractor.chunk_length)
        return self.processor.max_audio_len // window * window
