"""Limits in time for every test here, and signals as a terminal's shell gives them."""

from __future__ import annotations

import os
import signal
import time

import pytest

#: Seconds for one test, and for all tests of a session together.
LIMIT = 150
BUDGET = float(os.environ.get("FAULTS_SECONDS", "900"))
_START = time.monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    left = BUDGET - (time.monotonic() - _START)
    if left <= 0:
        pytest.fail(f"{item.nodeid} was not run: the others took {BUDGET:g} s (FAULTS_SECONDS)")
    limit = min(LIMIT, left)

    def give_up(*_):
        pytest.fail(f"{item.nodeid} took longer than {limit:.0f} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _signals_as_usual():
    """A shell's background job ignores interrupts, nohup hang-ups; both would be inherited."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
