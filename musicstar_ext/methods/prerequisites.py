"""The checkpoint that a method builds on: read, and checked for what the method takes from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from musicstar_ext.architecture import DecoderConfig, EncoderConfig
from musicstar_ext.checkpoints import Checkpoint, load
from musicstar_ext.errors import UserError
from musicstar_ext.nn import MusicStarEncoder, UniversalEncoder, WaveNetDecoder, build_encoder, load_weights


class Prerequisite:
    """A trained checkpoint of another method.

    Args:
        path: of the checkpoint; `key` is the setting that names it, for messages.
        method: the method that must have trained it.

    Raises:
        UserError: there is no path, no checkpoint there, or one of another method.
    """

    def __init__(self, key: str, path: str, method: str) -> None:
        if not path:
            raise UserError(f"{key} must name a checkpoint of {method}")
        if Path(path).is_dir():
            raise UserError(f"{path}: is a folder; {key} must name a checkpoint, e.g. {Path(path, 'best.safetensors')}")
        self.path = path
        self.checkpoint: Checkpoint = load(path)
        if self.checkpoint.method != method:
            raise UserError(f"{path}: {key} must be a checkpoint of {method}, this is one of {self.checkpoint.method}")

    def require_rate(self, sample_rate: int) -> None:
        """Raises UserError where it was trained at another sample rate, in hertz."""
        if self.checkpoint.sample_rate != sample_rate:
            raise UserError(f"{self.path}: is for {self.checkpoint.sample_rate} Hz, the set has {sample_rate} Hz")

    def require_stems(self, stems: Collection[str], prefix: str = "decoder.") -> None:
        """Raises UserError where it has no network of a stem."""
        names = [name.removeprefix(prefix) for name in self.checkpoint.networks if name.startswith(prefix)]
        missing = [stem for stem in stems if stem not in names]
        if missing:
            raise UserError(f"{self.path}: has no {prefix.rstrip('.')} of {missing[0]!r}; it has {', '.join(names)}")

    def require_branches(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Raises UserError where it does not translate each of these pairs of tracks."""
        found = [(branch.source, branch.target) for branch in self.checkpoint.branches]
        missing = [pair for pair in pairs if pair not in found]
        if missing:
            known = ", ".join(f"{source} to {target}" for source, target in found) or "nothing"
            source, target = missing[0]
            raise UserError(f"{self.path}: does not translate {source} to {target}; it translates {known}")

    def encoder(self, name: str = "encoder") -> MusicStarEncoder | UniversalEncoder:
        """A copy of one of its encoders.

        Raises:
            UserError: it has no encoder of that name.
        """
        config = self.checkpoint.networks.get(name)
        if not isinstance(config, EncoderConfig):
            raise UserError(f"{self.path}: has no encoder {name!r}")
        encoder = build_encoder(config)
        load_weights(encoder, self.checkpoint.weights[name])
        return encoder

    def decoder(self, name: str) -> WaveNetDecoder:
        """A copy of one of its decoders.

        Raises:
            UserError: it has no decoder of that name, or one that is not for mu-law codes.
        """
        config = self.checkpoint.networks.get(name)
        if not isinstance(config, DecoderConfig):
            raise UserError(f"{self.path}: has no decoder {name!r}")
        if config.classes != 256:
            raise UserError(f"{self.path}: its {name} has {config.classes} classes, not the 256 mu-law codes")
        decoder = WaveNetDecoder(config)
        load_weights(decoder, self.checkpoint.weights[name])
        return decoder
