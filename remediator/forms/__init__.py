"""Forms: pydantic models of what people write in YAML. Here is what all of them share, and what rules and configuration do."""

from remediator.forms.form import (
    Duration,
    Form,
    LimitSpan,
    LimitText,
    faults_of,
    found,
    parse_limit,
    schema_of,
    unknown_key,
    wrong_type,
)

__all__ = [
    "Duration",
    "Form",
    "LimitSpan",
    "LimitText",
    "faults_of",
    "found",
    "parse_limit",
    "schema_of",
    "unknown_key",
    "wrong_type",
]
