"""The register of papers: its contents, what it refuses, and how it is looked up."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from hierlab.papers import COMPANIONS, FAMILIES, REGISTER, companions, paper, papers, read_register

EXPECTED = {
    "credit": "a-grae adhint adora canon gigpo gmah hapo hbpo hgpo hicra himac hiper mashost matchtir r3 rose spae spo t-ppo",
    "preference": "dpa irpo mapl mcts-dpo preference-ranking rationales solopo",
    "reward": "mrmbench rewardbench2 worldpm",
    "ranking": "active-evaluation arenarl hibench hpt swiss-round varco-arena",
    "taxonomy": "chime hierverb htc-llm sci-hierarchography",
    "recommendation": "human-priors novelty-hrl slate-gru-ts v-star",
    "market": "aces aranyani position-auctions subset-selection",
    "adaptation": "agentswift efficient-agents flexmore lead map",
    "theory": "icl-strategies inductive-bias",
}
CARDS = REGISTER.parents[2] / "shared" / "papers"

ENTRY = {
    "slug": "gigpo",
    "title": "A title",
    "name": "GiGPO",
    "arxiv": "2505.10978",
    "month": "2025-05",
    "family": "credit",
    "idea": "It works.",
}
CLAIM = {"id": "C1", "statement": "It is better.", "published": "72.8 → 86.7"}


def toml(kind: str, table: dict) -> str:
    """A `[[kind]]` table; values that are not text are written as they are."""
    lines = (f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value!r}" for key, value in table.items())
    return f"[[{kind}]]\n" + "\n".join(lines) + "\n"


def without(table: dict, field: str) -> dict:
    return {key: value for key, value in table.items() if key != field}


@pytest.fixture
def read(tmp_path):
    """Reads a register with the given content."""

    def read(text: str):
        path = tmp_path / "papers.toml"
        path.write_text(text, encoding="utf-8")
        return read_register(path)

    return read


# --- the smallest register


def test_one_entry_is_read_with_its_claims_in_order(read):
    (only,) = read(toml("paper", ENTRY) + toml("paper.claim", CLAIM) + toml("paper.claim", {**CLAIM, "id": "C2"}))
    assert (only.slug, only.month, [c.id for c in only.claims]) == ("gigpo", "2025-05", ["C1", "C2"])
    assert (only.venue, only.code, only.code_note, only.code_url) == (None, None, None, None)
    assert only.url == "https://arxiv.org/abs/2505.10978"


def test_optional_fields_are_read(read):
    extra = {"venue": "NeurIPS 2025", "code": "langfengQ/verl-agent", "code_note": "partial"}
    (only,) = read(toml("paper", ENTRY | extra) + toml("paper.claim", CLAIM))
    assert (only.venue, only.code, only.code_note) == tuple(extra.values())
    assert only.code_url == "https://github.com/langfengQ/verl-agent"


def test_entries_cannot_be_changed():
    with pytest.raises(AttributeError):
        paper("gigpo").title = "Another"
    with pytest.raises(AttributeError):
        paper("gigpo").claims[0].published = "100"


# --- the register itself


def test_register_holds_the_54_papers_in_nine_families_in_order():
    assert [(p.family, p.slug) for p in papers()] == [(family, slug) for family, slugs in EXPECTED.items() for slug in slugs.split()]
    assert len(papers()) == 54
    assert list(FAMILIES) == list(EXPECTED)
    sizes = {
        "credit": 19,
        "preference": 7,
        "reward": 3,
        "ranking": 6,
        "taxonomy": 4,
        "recommendation": 4,
        "market": 4,
        "adaptation": 5,
        "theory": 2,
    }
    assert Counter(p.family for p in papers()) == sizes


def test_families_are_described():
    for slug, family in FAMILIES.items():
        assert family.slug == slug
        assert family.title
        assert re.fullmatch(r"[A-Z][^.]*\.", family.description)


@pytest.mark.parametrize("slug", [slug for slugs in EXPECTED.values() for slug in slugs.split()])
def test_texts_are_single_sentences_and_claims_are_numbered_through(slug):
    entry = paper(slug)
    assert [c.id for c in entry.claims] == [f"C{n}" for n in range(1, len(entry.claims) + 1)]
    for sentence in (entry.idea, *(c.statement for c in entry.claims)):
        assert sentence.endswith(".")
        assert not sentence[0].islower()
        assert not re.search(r"[.!?] [A-Z]", sentence), sentence
    assert not entry.title.endswith(".")


def test_published_figures_have_a_number_or_say_that_there_is_none():
    for entry in papers():
        for claim in entry.claims:
            assert claim.published.startswith("no figure") or re.search(r"[\d=]", claim.published), (
                f"{entry.slug} {claim.id}: {claim.published}"
            )


def test_register_agrees_with_the_paper_cards():
    if not CARDS.is_dir():
        pytest.skip(f"the paper cards are not beside the repository ({CARDS}): nothing to compare the register with")
    cards = {card.stem: card.read_text(encoding="utf-8") for card in CARDS.glob("[!_]*.md")}
    assert {p.slug for p in papers()} == set(cards)
    for slug, text in cards.items():
        entry = paper(slug)
        assert re.search(r"arXiv (\d{4}\.\d{4,5})", text)[1] == entry.arxiv, slug
        claims = re.search(r"^## Claims\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)[1]
        assert re.findall(r"^- \**(C\d+)", claims, re.MULTILINE) == [c.id for c in entry.claims], slug
        assert re.search(r"family\s+(\w+)", text)[1] == entry.family, slug
        assert entry.code is None or entry.code in text, slug


# --- looking up


def test_paper_and_claim_by_name():
    assert paper("gigpo").arxiv == "2505.10978"
    assert paper("gigpo") is paper("gigpo")
    assert "0.53 s" in paper("gigpo").claim("C4").published


@pytest.mark.parametrize(("asked", "meant"), [("gipgo", "gigpo"), ("GiGPO", "gigpo"), ("swiss_round", "swiss-round"), ("vstar", "v-star")])
def test_unknown_paper_is_refused_with_close_matches(asked, meant):
    with pytest.raises(ValueError, match=rf"no paper '{asked}': did you mean .*\b{meant}\b.*`hierlab list` shows all 54"):
        paper(asked)


def test_unknown_paper_without_a_close_match_is_refused_with_the_way_to_list():
    with pytest.raises(ValueError, match=r"^no paper 'zzzzzz': `hierlab list` shows all 54$"):
        paper("zzzzzz")


def test_unknown_claim_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"paper 'adhint' has no claim 'C9'; it has C1, C2, C3, C4"):
        paper("adhint").claim("C9")


# --- broken registers: the message names file, entry and field


REQUIRED = ("slug", "title", "name", "arxiv", "month", "family", "idea")
OPTIONAL = ("venue", "code", "code_note")


def refused(read, text: str, *words: str) -> None:
    """Reading `text` fails with one line that holds the file's name and all the words."""
    with pytest.raises(ValueError, match=r"papers\.toml: ") as error:
        read(text)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("field", REQUIRED)
