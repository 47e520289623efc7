"""The register of papers: what each one proposes, what it claims, and where its code is.

    from hierlab.papers import FAMILIES, paper, papers

    paper("gigpo").claim("C4").statement
    [p.name for p in papers() if p.family == "credit"]

The register is `data/papers.toml`, beside this package in the repository. It is written by hand and published
as it stands, so reading it is strict: whatever is broken is refused with the file, the entry and the field.

Some labs are about no single paper: the baselines that all papers of a family are compared with, or a comparison of the methods
themselves. They are the register's *companions*, in `data/companions.toml`; `paper` finds them, `papers` leaves them out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

REGISTER = Path(__file__).resolve().parent.parent / "data" / "papers.toml"
COMPANIONS = REGISTER.with_name("companions.toml")


@dataclass(frozen=True, slots=True)
class Family:
    """A group of papers around one idea: the folder under `labs/`, its title, and what its papers share."""

    slug: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing a paper claims.

    Attributes:
        id: "C1", "C2", ... unique within the paper.
        statement: the claim, in one sentence of ours.
        published: the figure or formula as published, or "no figure" with the reason, if one is known.
    """

    id: str
    statement: str
    published: str


@dataclass(frozen=True, slots=True)
class Paper:
    """One paper of the register.

    Attributes:
        slug: our name for it, in commands, files and addresses.
        title: as published.
        name: what the field calls the method.
        arxiv: its arXiv id, without version.
        month: of the first version, as "2025-05".
        family: a key of `FAMILIES`.
        idea: what the method does and why one would care, in one sentence of ours.
        claims: what the paper claims, in the order of their ids.
        venue: where it was accepted, if it was.
        code: the authors' repository as "owner/name", if there is one.
        code_note: what to know about that repository, or about its absence.
    """

    slug: str
    title: str
    name: str
    arxiv: str
    month: str
    family: str
    idea: str
    claims: tuple[Claim, ...]
    venue: str | None = None
    code: str | None = None
    code_note: str | None = None

    @property
    def url(self) -> str:
        """The paper's page on arXiv."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def code_url(self) -> str | None:
        """The authors' repository on GitHub, if there is one."""
        return self.code and f"https://github.com/{self.code}"

    def claim(self, claim_id: str) -> Claim:
        """The claim with this id.

        Raises:
            ValueError: if the paper has no such claim; the message lists those it has.
        """
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise ValueError(f"paper {self.slug!r} has no claim {claim_id!r}; it has {', '.join(c.id for c in self.claims)}")


FAMILIES: dict[str, Family] = {
    family.slug: family
    for family in (
        Family("credit", "Credit assignment", "Deciding which tokens, turns, subgoals or agents earned the reward of a whole rollout."),
        Family("preference", "Preference learning", "Training language models on comparisons of answers, and what that teaches them."),
        Family("reward", "Reward models", "Training, scaling, probing and benchmarking the models that stand in for human judgement."),
        Family("ranking", "Ranking and evaluation", "Ordering models, agents or answers by tournaments, ratings and graded benchmarks."),
        Family("taxonomy", "Taxonomies and hierarchical text", "Sorting texts into trees of labels, and growing such trees from texts."),
        Family("recommendation", "Recommendation", "Choosing items and whole slates for users whose interests unfold over time."),
        Family("market", "Markets and fairness", "Selling, buying, voting and deciding with learned agents, and who is treated how."),
        Family(
            "adaptation",
            "Adaptation and efficiency",
            "Fitting models and agents to a purpose cheaply, by merging, selecting and searching.",
        ),
        Family("theory", "Theory", "What a task demands of a learner, and which strategy a trained model settles on."),
    )
}


@cache
def papers() -> tuple[Paper, ...]:
    """All papers of the register, in its order: families as in `FAMILIES`, then slugs.

    Raises:
        ValueError, FileNotFoundError: as `read_register`.
    """
    return read_register(REGISTER)


@cache
def companions() -> tuple[Paper, ...]:
    """The subjects of labs that are about no single paper. Their arXiv id is that of the paper they start from.

    Raises:
        ValueError, FileNotFoundError: as `read_register`.
    """
    return read_register(COMPANIONS, unique=("slug",))


def paper(slug: str) -> Paper:
    """The paper, or the companion, with this slug.

    Raises:
        ValueError: if there is none; the message names close matches and the command that lists all.
    """
    known = {p.slug: p for p in (*papers(), *companions())}
    if slug in known:
        return known[slug]
    from difflib import get_close_matches

    close = get_close_matches(str(slug).lower(), known)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(f"no paper {slug!r}: {hint}`hierlab list` shows all {len(papers())}")


