"""The networks of Music-STAR in torch, for training; the native core runs what is trained here."""

from .backends import backend
from .by_stem import ByStem
from .classifier import DomainClassifier
from .decoder import WaveNetDecoder
from .encoder import MusicStarEncoder, UniversalEncoder
from .spectrum import SpectrumNetwork
from .weights import Network, build_encoder, build_network, load_weights, to_checkpoint_weights

__all__ = [
    "ByStem",
    "DomainClassifier",
    "MusicStarEncoder",
    "Network",
    "SpectrumNetwork",
    "UniversalEncoder",
    "WaveNetDecoder",
    "backend",
    "build_encoder",
    "build_network",
    "load_weights",
    "to_checkpoint_weights",
]