def test_missing_field(read, field):
    entry = "number 1" if field == "slug" else "'gigpo'"
    refused(read, toml("paper", without(ENTRY, field)) + toml("paper.claim", CLAIM), f"paper {entry}", f"field '{field}' is missing")


@pytest.mark.parametrize("field", REQUIRED + OPTIONAL)
@pytest.mark.parametrize(
    ("value", "complaint"),
    [(7, "must be text, not int"), ([], "must be text, not list"), ("", "is empty"), (" ", "is empty"), (" x", "must be one line")],
)
def test_field_that_is_not_a_line_of_text(read, field, value, complaint):
    slug = value if field == "slug" else "gigpo"
    entry = repr(slug) if slug and isinstance(slug, str) else "number 1"
    refused(
        read, toml("paper", ENTRY | {field: value}) + toml("paper.claim", CLAIM), f"paper {entry}", f"field '{field}': {complaint}".strip()
    )


@pytest.mark.parametrize("field", CLAIM)
@pytest.mark.parametrize(
    ("value", "complaint"), [(None, "is missing"), (7, ": must be text, not int"), ("", ": is empty"), ("a\\nb", ": must be one line")]
)
def test_broken_claim(read, field, value, complaint):
    claim = without(CLAIM, field) if value is None else CLAIM | {field: value}
    located = "claim 'C1'" if field != "id" else "claim "
    refused(
        read,
        toml("paper", ENTRY) + toml("paper.claim", claim),
        f"paper 'gigpo': {located}",
        f"field '{field}'{' ' if value is None else ''}{complaint}",
    )


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("slug", "GiGPO", "lower-case"),
        ("slug", "a--grae", "single hyphens"),
        ("arxiv", "2505.10978v3", "without version"),
        ("arxiv", "2513.10978", "an arXiv id"),
        ("arxiv", "250510978", "an arXiv id"),
        ("month", "May 2025", "like 2025-05"),
        ("month", "2025-13", "like 2025-05"),
        ("month", "2025-06", "not the month of arXiv id 2505.10978, 2025-05"),
        ("family", "credits", "one of credit, preference, reward, ranking, taxonomy, recommendation, market, adaptation, theory"),
        ("code", "https://github.com/langfengQ/verl-agent", "owner/name"),
        ("code", "verl-agent", "owner/name"),
    ],
)
def test_badly_formed_field(read, field, value, accepted):
    entry = value if field == "slug" else "gigpo"
    refused(
        read, toml("paper", ENTRY | {field: value}) + toml("paper.claim", CLAIM), f"paper '{entry}': field '{field}': '{value}'", accepted
    )


