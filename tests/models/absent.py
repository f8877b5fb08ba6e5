"""Models that one may look for and that are not in the registry, with the reason."""

ABSENT = {
    "Qwen3-Omni": "its experts are stored as one block of weights a layer, so a neuron there is (layer, expert, index) and has no module to hook; not finished",
    "MiniCPM-o, Ultravox": "not in transformers; their own code would have to be run",
    "Gemma 4, Qwen3-ASR, Voxtral Realtime, VibeVoice-ASR": "in transformers, not looked at (Qwen3-ASR is the worked example of add-a-model.md)",
    "Audio Flamingo 3 in its first layout (nvidia/audio-flamingo-3)": "needs code of its own; the repository ending in -hf holds the same model",
    "GGUF, GPTQ, AWQ and other packed files": "only safetensors in the layout of transformers are read",
}
"""Name -> why it is absent; whoever adds a family takes its line out."""