def read_register(path: Path | str, *, unique: Sequence[str] = ("slug", "arxiv")) -> tuple[Paper, ...]:
    """Read and check a register of papers.

    Args:
        path: a TOML file of `[[paper]]` tables, each with `[[paper.claim]]` tables.
        unique: the fields in which no two papers may agree.

    Returns:
        The papers in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not TOML, or an entry is broken: a field that is unknown, missing, empty, of the wrong type or
            badly formed; an unknown family; a month that is not the arXiv id's; a slug, arXiv id or claim id used twice. The
            message names the file, the entry (by slug, or by position if it has none) and the field.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no register of papers at {path}: clone the repository and `pip install -e .` in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error
    _check_names(document, {"paper"}, str(path))
    register = tuple(_paper(table, where) for table, where in _tables(document, "paper", "slug", str(path)))
    for name in unique:
        _check_unique((getattr(p, name) for p in register), name, f"{path}: paper")
    return register


_PATTERNS = {
    "slug": (r"[a-z0-9]+(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens"),
    "arxiv": (r"\d\d(0[1-9]|1[0-2])\.\d{4,5}", "an arXiv id without version, like 2505.10978"),
    "month": (r"20\d\d-(0[1-9]|1[0-2])", "a month like 2025-05"),
    "family": ("|".join(FAMILIES), f"one of {', '.join(FAMILIES)}"),
    "code": (r"[\w.-]+/[\w.-]+", "a repository as owner/name"),
    "id": (r"C[1-9]\d*", "a claim's id like C1"),
}


def _paper(table: dict[str, Any], where: str) -> Paper:
    """A `[[paper]]` table as a paper, or a refusal that begins with `where`."""
    texts = _texts(Paper, table, where, nested={"claim"})
    if texts["month"] != (month := f"20{texts['arxiv'][:2]}-{texts['arxiv'][2:4]}"):
        raise ValueError(f"{where}: field 'month': {texts['month']!r} is not the month of arXiv id {texts['arxiv']}, {month}")
    claims = tuple(Claim(**_texts(Claim, claim, inside)) for claim, inside in _tables(table, "claim", "id", where))
    _check_unique((c.id for c in claims), "id", f"{where}: claim")
    return Paper(**texts, claims=claims)


def _tables(parent: dict[str, Any], name: str, key: str, where: str) -> Iterable[tuple[dict[str, Any], str]]:
    """The tables `[[name]]` inside `parent`, each with the words that locate it: its `key`, or else its position."""
    tables = parent.get(name)
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{where}: field {name!r}: must be one or more [[{name}]] tables")
    for position, table in enumerate(tables, start=1):
        if not isinstance(table, dict):
            raise ValueError(f"{where}: {name} number {position}: must be a table, not {type(table).__name__}")
        label = table.get(key)
        yield table, f"{where}: {name} {label!r}" if label and isinstance(label, str) else f"{where}: {name} number {position}"


def _texts(kind: type[Paper] | type[Claim], table: dict[str, Any], where: str, nested: Collection[str] = ()) -> dict[str, str]:
    """The text fields of `kind` that the table holds, all checked; `nested` are fields that hold tables."""
    wanted = {field.name: field.default is MISSING for field in fields(kind) if field.name != "claims"}
    _check_names(table, {*wanted, *nested}, where)
    if missing := [name for name, required in wanted.items() if required and name not in table]:
        raise ValueError(f"{where}: field {missing[0]!r} is missing")
    return {name: _text(table[name], name, where) for name in wanted if name in table}


def _text(value: Any, name: str, where: str) -> str:
    """The value, if it is one line of text in the form its field wants."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: field {name!r}: must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{where}: field {name!r}: is empty")
    if value != " ".join(value.split()):
        raise ValueError(f"{where}: field {name!r}: must be one line, with single spaces between words and none around them")
    if name in _PATTERNS and not re.fullmatch(_PATTERNS[name][0], value, re.ASCII):
        raise ValueError(f"{where}: field {name!r}: {value!r} is not {_PATTERNS[name][1]}")
    return value


def _check_names(table: dict[str, Any], accepted: Collection[str], where: str) -> None:
    """Refuse a field nobody reads: it is a typing error."""
    if unknown := [name for name in table if name not in accepted]:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}; accepted are {', '.join(sorted(accepted))}")


def _check_unique(values: Iterable[str], name: str, where: str) -> None:
    """Refuse a second entry under one name."""
    seen: set[str] = set()
    for position, value in enumerate(values, start=1):
        if value in seen:
            raise ValueError(f"{where} number {position}: field {name!r}: {value!r} is used twice")
        seen.add(value)
