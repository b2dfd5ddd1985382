"""A pytest plugin for runs in which SlipCover counts lines: it leaves SlipCover's probes where they are.

A probe that was passed so and so often is removed, which means a search for its function through all modules that
are loaded. In processes as large as these one removal takes longer than all probes together in a whole run: 55 tests
took 43 s of processor time without counting, 45 with probes that stay, and several times as much with SlipCover's 50.
Its setting for this (``threshold``) is not handed to the processes of pytest-xdist.
"""

from __future__ import annotations

from slipcover import pytest_plugin

if pytest_plugin._slipcover_instance is not None:  # in a process that runs tests; in the one that leads them it is None
    pytest_plugin._slipcover_instance.d_miss_threshold = 2**31 - 1
