"""fetcher: the text of the web pages that were given, in pieces. A page that fails is told, not fatal."""

import concurrent.futures
import html.parser
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from protocol import emit, read_request

URLS_MAX = 20
PAGE_BYTES_MAX = 2 * 1024 * 1024
PIECES_MAX = 100  # of one page
PIECE_CHARACTERS = 1500
CONNECT_SECONDS = 15
PAGE_SECONDS = 20  # a page that is slower is cut off there
AT_ONCE = 5
SILENT = {"script", "style", "noscript", "template", "svg", "head"}
BLOCKS = set(
    "address article aside blockquote br dd div dl dt figcaption footer form h1 h2 h3 h4 h5 h6 header hr li main nav "
    "ol p pre section table td th tr ul".split()
)


def main():
    request = read_request()
    urls = list(dict.fromkeys(url.strip() for url in request["inputs"]["urls"].split(",") if url.strip()))
    known = {(page["entry"]["url"], page["entry"]["number"]): page for page in request["view"]["pages"]}
    if not urls:
        emit("note", text="no URLs were given, so nothing of the web is looked at; give some with --input urls=A,B")
    if len(urls) > URLS_MAX:
        emit("note", text=f"only the first {URLS_MAX} of {len(urls)} URLs are fetched")

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        fetched = list(pool.map(fetch, urls[:URLS_MAX]))
    for url, (text, problem) in zip(urls, fetched):
        if problem:
            emit("note", text=f"{url} was not read: {problem}")
            continue
        for number, piece in enumerate(pieces(text), start=1):
            entry = {"url": url, "number": number, "text": piece}
            old = known.get((url, number))
            if old is None or old["entry"] != entry:
                emit("put", "pages", entry)


def fetch(url):
    """(text, None), or (None, what went wrong)."""
    if not re.match(r"https?://[^/\s]", url, re.IGNORECASE):
        return None, "only http:// and https:// are fetched"
    # An opener of its own: the usual one would also follow a redirect to ftp:.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(), urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    url = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    wanted = {"User-Agent": "stele-research-brief", "Accept": "text/html, text/plain, text/markdown"}
    try:
        with opener.open(urllib.request.Request(url, headers=wanted), timeout=CONNECT_SECONDS) as answer:
            kind = answer.headers.get_content_type()
            if not kind.startswith("text/") and kind != "application/xhtml+xml":
                return None, f"it is {kind}, not text"
            data = read(answer, time.monotonic() + PAGE_SECONDS)
            charset = answer.headers.get_content_charset() or "utf-8"
    except urllib.error.HTTPError as error:
        return None, f"the server said {error.code} {error.reason}"
    except (OSError, ValueError, urllib.error.URLError) as error:
        return None, str(getattr(error, "reason", error)) or type(error).__name__
    except Exception as error:  # http.client has exceptions of its own for answers that are none
        return None, f"{type(error).__name__}: {error}"
    try:
        text = data.decode(charset, "replace")
    except LookupError:
        text = data.decode("utf-8", "replace")
    text = plain(text) if "html" in kind else text
    return (text, None) if text.strip() else (None, "it holds no text")


def read(answer, until):
    """The timeout of a connection is for each packet; this one is for all of them."""
    data = b""
    while len(data) < PAGE_BYTES_MAX and time.monotonic() < until:
        part = answer.read1(65536)
        if not part:
            break
        data += part
    return data[:PAGE_BYTES_MAX]


class TextOnly(html.parser.HTMLParser):
    """What a reader would see, one block a line."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text = []
        self.silent = []

    def handle_starttag(self, tag, attributes):
        # Tags that must be closed, so that one forgotten does not silence the page.
        if tag in SILENT:
            self.silent.append(tag)
        elif tag == "body":
            self.silent.clear()
        if tag in BLOCKS:
            self.text.append("\n")

    def handle_endtag(self, tag):
        if tag in self.silent:
            del self.silent[self.silent.index(tag) :]
        if tag in BLOCKS:
            self.text.append("\n")

    def handle_data(self, data):
        if not self.silent:
            self.text.append(data)


def plain(page):
    parser = TextOnly()
    parser.feed(page)
    parser.close()
    lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(parser.text).split("\n"))
    return "\n".join(line for line in lines if line)


def pieces(text):
    text = text.replace("\0", "")
    for _ in range(PIECES_MAX):
        if len(text) <= PIECE_CHARACTERS:
            break
        end = max(text.rfind("\n", 1, PIECE_CHARACTERS), text.rfind(". ", 1, PIECE_CHARACTERS)) + 1 or PIECE_CHARACTERS
        if text[:end].strip():
            yield text[:end].strip()
        text = text[end:]
    else:
        return
    if text.strip():
        yield text.strip()


if __name__ == "__main__":
    main()
