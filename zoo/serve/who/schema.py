"""The tables of accounts. Unlike the index, they are derived from nothing: who loses them has to
make accounts and tokens again.
"""

from __future__ import annotations

import sqlalchemy as sa

from zoo.registry.sql import Text, Whole

__all__ = [
    "REVISION",
    "VERSION_TABLE",
    "account",
    "attempt",
    "audit",
    "below",
    "device",
    "document",
    "download",
    "followed",
    "grouped",
    "holds",
    "identity",
    "level",
    "metadata",
    "named",
    "protected",
    "provider",
    "publisher",
    "quota",
    "refresh",
    "repo",
    "role",
    "session",
    "spent",
    "token",
    "tried",
]

REVISION = "0014"
"""The newest migration, after which the tables are as here; a test compares the two."""
VERSION_TABLE = "serve_version"
"""Where Alembic keeps it: the index, which may be in the same database, has a table of its own."""
metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def below(column: sa.ColumnElement[str], path: str, mark: str = "/") -> sa.ColumnElement[bool]:
    """Whether a text begins with a path and the mark; capitals count, unlike for ``LIKE``."""
    return (column >= f"{path}{mark}") & (column < f"{path}{chr(ord(mark) + 1)}")


account = sa.Table(
    "account",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("made", Text, nullable=False),
    # Nobody logs in as a team.
    sa.Column("team", sa.Boolean, nullable=False, server_default=sa.false()),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("account", Text, sa.ForeignKey("account.name", ondelete="CASCADE"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("secret", Text, nullable=False),  # its SHA-256
    sa.Column("purpose", Text, nullable=False),
    # With spaces between them; empty: all.
    sa.Column("only", Text, nullable=False, server_default=""),
    sa.Column("made", Text, nullable=False),
    sa.Column("expires", Text),
    sa.Column("used", Text),
    sa.Column("revoked", Text),
    sa.Column("ends_with", Text),  # a token, publisher or provider
)

# Who may read, of a namespace, ``team``, or of a repository, ``team/flowers``, which wins.
level = sa.Table(
    "level",
    metadata,
    sa.Column("path", Text, primary_key=True),
    sa.Column("level", Text, nullable=False),
)

# Who has which role in a namespace, or of a repository. Who has one in a team's is in the team.
role = sa.Table(
    "role",
    metadata,
    sa.Column("path", Text, primary_key=True),
    sa.Column("who", Text, sa.ForeignKey("account.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("role", Text, nullable=False),
)

# Names that stay where they are: ``team/*:v*``.
protected = sa.Table("protected", metadata, sa.Column("pattern", Text, primary_key=True))

# Repositories that were made over HTTP, and may be empty; and names that others had before.
repo = sa.Table(
    "repo",
    metadata,
    sa.Column("path", Text, primary_key=True),
    sa.Column("made", Text, nullable=False),
    sa.Column("moved", Text),  # the name that it has now
)

# Which names reach which objects: derived from the store, and made again where it is gone.
# Manifests and snapshots that have been looked into.
document = sa.Table(
    "document",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", Text, nullable=False, unique=True),
)

# What each of them reaches, itself included: 64 hex digits.
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column(
        "document", sa.Integer, sa.ForeignKey("document.id", ondelete="CASCADE"), primary_key=True
    ),
    sqlite_with_rowid=False,
)

# The names that have them, or had them, and are there.
named = sa.Table(
    "named",
    metadata,
    sa.Column(
        "document", sa.Integer, sa.ForeignKey("document.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("repo", Text, primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# Up to which entry each name has been looked at.
followed = sa.Table(
    "followed",
    metadata,
    sa.Column("repo", Text, primary_key=True),
    sa.Column("tag", Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("whole", sa.Boolean, nullable=False, server_default=sa.true()),
)

# What was done, and what was refused: rows are added, never changed. The order of the columns is
# that of the texts of which the hash is.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", Whole, primary_key=True, autoincrement=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("who", Text, nullable=False),
    sa.Column("token", Text, nullable=False),
    sa.Column("address", Text, nullable=False),
    sa.Column("action", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("detail", Text, nullable=False),
    sa.Column("result", Text, nullable=False),
    sa.Column("request", Text, nullable=False),
    sa.Column("before", Text, nullable=False),
    sa.Column("hash", Text, nullable=False),
)

# How many bytes a namespace may hold.
quota = sa.Table(
    "quota",
    metadata,
    sa.Column("namespace", Text, primary_key=True),
    sa.Column("bytes", Whole, nullable=False),
)

# Who is signed in, in a browser: of each session the SHA-256 of its secret, and its token.
session = sa.Table(
    "session",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("token", Text, sa.ForeignKey("token.id", ondelete="CASCADE"), nullable=False),
    sa.Column("expires", Text, nullable=False),
    # Whether the token was made for it, and ends with it.
    sa.Column("own", sa.Boolean, nullable=False, server_default=sa.false()),
)

# Who is told of changes: of those of a namespace or a repository, ``path``, or of all. ``after`` is
# the row of the audit log up to which it was told.
webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("url", Text, nullable=False),
    sa.Column("path", Text, nullable=False),
    sa.Column("private", sa.Boolean, nullable=False),  # whether it may be in a private network
    sa.Column("after", Whole, nullable=False),
    sa.Column("tried", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("failures", Whole, nullable=False),  # one after the other
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
)

# The last tries to tell a webhook: of which row of the audit log, and what came of it.
attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("webhook", Text, sa.ForeignKey("webhook.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", Whole, primary_key=True),
    sa.Column("row", Whole, nullable=False),
    sa.Column("at", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
)

# Programs that wait for somebody to let them in: of the code that each has, the SHA-256; of the one
# that a person types, a keyed hash, as it is short.
device = sa.Table(
    "device",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("code", Text, nullable=False),
    sa.Column("client", Text, nullable=False),  # what it says that it is
    sa.Column("address", Text, nullable=False),
    sa.Column("wants", Text, nullable=False),  # what the token is to be for; empty: it did not say
    sa.Column("expires", Text, nullable=False),
    sa.Column("next", Whole, nullable=False),  # when it may ask again, in ms since 1970
    sa.Column("pause", Whole, nullable=False),  # how long it waits in between, in ms
    sa.Column("state", Text, nullable=False),
    # Who has let it in, by which token, and what its own is for and called.
    sa.Column("account", Text, sa.ForeignKey("account.name", ondelete="CASCADE")),
    sa.Column("token", Text, sa.ForeignKey("token.id", ondelete="CASCADE")),
    sa.Column("purpose", Text, nullable=False),
    sa.Column("name", Text, nullable=False),
)

# What the tokens of programs that were let in are refreshed by: its SHA-256, the token that it came
# with, the one by which the program was let in, and the first that it got.
refresh = sa.Table(
    "refresh",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("token", Text, sa.ForeignKey("token.id", ondelete="CASCADE"), nullable=False),
    sa.Column("by", Text, sa.ForeignKey("token.id", ondelete="CASCADE"), nullable=False),
    sa.Column("first", Text, nullable=False),
    sa.Column("expires", Text, nullable=False),
    sa.Column("used", Text),
    sa.Index("refresh_first", "first"),
)

# How often somebody has guessed something wrong, and until when that counts.
tried = sa.Table(
    "tried",
    metadata,
    sa.Column("who", Text, primary_key=True),
    sa.Column("count", Whole, nullable=False),
    sa.Column("until", Text, nullable=False),
)

# Services of OpenID Connect by which people sign in. Their secrets are elsewhere.
provider = sa.Table(
    "provider",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("issuer", Text, nullable=False),
    sa.Column("client_id", Text, nullable=False),
    sa.Column("secret_file", Text, nullable=False),  # empty: the environment may have it
    sa.Column("hosts", Text, nullable=False),  # other ones that it may use, with spaces between
    sa.Column("domains", Text, nullable=False),  # of e-mails for which accounts are made; or all
    sa.Column("creates", sa.Boolean, nullable=False),  # whether it makes accounts
    # Those that one must have for whom it does: an object in JSON.
    sa.Column("claims", Text, nullable=False, server_default="{}"),
    sa.Column("groups_claim", Text, nullable=False, server_default=""),
    # Which group gives which role in which team: in JSON.
    sa.Column("rules", Text, nullable=False, server_default="[]"),
)

# Whose account it is who has signed in. Where that was deleted, nobody signs in by it again.
identity = sa.Table(
    "identity",
    metadata,
    sa.Column("issuer", Text, primary_key=True),
    sa.Column("subject", Text, primary_key=True),
    sa.Column("made", Text, nullable=False),
    sa.Column("account", Text, sa.ForeignKey("account.name", ondelete="SET NULL")),
)

# Roles in teams that accounts have because a provider says of which groups they are, and nobody by
# hand; the role that counts is in ``role``, too.
grouped = sa.Table(
    "grouped",
    metadata,
    sa.Column("provider", Text, primary_key=True),
    sa.Column("account", Text, sa.ForeignKey("account.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("team", Text, primary_key=True),
    sa.Column("role", Text, nullable=False),
)

# Jobs that get a token for a while, for what their issuer says of them.
publisher = sa.Table(
    "publisher",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("path", Text, nullable=False),
    sa.Column("issuer", Text, nullable=False),
    sa.Column("claims", Text, nullable=False),  # an object in JSON
    sa.Column("hosts", Text, nullable=False),
    sa.Column("account", Text, sa.ForeignKey("account.name", ondelete="CASCADE"), nullable=False),
    sa.Column("made", Text, nullable=False),
)

# How often repositories were downloaded on a day, or, without one, longer ago than is told apart.
download = sa.Table(
    "download",
    metadata,
    sa.Column("repo", Text, primary_key=True),
    sa.Column("day", Text, primary_key=True),
    sa.Column("count", Whole, nullable=False),
)

# What is good once, by its SHA-256, and until when it is kept.
spent = sa.Table(
    "spent",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("until", Text, nullable=False),
)
