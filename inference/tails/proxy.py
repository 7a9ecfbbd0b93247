"""The proxy that the environment puts before a tail: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, less those of NO_PROXY."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.tails.auth import basic, on_this_machine


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` without user name and password, which are in `headers`."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def find_proxy(url: Url) -> Proxy | None:
    """The proxy before a server; none stands before this machine. Raises WrongUsage for one that cannot be used."""
    if on_this_machine(url) or proxy_bypass(url.netloc or ""):
        return None
    proxies = getproxies()
    told = proxies.get(url.scheme or "") or proxies.get("all")
    if not told:
        return None
    try:
        proxy = parse_url(told if "://" in told else f"http://{told}")
    except LocationParseError:
        proxy = Url()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise WrongUsage(
            f"The environment's proxy for {url.scheme}://{url.netloc} is no http://HOST:PORT; correct or unset "
            f"{(url.scheme or '').upper()}_PROXY and ALL_PROXY, or name the host in NO_PROXY."
        )
    headers = {"Proxy-Authorization": basic(proxy.auth)} if proxy.auth else {}
    return Proxy(proxy._replace(auth=None).url, headers)
