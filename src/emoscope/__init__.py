"""emoscope: find the neurons that carry emotion inside large audio-language models, and test what they do."""
