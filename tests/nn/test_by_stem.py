import torch

from musicstar_ext.architecture import EncoderConfig
from musicstar_ext.nn import ByStem, build_encoder

CONFIG = EncoderConfig(blocks=1, layers=1, channels=4, code_channels=2, pool=10)


def test_any_name_will_do():
    names = ["keys", "items", "a.b", "1", "training"]
    networks = {name: build_encoder(CONFIG) for name in names}
    module = ByStem(networks)
    assert list(module.items()) == list(networks.items())
    assert all(module[name] is networks[name] for name in names)
    assert list(module.named("decoder")) == [f"decoder.{name}" for name in names]


def test_is_a_module_with_the_weights_of_all():
    module, other = (ByStem({name: build_encoder(CONFIG) for name in "ab"}) for _ in range(2))
    assert len(list(module.parameters())) == 2 * len(list(build_encoder(CONFIG).parameters()))
    other.load_state_dict(module.state_dict())
    codes = torch.randint(0, 256, (1, 20))
    assert torch.equal(module["b"](codes), other["b"](codes))
    assert not torch.equal(module["a"](codes), other["b"](codes))
