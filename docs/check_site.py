"""Looks at every page of the built site in a real browser, on a desktop and on a phone.

    python -m mkdocs build --strict
    python docs/check_site.py site [--pictures FOLDER]

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`). A page must ask nothing of any other
host, log nothing to the console, show every image and formula, and fit the width of the screen, with every column of
a table of up to three and every line of a program in sight. Ends with 1 if one does not.
`--pictures` keeps a screenshot of each page on each screen.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# width and height in CSS pixels, whether it is a phone, and the scheme that the reader prefers
SCREENS = {"desktop": (1280, 900, False, "light"), "phone": (390, 844, True, "dark")}
LOOK = """
const broken = [...document.images].filter(x => !x.complete || !x.naturalWidth).map(x => 'image ' + x.src);
const bare = [...document.querySelectorAll('.arithmatex')].filter(x => !x.querySelector('.katex'));
const wrong = [...document.querySelectorAll('.katex-error')];
const formulas = [...bare, ...wrong].map(x => 'formula ' + x.textContent.slice(0, 60));
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const spills = x => x.scrollWidth > x.clientWidth + 1;
const narrow = x => spills(x) && !x.querySelector('tr > :nth-child(4)');
const tables = [...document.querySelectorAll('.md-typeset__scrollwrap')].filter(narrow)
  .map(x => 'columns out of sight in the table ' + x.innerText.slice(0, 60));
const programs = [...document.querySelectorAll('.highlight:not(.language-text) pre > code')].filter(spills);
const cut = programs.map(x => 'lines out of sight in the program ' + x.innerText.slice(0, 60));
const hidden = [...tables, ...cut];
return [...broken, ...formulas, ...hidden, ...(wide > 1 ? ['page is ' + wide + ' pixels wider than the screen'] : [])];
"""


class Browser:
    """A headless Chromium behind its driver, in the words of the WebDriver protocol."""

    def __init__(self, driver: str, screen: tuple[int, int, bool, str], profile: str) -> None:
        width, height, phone, scheme = screen
        options: dict[str, Any] = {"args": [*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"]}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        made = _post(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"{driver}/session/{made['sessionId']}"
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.ask("goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params=media)
        self.show("about:blank")
        for kind in ("browser", "performance"):
            self.ask("se/log", type=kind)  # forgets the page that the browser itself begins with

    def ask(self, path: str, **body: Any) -> Any:
        """One command of the protocol, e.g. `ask("url", url=...)`."""
        return _post(f"{self.session}/{path}", body)

    def run(self, script: str) -> Any:
        """The value that a script returns inside the page."""
        return self.ask("execute/sync", script=script, args=[])

    def show(self, address: str) -> None:
        """Opens a page and waits until it has loaded all that it asks for."""
        self.ask("url", url=address)
        end = time.monotonic() + 60
        while not self.run(f"return document.readyState == 'complete' && location.href == {json.dumps(address)}"):
            if time.monotonic() > end:
                raise TimeoutError(f"{address} did not load within a minute")
            time.sleep(0.05)

    def picture(self) -> bytes:
        """A PNG of what is on the screen."""
        with urllib.request.urlopen(f"{self.session}/screenshot") as answer:
            return base64.b64decode(json.load(answer)["value"])

    def close(self) -> None:
        """Ends the browser."""
        urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE")).close()


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of the site, served from this machine."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser(screen: str) -> Iterator[Browser]:
    """A browser with one of the screens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [shutil.which("chromedriver") or "chromedriver", f"--port={port}", "--log-level=OFF"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with ExitStack() as end, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        end.callback(driver.wait)
        end.callback(driver.terminate)
        _wait(port)
        opened = Browser(f"http://127.0.0.1:{port}", SCREENS[screen], profile)
        try:
            yield opened
        finally:
            opened.close()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("chromedriver does not answer")


def look(opened: Browser, home: str, page: str) -> list[str]:
    """Problems of one page, in words; nothing if there are none."""
    opened.show(f"{home}/{page}")
    found: list[str] = opened.run(LOOK)
    found += [f"console {entry['message']}" for entry in opened.ask("se/log", type="browser")]
    for entry in opened.ask("se/log", type="performance"):
        event = json.loads(entry["message"])["message"]
        details = event["params"]
        if event["method"] == "Network.requestWillBeSent":
            address = details["request"]["url"]
            if not address.startswith((home, "data:", "blob:")):
                found.append(f"request to {address}")
        elif event["method"] == "Network.responseReceived" and details["response"]["status"] >= 400:
            found.append(f"{details['response']['status']} for {details['response']['url']}")
    return found


def pages(site: Path) -> list[str]:
    """The addresses of all pages, below that of the site."""
    return sorted(path.relative_to(site).as_posix().removesuffix("index.html") for path in site.rglob("*.html"))


def check(site: Path, pictures: Path | None = None) -> dict[str, list[str]]:
    """Every page on every screen: `SCREEN PAGE` to what is wrong with it."""
    found = {}
    with served(site) as home:
        for screen in SCREENS:
            with browser(screen) as opened:
                for page in pages(site):
                    found[f"{screen} {page}"] = look(opened, home, page)
                    if pictures is not None:
                        name = page.strip("/").replace("/", "-") or "home"
                        pictures.mkdir(parents=True, exist_ok=True)
                        (pictures / f"{screen}-{name}.png").write_bytes(opened.picture())
    return found


def main() -> int:
    """Prints what is wrong, page by page."""
    parser = argparse.ArgumentParser(description="Every page of the built site in a real browser.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--pictures", type=Path, default=None)
    arguments = parser.parse_args()
    found = check(arguments.site, arguments.pictures)
    wrong = [f"{page}: {problem}" for page, problems in found.items() for problem in problems]
    print("\n".join([*wrong, f"{len(found)} pages on screens, {len(wrong)} problems"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
