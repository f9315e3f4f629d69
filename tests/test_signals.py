"""vaejax.study.signals: the first signal is noted, the second one ends the process."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from vaejax.study import signals


@pytest.fixture
def _stops(monkeypatch: pytest.MonkeyPatch):
    """A SIGTERM and a SIGUSR1 that is not noted raises an error instead of ending the process. A
    SIGINT raises KeyboardInterrupt, also where the tests were started with SIGINT ignored."""

    def stop(number: int, _: object) -> None:
        raise InterruptedError(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, ten seconds at most. Python runs a handler between two steps of
    the main thread, whichever thread the signal has come to."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in signals.HEEDED]


@pytest.mark.usefixtures("_stops")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_the_first_signal_is_noted_and_told(number: signal.Signals, capsys) -> None:
    before = handlers()
    with signals.deferred() as stopped_by:
        assert stopped_by() is None
        send(number)
        wait_for(stopped_by)
        assert stopped_by() == stopped_by() == number
    assert handlers() == before
    told = "stopping after this epoch; a second signal stops at once\n"
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("_stops")
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("second", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, InterruptedError),
        (signal.SIGUSR1, InterruptedError),
    ],
)
def test_the_second_signal_stops_at_once(
    first: signal.Signals, second: signal.Signals, error: type[BaseException]
) -> None:
    before = handlers()
    with pytest.raises(error), signals.deferred() as stopped_by:  # noqa: PT012
        send(first)
        wait_for(stopped_by)  # two signals at once may arrive as one
        send(second)
        wait_for(lambda: False)
    assert handlers() == before


@pytest.mark.usefixtures("_stops")
def test_without_a_signal_all_is_as_before() -> None:
    before = handlers()
    with signals.deferred() as stopped_by:
        assert handlers() != before
        assert stopped_by() is None
    assert handlers() == before
    with pytest.raises(InterruptedError, match="SIGTERM"):  # noqa: PT012
        send(signal.SIGTERM)
        wait_for(lambda: False)
