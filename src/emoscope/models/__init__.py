"""Audio-language models: load, prepare, score and generate, with gains on neurons per batch row."""
