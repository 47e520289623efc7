"""A site's links: every way in which one can lead nowhere."""

import pytest

from hierlab.lab.dead_links import dead_links


@pytest.fixture
def site(tmp_path):
    def write(body, path="a/index.html"):
        for name, text in {"index.html": "<h1 id=top>home</h1>", "x.png": "", "b/index.html": '<p id="there">b</p>', path: body}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "body",
    [
        "",
        '<a href="../b/">b</a><a href="../b/#there">b</a><a href="..">home</a><a href="/b/index.html">b</a>',
        '<a href="#here" >x</a><p id="here">y</p><a href="#">top</a>' + '<i id=""></i>',
        '<a href="https://example.org/x">elsewhere</a><a href="mailto:a@b.c">mail</a>',
        '<img src="../x.png" alt="a > b"><img src="data:image/png;base64,AA==">',
        '<a href="../#family=credit&amp;q=tree">a filter, not a place</a>',
        '<p>&lt;a href=&quot;nowhere&quot;&gt; and <code>href="nowhere"</code></p>',
    ],
)
def test_good_links(site, body):
    assert dead_links(site(body)) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="../c/">c</a>', "../c/ leads nowhere"),
        ('<a href="../b/#nowhere">b</a>', "there is no 'nowhere'"),
        ("<a href='#gone'>x</a>", "there is no 'gone'"),
        ("<img src=../y.png>", "../y.png leads nowhere"),
        ('<div data-figure="../f.json"></div>', "../f.json leads nowhere"),
        ('<script src="https://cdn.example.org/x.js"></script>', "from another host"),
        ('<link rel="stylesheet" href="//fonts.example.org/f.css">', "from another host"),
        ('<img src="http://example.org/x.png">', "from another host"),
        ('<a href="../../../etc/passwd">out</a>', "leads nowhere"),
    ],
)
def test_bad_links(site, body, problem):
    found = dead_links(site(body))
    assert len(found) == 1
    assert found[0].startswith("a/index.html: ")
    assert problem in found[0]
