"""What the fake of Kubernetes does with objects: merges, patches, selectors, the API server's `Status`."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from fakes.fake import Refusal

Object = dict[str, Any]

_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict",
    415: "UnsupportedMediaType", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
}  # fmt: skip


def pod_template(app: str, image: str) -> Object:
    """Give a pod template."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": app, "image": image}]}}


def status_of(status: int, message: str) -> Object:
    """Give the `Status` of an error."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": _REASONS.get(status, "Unknown"), "code": status,
    }  # fmt: skip


def budget_status(budget: str) -> Object:
    """Give the `Status` by which a disruption budget forbids an eviction."""
    said = {
        "reason": "DisruptionBudget",
        "message": f"The disruption budget {budget} needs 2 healthy pods and has 2 currently",
    }
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return {**status_of(429, message), "details": {"causes": [said]}}


def parsed(body: str) -> Any:
    """Give a body as JSON. Raises Refusal."""
    try:
        return json.loads(body)
    except ValueError:
        raise Refusal(400, "the body is no JSON") from None


def merge(found: Any, patch: Any, *, strategic: bool) -> Any:
    """Merge as RFC 7386 does; a strategic one puts items of lists together by name."""
    if (
        strategic
        and isinstance(found, list)
        and isinstance(patch, list)
        and all("name" in each for each in [*found, *patch])
    ):
        by_name = {each["name"]: each for each in found}
        for each in patch:
            by_name[each["name"]] = merge(by_name.get(each["name"], {}), each, strategic=True)
        return list(by_name.values())
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value, strategic=strategic)
    return merged


def json_patched(found: Object, patch: Any) -> Object:
    """Apply a JSON Patch (RFC 6902) of `test`, `add` and `replace`."""
    after = copy.deepcopy(found)
    for each in patch:
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:]]
        at = after
        for part in above:
            at = at[part]
        if each["op"] == "test" and at.get(last) != each["value"]:
            raise Refusal(422, f"testing path {each['path']} value failed")
        if each["op"] == "replace" and last not in at:
            raise Refusal(422, f"replace operation does not apply: {each['path']} is missing")
        if each["op"] in {"add", "replace"}:
            at[last] = each["value"]
    return after


def labelled(found: Object, selector: str) -> bool:
    """Tell whether a label selector matches."""
    labels = found["metadata"].get("labels", {})
    for each in filter(None, re.split(r",(?![^(]*\))", selector)):
        requirement = each.strip()
        if read := re.fullmatch(r"(\S+) (in|notin) \(([^)]*)\)", requirement):
            inside = labels.get(read[1]) in {value.strip() for value in read[3].split(",")}
            if inside is not (read[2] == "in"):
                return False
        elif read := re.fullmatch(r"([^=!\s]+)\s*(==?|!=)\s*(\S*)", requirement):
            if (labels.get(read[1]) == read[3]) is (read[2] == "!="):
                return False
        elif (requirement.lstrip("!") in labels) is requirement.startswith("!"):
            return False
    return True


def fielded(found: Object, selector: str) -> bool:
    """Tell whether a field selector matches."""
    for each in filter(None, selector.split(",")):
        path, sign, wanted = re.fullmatch(r"([^=!]+)(==?|!=)(.*)", each).groups()  # type: ignore[union-attr]
        value: Any = found
        for part in path.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        if (str(value) == wanted) is (sign == "!="):
            return False
    return True
