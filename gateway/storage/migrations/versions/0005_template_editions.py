"""Tenants' own versions of templates, from draft to publication; and which key a request came by.

Online: a column with a default, an index over rows that do not exist yet, and new tables. The triggers hold what no
process may do, whatever its code: change a text that was submitted, skip a step, or make a version disappear.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.storage.upgrade.online_migration import add_index

revision = "0005"
down_revision = "0004"

_MOVES = (
    " draft>submitted draft>discarded submitted>approved submitted>rejected approved>scheduled approved>published"
    " approved>rejected scheduled>published scheduled>approved published>superseded published>rolled_back"
    " superseded>published rolled_back>published "
)
_CHANGED_TEXT = (
    "NEW.files <> OLD.files OR NEW.source <> OLD.source OR NEW.version <> OLD.version"
    " OR NEW.revision <> OLD.revision OR NEW.editors <> OLD.editors OR NEW.submitted_by <> OLD.submitted_by"
)
_MOVED = "NEW.tenant <> OLD.tenant OR NEW.template <> OLD.template OR NEW.number <> OLD.number"
_SQLITE = (
    "CREATE TRIGGER template_editions_fixed BEFORE UPDATE ON template_editions"
    f" WHEN (OLD.state <> 'draft' AND ({_CHANGED_TEXT})) OR {_MOVED}"
    " BEGIN SELECT RAISE(ABORT, 'a submitted text does not change'); END",
    "CREATE TRIGGER template_editions_moves BEFORE UPDATE OF state ON template_editions"
    " WHEN NEW.state <> OLD.state"
    f" AND instr('{_MOVES}', ' ' || OLD.state || '>' || NEW.state || ' ') = 0"
    " BEGIN SELECT RAISE(ABORT, 'this is no legal move'); END",
    "CREATE TRIGGER template_editions_begin BEFORE INSERT ON template_editions WHEN NEW.state <> 'draft'"
    " BEGIN SELECT RAISE(ABORT, 'a version begins as a draft'); END",
    "CREATE TRIGGER template_editions_kept BEFORE DELETE ON template_editions"
    " BEGIN SELECT RAISE(ABORT, 'versions are kept'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION guard_template_edition() RETURNS trigger AS $$ BEGIN"
    " IF TG_OP = 'DELETE' THEN RAISE EXCEPTION 'versions are kept'; END IF;"
    " IF TG_OP = 'INSERT' THEN"
    " IF NEW.state <> 'draft' THEN RAISE EXCEPTION 'a version begins as a draft'; END IF;"
    " RETURN NEW; END IF;"
    f" IF (OLD.state <> 'draft' AND ({_CHANGED_TEXT})) OR {_MOVED} THEN"
    " RAISE EXCEPTION 'a submitted text does not change'; END IF;"
    f" IF NEW.state <> OLD.state AND strpos('{_MOVES}', ' ' || OLD.state || '>' || NEW.state || ' ') = 0 THEN"
    " RAISE EXCEPTION 'this is no legal move'; END IF;"
    " RETURN NEW; END $$ LANGUAGE plpgsql",
    "CREATE TRIGGER template_editions_guard BEFORE INSERT OR UPDATE OR DELETE ON template_editions"
    " FOR EACH ROW EXECUTE FUNCTION guard_template_edition()",
)


def upgrade() -> None:
    op.add_column("notifications", sa.Column("client", sa.String(length=80), server_default="", nullable=False))
    add_index("notifications_by_client", "notifications", ["tenant", "template", "client", "id"], where="client != ''")
    op.create_table(
        "templates",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("numbers", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stamp", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("event_hash", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id"),
    )
    op.create_index("templates_by_stamp", "templates", ["stamp"])
    _editions()
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def _editions() -> None:
    op.create_table(
        "template_editions",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("template", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("based_on", sa.String(length=64), server_default="", nullable=False),
        sa.Column("replaced", sa.Integer(), server_default="0", nullable=False),
        sa.Column("editors", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.String(length=80), nullable=False),
        sa.Column("submitted_by", sa.String(length=80), server_default="", nullable=False),
        sa.Column("approved_by", sa.String(length=80), server_default="", nullable=False),
        sa.Column("publish_at", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("approved_by = '' OR approved_by != submitted_by", name="a_second_person"),
        sa.PrimaryKeyConstraint("tenant", "template", "number"),
    )
    for state in ("draft", "scheduled", "published"):
        only = sa.text(f"state = '{state}'")
        op.create_index(
            f"one_{state}_edition",
            "template_editions",
            ["tenant", "template"],
            unique=True,
            sqlite_where=only,
            postgresql_where=only,
        )
    op.create_index("template_editions_by_version", "template_editions", ["tenant", "template", "version"])
