"""A page with a form, as a browser without scripts uses it."""

import html.parser
import urllib.error
import urllib.parse
import urllib.request


class Page(html.parser.HTMLParser):
    """The page's first form with its fields, and the page's text by the id of the element that holds it."""

    def __init__(self, url, form=None):
        super().__init__()
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(url, body, {"Origin": "null"} if body else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._take(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                self._take(refused)

    def _take(self, answer):
        self.url, self.status, self.headers = answer.url, answer.status, answer.headers
        self.text = answer.read().decode()
        self.fields, self.options, self.labels, self.by_id = {}, [], set(), {}
        self.action = self._method = self._inside = None
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self._inside = attrs.get("id")
        if tag == "form":
            self.action, self._method = attrs.get("action", ""), attrs["method"]
        elif tag in ("input", "select") and "name" in attrs:
            self.fields[attrs["name"]] = attrs.get("value", "")
        elif tag == "option":
            self.options.append(attrs["value"])
        elif tag == "label":
            self.labels.add(attrs["for"])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.by_id[self._inside] = self.by_id.get(self._inside, "") + data

    def submit(self, **filled):
        """Sends the form with what it holds already and what was filled in; the page that comes back."""
        if self._method != "post" or not filled.keys() <= self.fields.keys():
            raise AssertionError(f"a form by {self._method} with {sorted(self.fields)}")
        return Page(urllib.parse.urljoin(self.url, self.action), {**self.fields, **filled})
