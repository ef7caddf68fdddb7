"""Replicas of the server on Ray Serve, with one memory in PostgreSQL: python ray_serve.py.

Needs pip install "echat-sdk[lite,server,postgres]" "ray[serve]", a store at ECHAT_STORE, a key
(echat keys new) and one ECHAT_HOME for all replicas. README.md here says how sessions find them.
"""

import os
import sys

# Ray reads it as it is imported: its makers are told nothing.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import atexit
from contextlib import ExitStack

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.applications import Starlette

from echat_sdk import config
from echat_sdk.cli.serve import opened
from echat_sdk.errors import ConfigError
from echat_sdk.server import rest
from echat_sdk.server.app import build
from echat_sdk.server.door import Access
from echat_sdk.server.keys import Keys
from echat_sdk.server.limits import Limits
from echat_sdk.server.metrics import Metrics
from echat_sdk.server.realtime.endpoint import Realtime
from echat_sdk.server.tickets import ClientSecrets

LIMITS = Limits(sessions=25, sessions_per_key=25)
"""Of one replica."""

HERE = "127.0.0.1"
"""Where Ray listens; beyond this machine only behind a proxy that does TLS."""


def replica() -> Starlette:
    """One server with a model of its own; all of them keep in one store."""
    settings, metrics, open_until_the_end = config.load({}), Metrics(), ExitStack()
    keys = Keys(settings.home / "server-keys.json")
    if not len(keys):
        raise ConfigError("nobody could call: make a key with echat keys new NAME")
    service = open_until_the_end.enter_context(opened(settings))
    atexit.register(open_until_the_end.close)
    return build(
        service,
        access=Access(ClientSecrets(LIMITS.secrets, LIMITS.secrets_per_key), keys),
        limits=LIMITS,
        metrics=metrics,
        realtime=Realtime(service, LIMITS, metrics),
        routes=rest.routes(service),
    )


app = serve.deployment(
    serve.ingress(replica)(),
    name="echat",
    num_replicas=int(os.environ.get("ECHAT_REPLICAS", "2")),
    max_ongoing_requests=LIMITS.sessions + LIMITS.requests,
    ray_actor_options={"num_cpus": 1},
    request_router_config=RequestRouterConfig(
        request_router_class="ray.serve.experimental.consistent_hash_router.ConsistentHashRouter",
        # Elsewhere a client secret would be unknown: who finds their replica full waits for it.
        request_router_kwargs={"num_fallback_replicas": 0},
    ),
).bind()


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 8080
    if "RAY_ADDRESS" not in os.environ:  # a cluster of this machine alone
        ray.init(include_dashboard=False)
    serve.start(http_options={"host": HERE, "port": port})
    serve.run(app, blocking=True)
