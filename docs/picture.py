"""Draws report.png, the picture of README, with Chromium: `python docs/picture.py`, or `make picture`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from example_folder import make

from adapterops.cli.main import run

OUT = Path(__file__).with_name("report.png")
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SIZE = "1200,1880"  # as far as the figures of how they relate


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"needs one of {', '.join(BROWSERS)}: apt-get install chromium-headless-shell")
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        os.chdir(name)
        if code := run(["report", "style", "domain", "--base", "base", "-o", "report.html"]):
            sys.exit(code)
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}", f"--screenshot={OUT}"]
        page = Path("report.html").resolve().as_uri()
        subprocess.run([browser, *options, page], check=True, capture_output=True, timeout=120)
    print(f"wrote {OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
