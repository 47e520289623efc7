"""What the search reads: the words of a page, each tag that is left closed."""

from html.parser import HTMLParser

from hierlab.lab.searchable import searchable


def test_nothing_of_nothing():
    assert searchable("") == ""


def test_headings_paragraphs_and_lists_stay():
    html = '<h2 id="idea">Idea<a class="headerlink" href="#idea">¶</a></h2><p>Two <code>groups</code></p><ul><li>one</li></ul>'
    assert searchable(html) == html


def test_code_and_pictures_go():
    html = '<p>a</p><div class="highlight"><pre><span></span><code>x = 1</code></pre></div><svg><path d="M0"/></svg><p>b</p>'
    assert searchable(html).split() == ["<p>a</p>", "<p>b</p>"]
    assert searchable('<details class="mkdocstrings-source"><summary>Source</summary><pre>x</pre></details>').strip() == ""


def test_single_parameters_go():
    listed = '<p>What it does.</p><p>Parameters:</p><ul><li class="doc-section-item field-body"><b>gamma</b> – the discount.</li></ul>'
    assert searchable(listed) == "<p>What it does.</p><p>Parameters:</p><ul> </ul>"


def test_formulas_keep_their_letters():
    assert (
        searchable("<p>the mean <math><mrow><mi>A</mi><mo>=</mo><msub><mi>R</mi><mi>t</mi></msub></mrow></math></p>")
        == "<p>the mean A=Rt</p>"
    )


def test_the_words_of_two_cells_are_not_joined():
    words = searchable("<table><tr><td>one</td><td>two</td></tr></table>").split()
    assert words == ["one", "two"]


def test_what_is_opened_is_closed():
    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag, attrs):
            self.depth += 1

        def handle_endtag(self, tag):
            self.depth -= 1

    every = [
        "div",
        "span",
        "math",
        "mi",
        "mark",
        "semantics",
        "table",
        "tbody",
        "tr",
        "td",
        "dl",
        "dt",
        "em",
        "p",
        "ul",
        "h2",
        "a",
        "details",
    ]
    reader = Balance()
    reader.feed(searchable("".join(f"<{tag} class='x'>word</{tag}>" for tag in every)))
    assert reader.depth == 0
