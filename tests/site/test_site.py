"""The site in a real browser: what a reader does, on a desk and on a phone, in light and in dark, with and without a mouse."""

import re

import pytest
from synthetic_results import REPOSITORY

from hierlab.lab.places import labs
from hierlab.papers import FAMILIES, papers

pytestmark = pytest.mark.browser

PAGES = (
    "", *(f"labs/{slug}/" for slug in sorted(labs())), "labs/aces/", "families/", *(f"families/{family}/" for family in FAMILIES),
    "guide/", "guide/first-lab/", "guide/write-a-lab/", "guide/use-an-estimator/", "guide/other-families/", "guide/full-scale/",
    "reference/", "reference/credit/", "reference/credit/gigpo/", "reference/ops/", "reference/lab/bench/",
)  # fmt: skip
KINDS = ("", "labs/gigpo/", "labs/map/", "families/credit/", "families/ranking/", "guide/write-a-lab/", "reference/credit/gigpo/")
UNNAMED = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, [role=button], [tabindex='0']")]
    .filter((e) => e.checkVisibility({ checkOpacity: false, checkVisibilityCSS: true }) && e.getClientRects().length)
    .filter((e) => !(e.ariaLabel || e.title || e.textContent.trim() || [...(e.labels ?? [])].some((l) => l.textContent.trim() || l.title)
        || e.querySelector("img[alt]:not([alt=''])")))
    .map((e) => e.outerHTML.slice(0, 200))"""


def shown_papers(page):
    return page.locator("[data-papers] tbody tr:visible").count()


class TestEveryPage:
    @pytest.mark.parametrize("path", PAGES)
    def test_loads_without_complaint(self, visit, path):
        page = visit(path)
        assert page.locator("h1").count() == 1
        assert page.locator(".arithmatex").count() == 0

    @pytest.mark.parametrize("path", KINDS)
    @pytest.mark.parametrize("width", [390, 760, 1280])
    def test_never_scrolls_sideways(self, visit, path, width):
        page = visit(path, width=width)
        for stage in page.locator("[data-figure]").all():
            stage.scroll_into_view_if_needed()
            page.wait_for_function("e => e.dataset.drawn", arg=stage.element_handle())
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    @pytest.mark.parametrize("path", KINDS)
    def test_every_control_has_a_name(self, visit, path):
        for width in (390, 1280):
            assert visit(path, width=width).evaluate(UNNAMED) == []

    def test_formulas_are_set(self, visit):
        page = visit("labs/gigpo/")
        assert page.locator("math").count() > 5
        fraction = page.locator("mfrac").first
        assert fraction.bounding_box()["height"] > 1.5 * page.locator("mi").first.bounding_box()["height"]

    def test_the_browser_itself_refuses_other_hosts(self, chromium, address):
        page = chromium.new_page()
        page.goto(address)
        blocked = page.evaluate("""() => new Promise((resolve) => {
            addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
            fetch("http://127.0.0.2:9/").catch(() => {});
        })""")
        page.close()
        assert blocked == "connect-src"


class TestTableOfPapers:
    def test_all_papers_are_there(self, visit):
        page = visit()
        assert shown_papers(page) == len(papers())
        assert page.locator("[data-papers-count]").inner_text() == f"{len(papers())} papers"

    def test_text_family_and_verdict_narrow_it(self, visit):
        page = visit()
        page.get_by_label("Find").fill("anchor environment state")
        assert shown_papers(page) == 0
        page.get_by_label("Find").fill("same environment STATE")
        assert shown_papers(page) == 1
        assert page.locator("[data-papers-count]").inner_text() == f"1 of {len(papers())} papers"
        page.get_by_label("Find").fill("")
        page.get_by_label("Family").select_option("theory")
        assert shown_papers(page) == sum(p.family == "theory" for p in papers())
        page.get_by_label("Family").select_option("")
        page.get_by_label("With").select_option("published")
        assert any("GiGPO" in text for text in page.locator("[data-papers] tbody tr:visible").all_inner_texts())

    def test_the_address_keeps_the_filter(self, visit):
        page = visit()
        page.get_by_label("Find").fill("tree")
        page.get_by_label("Family").select_option("taxonomy")
        found = shown_papers(page)
        assert page.url.endswith("#q=tree&family=taxonomy")
        page.reload()
        assert shown_papers(page) == found > 0
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function("() => !location.hash")
        assert shown_papers(page) == len(papers())

    def test_papers_without_a_lab_say_so(self, visit):
        page = visit()
        said = page.locator("[data-papers] tbody tr", has_text="lab not written yet").count()
        assert said == len({p.slug for p in papers()} - {path.stem for path in REPOSITORY.glob("labs/*/[!_]*.py")})
        page.get_by_label("With").select_option("absent")
        assert shown_papers(page) == said

    def test_a_row_leads_to_its_page(self, visit):
        page = visit()
        page.locator("[data-papers]").get_by_role("link", name="HGPO", exact=True).click()
        assert page.locator("h1").inner_text().strip("¶ \n") == "HGPO"


class TestFigures:
    def step(self, page):
        return page.locator(".figure__plot").first.inner_text()

    @pytest.fixture
    def stepper(self, visit):
        page = visit("labs/gigpo/")
        page.locator("#figure-stepper [data-figure]").scroll_into_view_if_needed()
        page.locator("[data-drawn] input[type=range]").first.wait_for()
        return page

    def test_the_slider_is_clicked_dragged_and_reached_by_key(self, stepper):
        slider = stepper.locator("input[type=range]").first
        last = int(slider.get_attribute("max"))
        texts = [self.step(stepper)]
        box = slider.bounding_box()
        stepper.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
        assert int(slider.input_value()) == last
        texts.append(self.step(stepper))
        stepper.keyboard.press("ArrowLeft")
        assert int(slider.input_value()) == last - 1
        texts.append(self.step(stepper))
        stepper.get_by_role("button", name=re.compile("previous")).first.click()
        assert int(slider.input_value()) == last - 2
        texts.append(self.step(stepper))
        assert len(set(texts)) == 4
        assert slider.get_attribute("aria-valuetext")

    def test_nothing_is_loaded_before_the_reader_comes_near(self, visit):
        page = visit("labs/gigpo/", height=500)
        assert page.locator("script[src*=plotly]").count() == 0
        assert page.locator("[data-drawn]").count() == 0

    def test_text_follows_the_palette_and_the_step_stays(self, stepper):
        slider = stepper.locator("input[type=range]").first
        slider.focus()
        stepper.keyboard.press("ArrowRight")
        before, words = self.colour(stepper), self.step(stepper)
        stepper.locator("label[for=__palette_1]").click()
        stepper.wait_for_function("old => getComputedStyle(document.querySelector('.annotation-text')).fill !== old", arg=before)
        assert slider.input_value() == "1"
        assert self.step(stepper) == words

    def colour(self, page):
        return page.evaluate("getComputedStyle(document.querySelector('.annotation-text')).fill")

    def test_without_scripts_there_is_a_still_and_the_whole_table(self, visit):
        page = visit("labs/gigpo/", java_script_enabled=False)
        assert page.locator(".figure__stage img").first.is_visible()
        front = visit("", java_script_enabled=False)
        assert shown_papers(front) == len(papers())
        assert not front.locator("[data-papers-filter]").is_visible()


class TestPalette:
    def background(self, page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def test_the_system_decides_at_first(self, visit):
        assert self.background(visit(scheme="light")) != self.background(visit(scheme="dark"))

    def test_the_reader_decides_then_and_it_is_kept(self, visit):
        page = visit()
        light = self.background(page)
        page.locator("label[for=__palette_1]").click()
        page.wait_for_function("old => getComputedStyle(document.body).backgroundColor !== old", arg=light)
        dark = self.background(page)
        page.reload()
        assert self.background(page) == dark

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_can_be_read(self, visit, scheme):
        """Contrast of at least 4.5 for running text, muted text, links and chips on their own background."""
        page = visit("labs/gigpo/", scheme=scheme)
        found = page.evaluate("""() => {
            const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data]; };
            const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = (e) => {
                const c = rgb(getComputedStyle(e).backgroundColor);
                return c[3] > 250 ? c : behind(e.parentElement);
            };
            const ratio = (e) => { const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
                return (a + 0.05) / (b + 0.05); };
            const kinds = ["p", ".paper__title", ".paper__facts a", ".chip", "dt", "figcaption", "code span", ".md-nav__link", "mark"];
            return kinds.map((k) => [k, Math.min(...[...document.querySelectorAll(`.md-main ${k}`)].map(ratio))]);
        }""")
        assert [(kind, ratio) for kind, ratio in found if ratio < 4.5] == []


class TestSearch:
    def test_finds_a_method_and_goes_there(self, visit):
        page = visit()
        page.locator(".md-search__input").click()
        page.keyboard.type("HierVerb")
        page.locator(".md-search-result__link").first.wait_for()
        page.locator(".md-search-result__link").first.click()
        page.wait_for_url(re.compile("/labs/hierverb/"))

    def test_on_a_phone_too(self, visit):
        page = visit(width=390, height=844, has_touch=True)
        page.get_by_role("button", name="Search", exact=True).click()
        page.keyboard.type("entropy")
        page.locator(".md-search-result__link").first.wait_for()


class TestKeyboard:
    def focused(self, page):
        return page.evaluate("""() => { const e = document.activeElement;
            return [e.name || e.getAttribute("aria-label") || e.textContent.trim(), getComputedStyle(e).outlineStyle]; }""")

    def test_the_first_stop_skips_to_the_content(self, visit):
        page = visit()
        page.keyboard.press("Tab")
        assert self.focused(page)[0] == "Skip to content"
        assert page.locator(".md-skip").is_visible()

    def test_tab_reaches_the_sections_the_palette_and_the_filter_in_order(self, visit):
        page = visit()
        stops = []
        for _ in range(30):
            page.keyboard.press("Tab")
            stops.append(self.focused(page))
            if stops[-1][0] == "state":
                break
        names = [name for name, _ in stops]
        wanted = ["hierlab", "Papers", "Families", "Guide", "Reference", "query", "q", "family", "state"]
        assert [name for name in names if name in wanted] == wanted
        assert all(outline != "none" for name, outline in stops if name in ("Papers", "q", "family", "state"))

    def test_the_menu_opens_and_escape_closes_it(self, visit):
        page = visit(width=390, height=844)
        menu = page.get_by_role("button", name="Menu")
        menu.focus()
        page.keyboard.press("Enter")
        assert menu.get_attribute("aria-expanded") == "true"
        page.wait_for_function("() => document.querySelector('.md-sidebar--primary').getBoundingClientRect().left >= 0")
        page.keyboard.press("Escape")
        assert menu.get_attribute("aria-expanded") == "false"
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Menu"
