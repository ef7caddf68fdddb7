"""The embedded default: four small real models in a row, behind the one `SpeechModel` protocol.

transcriber (Whisper) and cue hearer (the same Whisper's first layers, own heads) -> thinker (Qwen)
-> voice (hibari, Kokoro). CTranslate2 and ONNX Runtime run them; no torch.
"""