@pytest.mark.parametrize("value", ["1", "c1", "C0", "C01", "C1a"])
def test_badly_formed_claim_id(read, value):
    refused(
        read,
        toml("paper", ENTRY) + toml("paper.claim", CLAIM | {"id": value}),
        f"paper 'gigpo': claim '{value}': field 'id': '{value}' is not",
    )


def test_unknown_field(read):
    refused(
        read,
        toml("paper", ENTRY | {"titel": "x"}) + toml("paper.claim", CLAIM),
        "paper 'gigpo': unknown field 'titel'; accepted are",
        "title",
    )
    refused(
        read,
        toml("paper", ENTRY) + toml("paper.claim", CLAIM | {"note": "x"}),
        "paper 'gigpo': claim 'C1': unknown field 'note'; accepted are id,",
    )
    refused(read, toml("papers", ENTRY), "unknown field 'papers'; accepted are paper")


def test_claims_that_are_missing_or_no_tables(read):
    refused(read, toml("paper", ENTRY), "paper 'gigpo': field 'claim': must be one or more [[claim]] tables")
    refused(read, toml("paper", ENTRY | {"claim": "C1"}), "paper 'gigpo': field 'claim': must be one or more")
    refused(read, toml("paper", ENTRY | {"claim": [1]}), "paper 'gigpo': claim number 1: must be a table, not int")


def test_used_twice(read):
    first, second = ({"slug": s, "arxiv": a} for s, a in (("gigpo", "2505.10978"), ("hgpo", "2505.10979")))
    entry = [
        toml("paper", ENTRY | change) + toml("paper.claim", CLAIM)
        for change in (first, second, {**first, "arxiv": "2505.1097"}, {**second, "slug": "x"})
    ]
    assert len(read(entry[0] + entry[1])) == 2
    refused(read, entry[0] + entry[1] + entry[2], "paper number 3: field 'slug': 'gigpo' is used twice")
    refused(read, entry[0] + entry[1] + entry[3], "paper number 3: field 'arxiv': '2505.10979' is used twice")
    refused(read, entry[0] + toml("paper.claim", CLAIM), "paper 'gigpo': claim number 2: field 'id': 'C1' is used twice")


def test_position_is_the_broken_entry_and_not_the_first(read):
    good = toml("paper", ENTRY) + toml("paper.claim", CLAIM)
    refused(read, good + toml("paper", without(ENTRY, "slug")) + toml("paper.claim", CLAIM), "paper number 2: field 'slug' is missing")


def test_file_that_is_empty_broken_or_missing(read, tmp_path):
    refused(read, "", "field 'paper': must be one or more [[paper]] tables")
    refused(read, "[[paper]\n", "not valid TOML", "line 1")
    with pytest.raises(FileNotFoundError, match=r"no register of papers at .*none\.toml: clone the repository"):
        read_register(tmp_path / "none.toml")


def test_file_that_is_not_text(tmp_path):
    (tmp_path / "papers.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"papers\.toml: not valid TOML"):
        read_register(tmp_path / "papers.toml")


# --- where it is found, and what it costs


def test_importing_is_quick():
    program = "import time; start = time.perf_counter(); import hierlab.papers; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(5)]
    assert min(float(run.stdout) for run in runs) < 0.05


def test_register_is_found_from_any_folder_and_reading_imports_nothing_heavy(tmp_path):
    heavy = "{'torch', 'numpy', 'pydantic', 'pandas'}"
    program = f"import sys; from hierlab.papers import papers; print(len(papers()), sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "54 []"


def test_companions_are_found_and_are_no_papers():
    assert [c.slug for c in companions()] == ["credit-baselines", "credit-bench"]
    assert all(paper(c.slug) is c and c.family in FAMILIES for c in companions())
    assert not {c.slug for c in companions()} & {p.slug for p in papers()}


def test_companions_may_start_from_one_paper_but_not_share_a_name(tmp_path):
    text = COMPANIONS.read_text()
    (tmp_path / "companions.toml").write_text(text.replace('"credit-bench"', '"credit-baselines"'))
    with pytest.raises(ValueError, match="paper number 2: field 'slug': 'credit-baselines' is used twice"):
        read_register(tmp_path / "companions.toml", unique=("slug",))
    with pytest.raises(ValueError, match=r"field 'arxiv': '2402\.03300' is used twice"):
        read_register(COMPANIONS)
