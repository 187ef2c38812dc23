"""A plain client of the log's server, with nothing done behind the caller's back."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(url: str, *, connect_timeout_s: float = 0.5, reply_timeout_s: float = 5.0) -> redis.Redis:
    """A client for checks, scripts and reading; it connects at its first command.

    No retries: redis-py's default of ten sends an XADD again when a reply is lost, and so appends it twice.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=reply_timeout_s,
        health_check_interval=0,
        decode_responses=False,
    )
