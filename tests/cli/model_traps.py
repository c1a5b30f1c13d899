"""Every trap of a provider, in each wire format, streamed and whole: each attempt ends in time with the right word."""

import collections

from agents_support import Crew, Provider, check, finish, same

FORMATS = {
    "chat": ("openai", "/v1", "chat"),
    "responses": ("openai", "/v1", "responses"),
    "messages": ("anthropic", "", "messages"),
    "ollama": ("ollama", "", "ollama"),
}
# What an attempt comes to; a list: streamed, whole.
OUTCOMES = {
    "ok": """crlf no_space padded pings gzip unknown_events usage_only_chunk no_done responses_no_sequence thinking
        interleaved_tools surprising_usage no_usage rate_headers 429_ms_once 429_seconds_once 529_once loading_once
        should_retry_true_once 500_once 503_once closed_early_once smallest""",
    "failed": """refusal context_overflow should_retry_false code_integer code_object error_string error_in_stream 400
        404 closed_early no_reply html_proxy content_filter bad_arguments empty_arguments""",
    "malformed": """length_half_json null_content tool_cut split_utf8 redirect""",
    "timeout": """hang hang_in_stream slow_loris""",
}
NOT_IN_OLLAMA = {"refusal", "content_filter"}  # it has no word for them


def names():
    for outcome, traps in OUTCOMES.items():
        for trap in traps.split():
            for form in FORMATS:
                for streamed in (True, False):
                    if form == "ollama" and trap in NOT_IN_OLLAMA:
                        continue
                    yield form, streamed, trap, outcome


def crew_of(provider, cases):
    lines = ["stele: 1", "crew: traps", "limits: {concurrency: 24}", "models:"]
    sources = []
    for form, streamed, trap, _ in cases:
        provider_name, base, api = FORMATS[form]
        name = f"{form}_{'s' if streamed else 'w'}_{trap}"
        model = trap if trap == "smallest" else f"trap/{trap}"
        lines.append(f"  {name}: {{model: {provider_name}/m/{model}, api: {api}, base_url: '{provider.url}{base}', "
                     f"stream: {str(streamed).lower()}, key_env: TRAP_KEY, max_tokens: 2000}}")
        sources.append(f"  {name}: {{kind: llm, model: {name}, prompt: do it, when: [{{start: true}}], "
                       "limits: {attempts: 1, timeout: 8s}, may: {write: {notes: [insert]}}}")
    return "\n".join(lines + ["regions: {notes: {policy: append_only, entry: {text: string}}}", "sources:"] + sources) + "\n"


def outcomes_of(crew):
    return {record["author"]: record for record in crew.log() if record["kind"] == "result"}


def all_traps():
    provider = Provider()
    cases = list(names())
    crew = Crew(crew_of(provider, cases))
    crew.stele("run", "crew.yaml", TRAP_KEY="sk-trap-secret")
    found = outcomes_of(crew)
    seen = collections.Counter()
    for form, streamed, trap, wanted in cases:
        name = f"{form}_{'s' if streamed else 'w'}_{trap}"
        record = found.get(name)
        if not check(record is not None, name, "has no result"):
            continue
        seen[record["outcome"]] += 1
        same(f"{name} ({record.get('reason', '')})", wanted, record["outcome"])
    print(dict(seen))
    crew.verify()
    same("keys in the files", set(), crew.bytes_hold("sk-trap-secret"))


def a_person_must_act():
    for form in FORMATS:
        for trap in ("401", "429_quota"):
            if form == "ollama" and trap == "429_quota":
                continue
            provider = Provider()
            crew = Crew(crew_of(provider, [(form, True, trap, "blocked")]))
            done = crew.stele("run", "crew.yaml", expect=12, TRAP_KEY="sk-trap-secret")
            record = outcomes_of(crew)[f"{form}_s_{trap}"]
            same(f"{form} {trap}", "blocked", record["outcome"])
            check("waiting" in done.stdout, f"{form} {trap} does not say that it waits: {done.stdout[-500:]}")
            # The provider's error says the key back.
            same(f"keys told of {form} {trap}", set(), crew.bytes_hold("sk-trap-secret"))
            check("sk-trap-secret" not in done.stdout + done.stderr, f"{form} {trap} prints the key")


all_traps()
a_person_must_act()
finish()
