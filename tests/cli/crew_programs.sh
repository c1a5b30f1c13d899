#!/usr/bin/env bash
# The programs of the crews that ask models, each alone and without one: what it reads, what it refuses,
# and that whatever a model may have written before them does not bring them down.
set -euo pipefail
. "$(dirname "$0")/support.bash"

export PYTHONPATH="$project/configs/repo_review"

# program NAME REQUEST [ARGUMENT...]: runs one with a request on its standard input.
program() {
    local name=$1
    printf '%s' "$2" >request.json
    shift 2
    code=0
    python3 -B "$project/configs/$name.py" "$@" <request.json >out 2>err || code=$?
}

# each line of `out` is a JSON object with `op`, and the program has ended well
well() {
    check_code 0 "$code" "$1"
    all_json out
    same "lines without op of $1" 0 "$(grep -vc '"op"' out || true)"
}

# ---- Markdown ----
mkdir -p folder/sub folder/.hidden
printf '# One\n\nfirst\n\n```\n# no heading\n```\n\n## Two\n\n%s\n\n%s\n' "$(printf 'a%.0s' {1..1200})" "$(printf 'b%.0s' {1..4000})" >folder/a.md
printf 'no heading at all' >folder/sub/b.md
printf '# secret' >folder/.hidden/c.md
ln -s /etc/passwd folder/link.md
program research_brief/read_markdown '{"view":{"passages":[]}}' folder
well "reader"
same "passages" 6 "$(grep -c '"put"' out)"
says out '# no heading'
says_not out secret
says_not out root:
grep '"put"' out | json_field entry >entries
python3 - <<'PYTHON' || fail "a second look at the same folder"
import json
entries = [json.loads(line) for line in open("entries", encoding="utf-8")]
assert all(len(entry["text"]) <= 1500 for entry in entries)
known = [{"id": f"passages/{n}", "version": 1, "entry": entry} for n, entry in enumerate(entries, start=1)]
known.append({"id": "passages/99", "version": 1, "entry": {**entries[0], "file": "gone.md"}})
json.dump({"view": {"passages": known}}, open("again.json", "w", encoding="utf-8"))
PYTHON
program research_brief/read_markdown "$(cat again.json)" folder
same "what is put again" 0 "$(grep -c '"put"' out || true)"
same "what is taken back" 1 "$(grep -c '"passages/99"' out)"
program research_brief/read_markdown '{"view":{"passages":[]}}' nowhere
check_code 1 "$code" "a folder that is none"
says err "nowhere is no folder"

# ---- web pages ----
cat >serve.py <<'PYTHON'
import http.server, sys
class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Type", "image/png" if self.path == "/image" else "text/html; charset=no-such")
        self.end_headers()
        body = "<head><title>t</title></head><body><script>var no</script><p>Two &amp; two<p>are <b>four</b></body>"
        self.wfile.write((body if self.path == "/good" else body * 20000).encode())
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
python3 serve.py >port 2>/dev/null &  # which grumbles at pages that are not read to their end
server=$!
end_of_script() { kill "$server" 2>/dev/null || true; }
wait_for 10 test -s port
site="http://127.0.0.1:$(cat port)"
program research_brief/fetch_pages \
    "{\"inputs\":{\"urls\":\"$site/good, $site/none,$site/away,$site/image,$site/big,file:///etc/passwd,http://[x,http://127.0.0.1:1/\"},\"view\":{\"pages\":[]}}"
well "fetcher"
says out 'Two & two\nare four'
says_not out "var no"
says_not out root:
says out "$site/none was not read: the server said 404"
says out "$site/away was not read"
says out "$site/image was not read: it is image/png, not text"
says out "file:///etc/passwd was not read: only http:// and https:// are fetched"
says out "http://127.0.0.1:1/ was not read: "
same "pieces of the big page" 100 "$(grep '"put"' out | grep -c '/big"')"
program research_brief/fetch_pages '{"inputs":{"urls":" , "},"view":{"pages":[]}}'
says out "no URLs were given"

