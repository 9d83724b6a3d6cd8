"""The hub's own server of webhooks, until its input ends: it notes what it is told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from huggingface_hub import WebhookPayload, WebhooksServer

app = WebhooksServer()


@app.add_webhook("/note")
async def note(payload: WebhookPayload) -> dict[str, str]:
    """Note what has changed."""
    with Path(os.environ["TOLD"]).open("a") as file:
        file.write(f"{payload.event.action} {payload.repo.name}\n")
    return {}


app.launch(True, server_name="127.0.0.1", server_port=int(sys.argv[1]), share=False)
print("ready", flush=True)  # noqa: T201
sys.stdin.read()
os._exit(0)
