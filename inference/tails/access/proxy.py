"""The HTTP proxy that the environment sets for a tail: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, except for NO_PROXY."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.tails.access.auth import basic_credentials, is_loopback


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` has no user name and password; `headers` authenticate with them."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


def find_proxy(url: Url) -> Proxy | None:
    """The proxy for requests to a URL; None for loopback addresses. Raises WrongUsage for an invalid proxy."""
    if is_loopback(url) or proxy_bypass(url.netloc or ""):
        return None
    proxies = getproxies()
    setting = proxies.get(url.scheme or "") or proxies.get("all")
    if not setting:
        return None
    try:
        proxy = parse_url(setting if "://" in setting else f"http://{setting}")
    except LocationParseError:
        proxy = Url()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise WrongUsage(
            f"The environment's proxy for {url.scheme}://{url.netloc} is not http://HOST:PORT; correct or unset "
            f"{(url.scheme or '').upper()}_PROXY and ALL_PROXY, or name the host in NO_PROXY."
        )
    headers = {"Proxy-Authorization": basic_credentials(proxy.auth)} if proxy.auth else {}
    return Proxy(proxy._replace(auth=None).url, headers)
