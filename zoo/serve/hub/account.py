"""Account: who asks, and what every client asks first."""

from __future__ import annotations

from zoo.serve.http.answer import Answer, json_answer, text_answer
from zoo.serve.hub.ask import Ask

__all__ = ["agent_harnesses", "front", "health", "telemetry", "whoami"]


def whoami(ask: Ask) -> Answer:
    """Whose token it is."""
    actor = ask.actor
    token = {"displayName": actor.token, "role": "read" if actor.purpose == "read" else "write"}
    return json_answer(
        {
            "type": "user",
            "id": actor.name,
            "name": actor.name,
            "fullname": actor.name,
            "isPro": False,
            "orgs": [
                {"type": "org", "name": team}
                for team in sorted(actor.teams)
                if ask.may("read", team)  # a token for other names alone does not say
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def agent_harnesses(_: Ask) -> Answer:
    """None: a client would ask again each time if this were missing."""
    return json_answer({"standardEnvVars": [], "harnesses": {}})


def telemetry(_: Ask, path: str = "") -> Answer:
    """Nothing is kept of it; without an answer, clients warn."""
    del path
    return Answer()


def health(_: Ask) -> Answer:
    """That the server answers."""
    return text_answer("ok\n")


def front(ask: Ask) -> Answer:
    """What this is, for whoever opens the address in a browser."""
    base = ask.call.base
    return text_answer(
        "A zoo of model checkpoints, for clients of the model hub:\n\n"
        f"  export HF_ENDPOINT={base} HF_TOKEN=zoo_...\n"
        "  hf models ls\n"
        "  hf download NAMESPACE/NAME\n"
        "  timm.create_model('hf-hub:NAMESPACE/NAME', pretrained=True)\n"
    )
