"""Settings with which every method trains a tiny set in moments: a step takes milliseconds."""

from __future__ import annotations

STEPS = ["batch=2", "crop_seconds=0.1", "steps=4", "log_every=2", "validate_every=2", "save_every=2"]
EACH = [*STEPS, "validation_crops=2", "threads=1"]

ENCODER = [f"encoder.{size}" for size in ("blocks=1", "layers=2", "channels=8", "code_channels=4", "pool=160")]
DECODER = [
    f"decoder.{size}"
    for size in ("blocks=1", "layers=3", "residual_channels=8", "skip_channels=8", "condition_channels=4", "pool=160")
]
DEMUCS = [f"network.{size}" for size in ("depth=2", "channels=4", "lstm_layers=1")]


def of_stage(name: str, settings: list[str]) -> list[str]:
    """Settings of a method as those of a stage of another."""
    return [f"{name}.{setting}" for setting in settings]


UNIVERSAL = [*EACH, *ENCODER, *DECODER]
SINGLE = [*EACH, *of_stage("universal", UNIVERSAL)]
SEPARATOR = [*EACH, "crop_seconds=0.25", "shift_seconds=0.05", *DEMUCS]

SMALL: dict[str, list[str]] = {
    "universal-network": UNIVERSAL,
    "single-instrument": SINGLE,
    "demucs": SEPARATOR,
    "separation-based": [*of_stage("separator", SEPARATOR), *of_stage("single", SINGLE), "threads=1"],
    "embedding-supervised": [*EACH, *ENCODER, *of_stage("single", SINGLE)],
    "stem-supervised": [*EACH, *ENCODER, *DECODER],
    "mixture-supervised": [*EACH, *ENCODER, *DECODER],
}
"""{method: `--set` settings}, with those of the stages that it is built on."""
