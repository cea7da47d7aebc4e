"""The metrics of the daemon: names are a contract (`interfaces.md`). No label takes a value that an alert can choose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

REGISTRY = CollectorRegistry()

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900)

NOTIFICATIONS = Counter(
    "remediator_notifications", "Webhook bodies, by what became of them.", ["result"], registry=REGISTRY
)
ALERTS = Counter("remediator_alerts", "Alerts in accepted bodies.", ["status"], registry=REGISTRY)
DECISIONS = Counter(
    "remediator_decisions", "What became of proposed runs.", ["rule", "outcome", "reason"], registry=REGISTRY
)
RUNS = Counter("remediator_runs", "Runs that have ended.", ["rule", "mode", "state"], registry=REGISTRY)
RUNS_OPEN = Gauge("remediator_runs_open", "Runs that have not ended.", ["state"], registry=REGISTRY)
STEP_SECONDS = Histogram(
    "remediator_step_seconds", "How long steps took.", ["action"], buckets=_SLOW, registry=REGISTRY
)
STEP_FAILURES = Counter("remediator_step_failures", "Steps that failed.", ["action"], registry=REGISTRY)
INGEST_SECONDS = Histogram(
    "remediator_ingest_seconds", "Webhook received until answered.", buckets=_FAST, registry=REGISTRY
)
REACTION_SECONDS = Histogram(
    "remediator_reaction_seconds", "Webhook received until the first step started.", buckets=_FAST, registry=REGISTRY
)
LOOP_LAG = Histogram(
    "remediator_loop_lag_seconds", "How late the daemon comes to what is due.", buckets=_FAST, registry=REGISTRY
)
GUARD_REFUSALS = Counter("remediator_guard_refusals", "Runs that a guard refused.", ["guard"], registry=REGISTRY)
RULES_LOADED = Gauge("remediator_rules_loaded", "Rules in force.", registry=REGISTRY)
RULES_RELOAD_SUCCESS = Gauge(
    "remediator_rules_reload_success", "1 if the last reload of the rules was good.", registry=REGISTRY
)
RULES_RELOAD_TIMESTAMP = Gauge(
    "remediator_rules_reload_timestamp_seconds", "When rules were last loaded well.", registry=REGISTRY
)
CONTROLS = Gauge(
    "remediator_controls",
    "Controls in force, by kind: pauses, modes, open breakers, a storm.",
    ["kind"],
    registry=REGISTRY,
)
PAUSED = Gauge("remediator_paused", "Pauses in force.", registry=REGISTRY)
OUTBOX = Gauge("remediator_outbox_messages", "Notifications that could not be sent, and are kept.", registry=REGISTRY)
REPLICAS = Gauge("remediator_replicas", "Daemons over this store that were heard of lately.", registry=REGISTRY)
REPLICAS_WITH_OTHER_RULES = Gauge(
    "remediator_replicas_with_other_rules", "Of these, how many decide by other rules than this one.", registry=REGISTRY
)
HEARTBEAT_TIMESTAMP = Gauge(
    "remediator_heartbeat_timestamp_seconds", "When the last heartbeat was taken by the other end.", registry=REGISTRY
)
HEARTBEAT_FAILURES = Counter(
    "remediator_heartbeat_failures", "Heartbeats that were due, and were not sent or not taken.", registry=REGISTRY
)
STORE_UP = Gauge("remediator_store_up", "1 if the store takes writes.", registry=REGISTRY)
LAST_NOTIFICATION = Gauge(
    "remediator_last_notification_timestamp_seconds", "When the last notification came.", registry=REGISTRY
)
AUDIT_EVENTS = Gauge(
    "remediator_audit_events",
    "Number of the newest event of this daemon's history, when its head was last published.",
    ["chain"],
    registry=REGISTRY,
)
AUDIT_HEAD = Info(
    "remediator_audit_head", "The hash of that event: the head, in the label `hash`.", ["chain"], registry=REGISTRY
)
BUILD = Info("remediator_build", "Which version this is.", registry=REGISTRY)