# ---- grounding ----
cat >findings.py <<'PYTHON'
import json
passage = "The second writer is **refused** with\nthe current value, and tries again."
findings = [
    ("stands", "The second writer is refused with the current value", "passages/1"),
    ("stands too", "tries again… and the second writer", "passages/1"),
    ("short", "again", "passages/1"),
    ("invented", "The first writer is refused with the current value", "passages/1"),
    ("nowhere", "The second writer is refused with the current value", "passages/7"),
    ("Stands ", "The second writer is refused with the current value", "passages/1"),
    ("", "\u0000\ud83d\ude00" * 30, "\"}{" * 40),
]
entries = [
    {"id": f"findings/{n}", "author": "docs", "entry": {"claim": claim, "quote": quote, "source": source}}
    for n, (claim, quote, source) in enumerate(findings, start=1)
]
view = {"passages": [{"id": "passages/1", "entry": {"text": passage}}], "pages": [], "findings": entries}
print(json.dumps({"matches": [{"f": entry} for entry in entries], "view": view}))
PYTHON
program research_brief/grounding "$(python3 findings.py)"
well "grounding"
same "findings that are taken back" "findings/2 findings/3 findings/4 findings/5 findings/6 findings/7" \
    "$(grep '"retract"' out | json_field id | xargs)"

# ---- a change ----
python3 "$project/tests/support/make_repository.py" repository 40
printf 'def changed():\n    return 1 / 0\n' >repository/new.py
printf 'x = "\\t"\n' >"repository/naïve \"name\".py"
head -c 3000 /dev/zero >repository/zeros.bin
printf '{}' >repository/yarn.lock
git -C repository add -A
git -C repository -c user.name=Ana -c user.email=ana@example.org commit -q -m "Change something"
program code_review/split_diff '{"inputs":{"repo":"repository","range":"HEAD~1..HEAD"}}'
well "splitter"
says out '"path": "new.py", "hunks": 1, "added": 2, "removed": 0'
says out '+    return 1 / 0'
same "the file with an odd name" 'naïve "name".py' "$(json_field entry <out | grep '"path": "na' | json_field path)"
says_not out zeros.bin
says_not out yarn.lock
program code_review/split_diff '{"inputs":{"repo":"repository","range":"HEAD..HEAD"}}'
check_code 1 "$code" "a range without a change"
says err "nothing that can be read has changed"
program code_review/split_diff '{"inputs":{"repo":"repository","range":"--output=stolen"}}'
check_code 1 "$code" "a range that is an option"
if [ -e stolen ] || [ -e repository/stolen ]; then fail "the range was taken for an option"; fi
program code_review/split_diff '{"inputs":{"repo":"folder","range":"HEAD~1..HEAD"}}'
check_code 1 "$code" "a folder that is no repository"

# ---- tickets ----
printf '%s\n' '{"number":"1","customer":"ana","text":"hello"}' 'not JSON' '[]' '{"number":2}' '' \
    '{"number":"1","customer":"ben","text":"the same number"}' '{"number":"3","customer":"chi","text":"there"}' >tickets
program support_desk/take_in '{"inputs":{"tickets":"tickets"},"view":{"tickets":[{"entry":{"number":"3"}}]}}'
well "intake"
same "tickets" 1 "$(grep -c '"insert"' out)"
says out "line 2 of tickets was left out: it is not JSON"
says out "line 3 of tickets was left out: a ticket is an object"
program support_desk/order_status '{"order":"5001","customer":"ana"}'
says out shipped
program support_desk/order_status '{"order":"5001","customer":"ben"}'
says out "ben has no order 5001"

# ---- reports of nothing, and of nonsense ----
junk='"|`*\n<script>[findings/99]'
program research_brief/write_brief "{\"inputs\":{\"question\":\"why?\",\"brief\":\"brief.md\"},\"match\":{\"b\":{\"entry\":{\"title\":\"$(printf '%s' "$junk" | sed 's/"/\\"/g')\",\"text\":\"see findings/99\"}}},\"view\":{\"passages\":[],\"pages\":[],\"findings\":[],\"open_questions\":[],\"inquiries\":[],\"refusals\":[]}}"
well "writer"
says brief.md "Not to be relied on: it names findings/99"
program research_brief/write_brief '{"inputs":{"question":"why?","brief":"brief.md"},"match":{},"view":{"passages":[],"pages":[],"findings":[],"open_questions":[],"inquiries":[],"refusals":[]}}'
well "writer without a brief"
says brief.md "No brief was written"
program code_review/write_review '{"inputs":{"repo":".","range":"a..b","report":"review.md"},"view":{"files":[],"findings":[],"overturned":[],"remarks":[]}}'
well "reporter"
program support_desk/hand_over '{"inputs":{"replies":"replies.jsonl","questions":"person.md"},"view":{"tickets":[{"entry":{"number":"1","customer":"ana","text":"hello"}}],"replies":[{"entry":{"ticket":"2","text":"to nobody"}}],"open_questions":[]}}'
well "outbox"
same "replies to tickets that are not there" 0 "$(lines_of replies.jsonl)"
says person.md "nobody drafted a reply"

finish
