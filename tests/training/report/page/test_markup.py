from dmix.training.report.page.markup import tag


def test_tag_escapes_text_and_attributes_and_leaves_markup():
    assert tag("p", "a<b", tag("b", "&"), None, 3, title='"x"') == (
        '<p title="&quot;x&quot;">a&lt;b<b>&amp;</b>3</p>'
    )
    assert tag("meta", name="x", hidden=True, id=None) == '<meta name="x" hidden>'
