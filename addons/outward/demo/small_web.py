"""The web that the demo's vendors search: four pages, and the answers that a model would write from them. Data only."""

from collections.abc import Sequence
from dataclasses import dataclass

QUESTION = "Has CVE-2025-50182 in urllib3 been patched? Which versions are safe?"
QUERY = "CVE-2025-50182 urllib3 patched version"


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page that can be found.

    Attributes:
        finding: what an answer says with this page as its source.
    """

    host: str
    path: str
    title: str
    finding: str

    @property
    def url(self) -> str:
        """The page's address."""
        return f"https://{self.host}{self.path}"


PAGES = (
    WebPage(
        "github.com",
        "/urllib3/urllib3/security/advisories/GHSA-48p4-8xcf-vxj5",
        "urllib3 does not control redirects in browsers and Node.js · GHSA-48p4-8xcf-vxj5",
        "Yes: CVE-2025-50182 is patched in urllib3 2.5.0.",
    ),
    WebPage(
        "nvd.nist.gov",
        "/vuln/detail/CVE-2025-50182",
        "NVD: CVE-2025-50182",
        "Affected are 2.2.0 and later versions before 2.5.0, where they run in Pyodide.",
    ),
    WebPage(
        "urllib3.readthedocs.io",
        "/en/stable/changelog.html",
        "Changelog · urllib3 documentation",
        "Use 2.5.0 or later; versions before 2.2.0 do not have this flaw.",
    ),
    WebPage(
        "exploits.example.net",
        "/urllib3",
        "urllib3 exploits, collected",
        "A collection of exploits says the same.",
    ),
)
FROM_MEMORY = (
    "I cannot search the web in this conversation, and this CVE is newer than what I was trained on. "
    "Please look at the project's advisories, or turn web search on."
)


def search(domains: Sequence[str] | None) -> list[WebPage]:
    """Return what a vendor finds under a domain filter: each entry means the name and every name below it."""
    if domains is None:
        return list(PAGES)
    return [page for page in PAGES if any(f".{page.host}".endswith(f".{domain}") for domain in domains)]
