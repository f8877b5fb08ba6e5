"""The recipe of the small embedded audio-language model: one command, ``python -m recipes.tiny``."""
