"""Settings table: the pages of accounts, and of what only some may change. Its order counts where
two paths fit.
"""

from __future__ import annotations

from functools import partial

from zoo.serve.http.router import Route
from zoo.serve.hub.ask import Hub
from zoo.serve.pages import access, device, hooks, patterns, people, settings, storage
from zoo.serve.pages.audit import look_audit
from zoo.serve.pages.form import form_route
from zoo.serve.pages.page import page_routes
from zoo.serve.pages.pruning import look_pruning

__all__ = ["SETTINGS"]

REPO, NAMESPACE, PERSON = (
    "/-/access/{namespace}/{name}",
    "/-/namespaces/{owner}",
    "/-/people/{user}",
)
OWN, ADMIN = ("NoToken", "NotFound", "Forbidden"), ("NoToken", "Forbidden")
own = partial(page_routes, scope="account", errors=OWN)
own_form = partial(form_route, scope="account", errors=OWN)
admin = partial(page_routes, scope="admin", errors=ADMIN)
admin_form = partial(form_route, scope="admin", errors=ADMIN)

SETTINGS: tuple[Route[Hub], ...] = (
    *own("/-/settings", "settings.html", settings.look_settings, "one's own tokens and roles"),
    own_form(
        "/-/settings", "settings.html", settings.look_settings, settings.FORMS,
        "make or revoke a token of one's own, or unlink a login",
    ),
    *own(
        "/-/device", "device.html", device.look_device, "to let a program in by its code",
        errors=(*OWN, "TooMany"),
    ),
    own_form(
        "/-/device", "device.html", device.look_device, device.FORMS,
        "let it in, or do not", errors=(*OWN, "TooMany"),
    ),
    *own("/-/audit", "audit.html", look_audit, "who changed what, and what was refused"),
    *own(
        NAMESPACE, "access.html", access.look_namespace, "who may do what in a namespace",
        twin=f"{NAMESPACE}/index.json",
    ),
    own_form(
        NAMESPACE, "access.html", access.look_namespace, access.NAMESPACE_FORMS,
        "say who may do what in a namespace",
    ),
    *page_routes(
        REPO, "access.html", access.look_repo, "who may do what with a repository",
        scope="share", errors=("NoToken", "Forbidden", "RepoNotFound"), twin=f"{REPO}/index.json",
    ),
    form_route(
        REPO, "access.html", access.look_repo, access.REPO_FORMS,
        "say who may do what with a repository", scope="share", errors=ADMIN,
    ),
    *admin("/-/people", "people.html", people.look_people, "accounts and teams"),
    admin_form(
        "/-/people", "people.html", people.look_people, people.FORMS,
        "make or delete an account or a team",
    ),
    *admin(
        PERSON, "person.html", people.look_person, "an account", errors=(*ADMIN, "NotFound"),
        twin=f"{PERSON}/index.json",
    ),
    admin_form(
        PERSON, "person.html", people.look_person, people.PERSON_FORMS,
        "make or revoke a token of an account", errors=(*ADMIN, "NotFound"),
    ),
    *admin(
        "/-/patterns", "patterns.html", patterns.look_patterns, "names that stay where they are"
    ),
    admin_form(
        "/-/patterns", "patterns.html", patterns.look_patterns, patterns.FORMS,
        "say which names stay where they are",
    ),
    *admin("/-/webhooks", "hooks.html", hooks.look_hooks, "who is told of changes"),
    admin_form(
        "/-/webhooks", "hooks.html", hooks.look_hooks, hooks.FORMS, "say who is told of changes"
    ),
    *admin(
        "/-/storage", "storage.html", storage.look_storage, "what is stored, and by whom",
        alone=True, slow=True,
    ),
    admin_form(
        "/-/storage", "storage.html", storage.look_storage, storage.FORMS,
        "say how many bytes a namespace may hold",
    ),
    *admin(
        "/-/storage/prune", "pruning.html", look_pruning, "what a prune would delete",
        alone=True, slow=True,
    ),
)  # fmt: skip
"""The routes; those of a repository come last among those that its address would fit."""
