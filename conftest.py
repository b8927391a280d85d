"""What all tests rely on."""

from __future__ import annotations

import signal

pytest_plugins = ["run_report"]

# A script's shell starts its background jobs with SIGINT ignored, and every process below inherits that: a test of
# Ctrl-C would wait for ever there. A handler, unlike an ignored signal, is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
