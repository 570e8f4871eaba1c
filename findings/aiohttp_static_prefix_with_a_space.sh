#!/usr/bin/env bash
# A static folder of aiohttp whose prefix has a space in it answers 404 for every file.
#
# ComfyUI serves a custom node's pages and scripts by web.static("/extensions/" + the folder's name, folder). A good guess
# is that any folder name works, as the client quotes it in the address. aiohttp quotes the prefix when the route is added
# and looks for the unquoted path when a request comes, so the two never meet: neither form of the address finds a file.
# Exits with 1 when aiohttp behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5
echo "a page" > "$folder/page.md"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import sys

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL


async def answers() -> dict[str, int]:
    app = web.Application()
    for name in ("wan-director", "wan director"):
        app.add_routes([web.static(f"/extensions/{name}", sys.argv[1])])
    found = {}
    async with TestClient(TestServer(app)) as client:
        for path in ("wan-director", "wan%20director", "wan director"):
            async with client.get(URL(f"/extensions/{path}/page.md", encoded="%" in path)) as response:
                found[path] = response.status
    return found


found = asyncio.run(answers())
print("aiohttp", aiohttp.__version__, found)
sys.exit(0 if found == {"wan-director": 200, "wan%20director": 404, "wan director": 404} else 1)
PYTHON
