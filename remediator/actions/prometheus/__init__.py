"""Prometheus's HTTP API, and what speaks it: Thanos, Mimir, VictoriaMetrics.

One file has the queries, one the targets, one what they share. The requests and answers are those of Prometheus's manual,
"HTTP API": "Instant queries", "Range queries", "Targets".
"""

from __future__ import annotations

from typing import Any

from remediator.actions.prometheus.queries import (
    PrometheusQuery,
    PrometheusQueryRange,
    QueryParameters,
    RangeParameters,
)
from remediator.actions.prometheus.targets import PrometheusTargets, TargetsParameters
from remediator.actions.protocol import Action

ACTIONS: tuple[Action[Any], ...] = (PrometheusQuery(), PrometheusQueryRange(), PrometheusTargets())

__all__ = [
    "ACTIONS",
    "PrometheusQuery",
    "PrometheusQueryRange",
    "PrometheusTargets",
    "QueryParameters",
    "RangeParameters",
    "TargetsParameters",
]
