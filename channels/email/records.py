"""Checks the DNS records of a sender's domains: SPF, DKIM, DMARC, and the MX records of the return path.

Owns the advice for missing ones: Google, Yahoo and Microsoft refuse or hide bulk mail without these records.
"""

from __future__ import annotations

from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from channels.base import Advice

_SECONDS = 3.0  # per query; our choice


async def advice(
    sender_domain: str,
    return_domain: str,
    signing_domain: str = "",
    dkim_selector: str = "",
    resolver: dns.asyncresolver.Resolver | None = None,
) -> list[Advice]:
    """The records to add for the domains of From, of the return path and of the signatures (where there are any)."""
    asked = _Asked(resolver)
    if not await asked.reachable(return_domain):
        return [Advice(f"the DNS can't be asked about {return_domain}", "run it where the DNS can be reached")]
    found: list[Advice] = []
    if not any(each.lower().startswith("v=spf1") for each in await asked.texts(return_domain)):
        what = f"{return_domain} has no SPF record (RFC 7208): receivers can't tell that the relay may send for it"
        found.append(Advice(what, f'add a TXT record to {return_domain}: "v=spf1 … -all", with the relay in it'))
    if not await asked.exchanges(return_domain):
        what = f"{return_domain} has no MX record: bounces and complaints have nowhere to go"
        found.append(Advice(what, "add one that leads to the server that hands reports on to this gateway"))
    if not any(each.startswith("v=DMARC1") for each in await asked.texts(f"_dmarc.{sender_domain}")):
        what = f"_dmarc.{sender_domain} has no DMARC record (RFC 7489): anybody may write in your name"
        found.append(Advice(what, 'add a TXT record, at first "v=DMARC1; p=none; rua=mailto:…"'))
    key = f"{dkim_selector}._domainkey.{signing_domain}"
    if dkim_selector and not await asked.texts(key):
        what = f"{key} has no key: our signatures can't be checked, and count as broken"
        found.append(Advice(what, 'add a TXT record "v=DKIM1; k=rsa; p=…" with the public key'))
    return found


class _Asked:
    """DNS queries; NXDOMAIN and NODATA both return an empty result."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None) -> None:
        self._resolver = resolver

    async def reachable(self, domain: str) -> bool:
        """Whether a DNS server answers; NXDOMAIN is an answer, too."""
        try:
            self._resolver = self._resolver or dns.asyncresolver.Resolver()
            self._resolver.lifetime = _SECONDS
            await self._resolver.resolve(domain, "SOA", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return True
        except (dns.exception.DNSException, OSError):
            return False
        return True

    async def texts(self, name: str) -> list[str]:
        return [b"".join(each.strings).decode("ascii", "replace") for each in await self._records(name, "TXT")]

    async def exchanges(self, name: str) -> list[str]:
        return [str(each.exchange) for each in await self._records(name, "MX")]

    async def _records(self, name: str, kind: str) -> list[Any]:
        assert self._resolver is not None
        try:
            return list(await self._resolver.resolve(name, kind))
        except (dns.exception.DNSException, OSError):
            return []
