"""Checkpoints that others have published, brought into this package's format.

The layout is that of facebookresearch/music-translation, which mahshidaln/Music-STAR took over: a file written by
`torch.save` with a dictionary of state dictionaries, and beside it `args.pth` with the settings of the training.

| key | value |
|---|---|
| `encoder_state` | the encoder of Fig. 4a, or of Fig. 4b where its layers have an `extra` |
| `decoder_state` | a WaveNet decoder |
| `decoder2_state` | a second one, of models that play two stems |

torch is needed here, to read them, and nowhere else in `checkpoints`.
"""

from .assembly import DEFAULT_LEVEL, Wanted, import_checkpoints

__all__ = ["DEFAULT_LEVEL", "Wanted", "import_checkpoints"]
