"""Checks Redis or Valkey: reachable, version, primary, memory, and the eviction policy noeviction."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gateway.app.settings import Settings
from gateway.cli.doctor.finding import CheckResult, error, ok, skipped, warning
from gateway.core.errors import Unavailable
from gateway.queue.connection import connect
from gateway.queue.rights import refusal, server_info

_OLDEST = (6, 2)  # Redis 6.2 has all commands that the scripts and arq use
_FULL = 0.8  # our choice
_TIMEOUT_SECONDS = 3.0


async def check(settings: Settings) -> list[CheckResult]:
    """Problems of the server of GATEWAY_REDIS_URL."""
    if not settings.redis_url:
        return [skipped("redis", "the embedded Valkey is started, set up and ended by gateway serve")]
    remedy = "check GATEWAY_REDIS_URL, the server, and the network between"
    try:
        redis = connect(settings.redis_url, timeout=_TIMEOUT_SECONDS, retries=0)
    except ValueError as wrong:
        return [error("redis.reachable", str(wrong), remedy)]
    try:
        refused = await refusal(redis)
        info = None if refused else await server_info(redis)
    except Unavailable as broken:
        return [error("redis.reachable", f"no answer ({broken})", remedy)]
    finally:
        with suppress(Exception):
            await redis.aclose()
    if refused:
        what = f"Redis refuses {refused}: no process starts"
        return [error("redis.rights", what, 'grant it: "Redis\' rights" in ops/deploy/README.md has the ACL rule')]
    if info is None:
        what = "INFO is refused, so version, role, memory and eviction can't be looked at"
        return [warning("redis.info", what, "ACL SETUSER … +info: only gateway doctor uses it")]
    return judge(info)


def judge(info: Mapping[str, Any]) -> list[CheckResult]:
    """Problems shown by the output of INFO."""
    found: list[CheckResult] = []
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        found.append(error("redis.version", f"Redis {version} is too old", "use Redis 6.2, or any Valkey"))
    if info.get("role") not in (None, "master"):
        what = "this is a replica: it takes no writes"
        found.append(error("redis.role", what, "point GATEWAY_REDIS_URL at the primary, or at Sentinel: sentinel://…"))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        what = f"maxmemory-policy is {policy}: a full Redis would silently forget triggers and providers' rates"
        found.append(error("redis.eviction", what, "CONFIG SET maxmemory-policy noeviction, and in its configuration"))
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > _FULL * limit:
        what = f"{used / limit:.0%} of maxmemory is used"
        found.append(warning("redis.memory", what, "raise maxmemory, or find what else uses this Redis"))
    if info.get("rdb_last_bgsave_status", "ok") != "ok" or info.get("aof_last_write_status", "ok") != "ok":
        what = "Redis can't save to its disk, and then refuses writes"
        found.append(
            error("redis.persistence", what, "free its disk; or turn saving off: nothing in it is needed later")
        )
    if found:
        return found
    kept = "kept on disk" if info.get("aof_enabled") else "not kept on disk, which is fine: the ledger is the truth"
    return [ok("redis", f"version {version}, noeviction, {used / 1e6:.0f} MB used; {kept}")]
