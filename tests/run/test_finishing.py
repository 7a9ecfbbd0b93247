import threading

import pytest

from hybrid_batch.inference.runner.drain import Finishing, TooLate
from tests.conftest import HANG_S


def test_it_is_left_when_the_work_is_done_and_lets_none_begin_later():
    begun, gate, done = threading.Event(), threading.Event(), threading.Event()
    finishing = Finishing()

    def work():
        with finishing.work():
            begun.set()
            gate.wait(HANG_S)
            done.set()

    with pytest.raises(KeyboardInterrupt), finishing:
        threading.Thread(target=work).start()
        assert begun.wait(HANG_S)
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert done.is_set()
    with pytest.raises(TooLate), finishing.work():
        pytest.fail("it began after all")
