"""The HTTP client of the commands: finds the gateway's URL and key, and makes JSON calls.

Owns the error messages of failed calls. Must not know the endpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

_ANSWER_SECONDS = 60.0  # our choice: a batch of 1,000 is committed within a second; the rest is for a busy gateway


class CallFailed(Exception):
    """A call failed or was refused. The message is one line for the terminal.

    ``status`` is 0 where there was no answer; ``errors`` are the problem's, with their pointers.
    """

    def __init__(self, line: str, status: int = 0, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(line)
        self.status = status
        self.errors = errors


@dataclass(frozen=True, slots=True)
class ApiTarget:
    """A gateway's address and an API key for it."""

    url: str
    key: str = field(repr=False)

    def session(self) -> aiohttp.ClientSession:
        """A session that carries the key. Close it."""
        import aiohttp  # a fifth of a second, which commands that call nobody avoid

        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.key}", "Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        )


def find(url: str, key: str, data_dir: Path) -> ApiTarget:
    """The target of the options and the environment, or else the running demo. Raises CallFailed."""
    if url and key:
        return ApiTarget(url.rstrip("/"), key)
    try:
        demo = json.loads((data_dir / "demo.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        missing = "--url (GATEWAY_URL)" if not url else "--key (GATEWAY_API_KEY)"
        raise CallFailed(f"{missing} is missing, and no demo is up in {data_dir}") from None
    if url and url.rstrip("/") != demo["url"]:
        # The demo's key must not be sent to another gateway.
        raise CallFailed("--key (GATEWAY_API_KEY) is missing")
    return ApiTarget(demo["url"], key or demo["api_key"])


async def call(
    session: aiohttp.ClientSession,
    target: ApiTarget,
    path: str,
    body: Any = None,
    *,
    method: str = "",
    headers: Mapping[str, str] | None = None,
) -> Any:
    """GET, or POST where there is a body; the JSON answer. Raises CallFailed, also for a problem answer."""
    import aiohttp

    method = method or ("GET" if body is None else "POST")
    try:
        async with session.request(method, target.url + path, json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CallFailed(f"{target.url} does not answer ({type(error).__name__}): is the gateway up?") from error
    except ValueError:
        raise CallFailed(f"{target.url}{path} answered {response.status} with something that is not JSON") from None
    if response.status >= 400:
        errors = answer.get("errors") or [] if isinstance(answer, Mapping) else []
        raise CallFailed(problem_line(response.status, answer), response.status, errors)
    return answer


async def download(session: aiohttp.ClientSession, target: ApiTarget, path: str) -> bytes:
    """GET of a file. Raises CallFailed, also for a problem answer."""
    import aiohttp

    try:
        async with session.get(target.url + path, headers={"Accept": "*/*"}) as response:
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CallFailed(f"{target.url} does not answer ({type(error).__name__}): is the gateway up?") from error
    if response.status >= 400:
        try:
            problem = json.loads(content)
        except ValueError:
            problem = None
        raise CallFailed(problem_line(response.status, problem), response.status)
    return content


def problem_line(status: int, problem: Any) -> str:
    """A problem answer (RFC 9457) as one line."""
    if not isinstance(problem, Mapping):
        return f"the gateway answered {status}"
    title = str(problem.get("title") or f"the gateway answered {status}")
    detail = str(problem.get("detail") or "")
    errors = [f"{dotted(each.get('pointer', ''))}: {each.get('detail', '')}" for each in problem.get("errors") or []]
    words = list(filter(None, (title, detail)))
    if errors:  # "The request is not valid. Fix these fields: value: there is no such channel"
        words = [f"{'. '.join(words).rstrip('.')}: {'; '.join(errors)}"]
    # Findings for a template's text, and the callers that publishing it would break.
    words += [f"{each['where']}:{each['line']}: {each['detail']}" for each in problem.get("findings") or []]
    for each in problem.get("consequences") or []:
        callers = [f"{one['client']} {one['name']} ({one['requests']} requests)" for one in each["callers"]]
        words.append(each["detail"] + (f"; it would break {', '.join(callers)}" if callers else ""))
    return "; ".join(words)


def dotted(pointer: str) -> str:
    """A JSON pointer into a request, or into a batch of them, as a dotted path."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]  # RFC 6901 section 4
    if len(parts) >= 2 and parts[0] in ("notifications", "cases") and parts[1].isdecimal():
        parts = parts[2:]
    return ".".join(parts)
