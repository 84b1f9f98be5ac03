"""A page taken apart."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Checks nesting and collects what the tests look at."""

    VOID = frozenset({"meta", "br", "path", "use", "link"})

    def __init__(self, html):
        super().__init__()
        self.open_tags, self.attributes, self.ids, self.texts = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open_tags):
            self.texts.append(data)
