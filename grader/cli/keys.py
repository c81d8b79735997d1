"""`grader keys`: makes, lists and revokes API keys in the service's database."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.store import Store, keys
from grader.cli import output
from grader.errors import GraderError

# Characters of a name: as many as the database has room for.
LONGEST_NAME = 200


class KeyNameError(GraderError):
    """What was given as the name of a key is none."""


class ExpiryError(GraderError):
    """What was given as the end of a key is none."""


def create(store: Store, name: str, role: keys.Role, expires: str | None, *, as_json: bool) -> None:
    """Prints a new key, the only time it can be seen; raises KeyNameError, ExpiryError."""
    name = checked_name(name)
    with store.write() as tx:
        key, token = keys.create(tx, name, role, None if expires is None else expiry(expires, tx.now))
    if as_json:
        output.print_json({**_plain(key), "key": token})
        return
    ends = f", valid until {_shown(key.expires_at)}" if key.expires_at else ""
    Console(stderr=True).print(f"Key {key.id} for {escape(name)} ({role}{ends}). It is shown this once:")
    print(token)


def checked_name(name: str) -> str:
    """The name without space around it; raises KeyNameError when lists and logs could not show it."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or any(unicodedata.category(one) in {"Cc", "Cs"} for one in name):
        raise KeyNameError(f"A key's name has 1 to {LONGEST_NAME} characters, none of them a control character.")
    return name


def expiry(text: str, now: datetime) -> datetime:
    """The moment that `30d`, `12h` or an ISO date means; raises ExpiryError when it is none or over."""
    try:
        if text[-1:] in {"d", "h"} and text[:-1].isdigit():
            moment = now + (timedelta(days=int(text[:-1])) if text[-1] == "d" else timedelta(hours=int(text[:-1])))
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ExpiryError(f"{text!r} is no time: give 90d, 12h or a date such as 2027-01-31.") from None
    if moment <= now:
        raise ExpiryError(f"{text!r} is over already.")
    return moment


def show(store: Store, *, as_json: bool) -> None:
    """All keys, without what opens anything."""
    with store.read() as tx:
        found, now = keys.all_keys(tx), tx.now
    if as_json:
        output.print_json([_plain(key) | {"valid": key.is_valid(now)} for key in found])
        return
    table = Table(box=None)
    for column in ("id", "name", "role", "made", "last used", "state"):
        table.add_column(column, no_wrap=column == "id")
    for key in found:
        table.add_row(
            key.id, escape(key.name), key.role, _shown(key.created_at), _shown(key.last_used_at), _state(key, now)
        )
    Console().print(table if found else "No keys. Make one: grader keys create --role admin --name ...")


def revoke(store: Store, key_id: str) -> None:
    """Ends a key for good."""
    with store.write() as tx:
        key = keys.revoke(tx, key_id)
        left = keys.any_configured(tx)
    print(f"Key {key.id} ({key.name}) is revoked.")
    if not left:
        print(
            "No key is left: a service on a loopback address is open to this machine again, any other will not start."
        )


def _state(key: keys.Key, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {_shown(key.revoked_at)}"
    if not key.is_valid(now):
        return f"expired {_shown(key.expires_at)}"
    return f"until {_shown(key.expires_at)}" if key.expires_at else "valid"


def _shown(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M")


def _plain(key: keys.Key) -> dict[str, str | None]:
    moments = ("created_at", "expires_at", "revoked_at", "last_used_at")
    found = {name: getattr(key, name) for name in moments}
    return {"id": key.id, "name": key.name, "role": key.role} | {
        name: None if moment is None else moment.isoformat() for name, moment in found.items()
    }
