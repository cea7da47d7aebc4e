"""What is read of the API's objects: the fields that decisions hang on, so that one that is missing is noticed.

Source: the Kubernetes API reference; counters of a `status` are left out by the API server where they are zero (Go's
`omitempty`), so for these alone no value means 0.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Object(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Base: names are written in camel case there."""


class Owner(Object, frozen=True):
    """An `OwnerReference`."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class Metadata(Object, frozen=True):
    """An `ObjectMeta`."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    @property
    def controller(self) -> Owner | None:
        """Give the one that made it and would make it anew."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class Condition(Object, frozen=True):
    """One of a status's `conditions`."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class AnyObject(Object, frozen=True):
    """Any object."""

    metadata: Metadata


class ContainerStatus(Object, frozen=True):
    """How a container of a pod is."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: dict[str, Any] = {}


class PodStatus(Object, frozen=True):
    """A pod's status."""

    phase: str
    container_statuses: tuple[ContainerStatus, ...] = ()


class PodSpec(Object, frozen=True):
    """What a pod should be."""

    node_name: str | None = None
    volumes: tuple[dict[str, Any], ...] = ()


class Pod(Object, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec
    status: PodStatus


class NodeSpec(Object, frozen=True):
    """What a node should be."""

    unschedulable: bool = False  # left out where it is false


class Node(Object, frozen=True):
    """A node."""

    metadata: Metadata
    spec: NodeSpec


class Meta(Object, frozen=True):
    """A list's metadata."""

    continue_: str = msgspec.field(default="", name="continue")
    remaining_item_count: int = 0
