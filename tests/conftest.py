"""What all tests share."""

from __future__ import annotations

import logging

import structlog

# The daemon's narration would mix with what commands print.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
