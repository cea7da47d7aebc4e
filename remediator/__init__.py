"""Remediator turns Alertmanager notifications into guarded, verified and recorded remediation.

The spine: receive → match → guard → execute → verify → record. Start reading at `remediator.engine`.
"""

from importlib.metadata import version

__version__ = version("remediator")
