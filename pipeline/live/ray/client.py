"""Ray's transport for the classifier client."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from pipeline.errors import ServiceError
from pipeline.live.client import Reply


class RayReply:
    """The result of an actor's method."""

    def __init__(self, reference: ray.ObjectRef[Any], replica: str) -> None:
        self._reference, self._replica = reference, replica

    def is_ready(self) -> bool:
        """See `pipeline.live.client.Reply`."""
        ready, _ = ray.wait([self._reference], timeout=0)
        return bool(ready)

    def result(self, timeout_s: float) -> Any:
        """See `pipeline.live.client.Reply`."""
        try:
            return ray.get(self._reference, timeout=timeout_s)
        except GetTimeoutError as error:
            raise TimeoutError from error
        except RayActorError as error:
            raise ServiceError("the replica has died", self._replica, "wait") from error

    def cancel(self) -> None:
        """See `pipeline.live.client.Reply`."""
        ray.cancel(self._reference)


class RayTransport:
    """Calls replicas by the names of their actors."""

    def __init__(self) -> None:
        self._handles: dict[str, ActorHandle] = {}

    def send(self, replica: str, method: str, *arguments: Any) -> Reply:
        """See `pipeline.live.client.Transport`."""
        if replica not in self._handles:
            try:
                # A handle outlives the restarts of its actor.
                self._handles[replica] = ray.get_actor(replica)
            except ValueError as error:
                raise ServiceError("no such replica", replica, "wait") from error
        return RayReply(getattr(self._handles[replica], method).remote(*arguments), replica)
