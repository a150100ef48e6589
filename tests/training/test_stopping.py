import signal

import pytest

from musicstar_ext.training.stopping import StopRequest


@pytest.mark.parametrize(("number", "interrupted"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_is_noted_and_the_next_one_obeyed(number, interrupted):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        assert stop.interrupted is interrupted
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_time_limit():
    with StopRequest(max_minutes=1e-9) as stop:
        assert stop.requested
        assert not stop.interrupted
    with StopRequest() as stop:
        assert stop.seconds_left == float("inf")
