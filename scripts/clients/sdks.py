"""The vendors' Python SDKs: an everyday call, a search, and a call that is denied while search is off."""

from dataclasses import dataclass

PICTURE = "https://evil.example.net/x.png"  # nobody allows it, so no vendor may be asked to fetch it


@dataclass(frozen=True)
class Sdk:
    """A vendor's client.

    Attributes:
        package: of Python's registry.
        host: of the vendor.
        make: Python that makes the client `c`.
        usual: Python of an everyday call.
        search: Python of a search that is permitted and narrowed; empty if it has none that could be.
        denied: Python of a call that is denied while search is off.
        raises: the exception that the SDK has for a request that is not permitted.
        reason: that its message holds.
        narrows: whether the search's request gets a filter; else the answer is filtered.
    """

    package: str
    host: str
    make: str
    usual: str
    search: str
    denied: str
    raises: str
    reason: str = "web_search_disabled"
    narrows: bool = True


def snippet(sdk: Sdk, mode: str) -> str:
    """Return Python that makes the calls of a mode, and prints a line for each: `@NAME passes`, or its exception."""
    calls = {"off": {"denied": sdk.denied}, "on": {"usual": sdk.usual, "search": sdk.search}}[mode]
    wanted = {name: code for name, code in calls.items() if code}
    return _SCRIPT.format(make=sdk.make, calls=wanted) if wanted else ""


_SCRIPT = """
{make}
for name, code in {calls!r}.items():
    try:
        exec(code)
        print("@" + name, "passes")
    except Exception as error:
        kinds = "/".join(each.__name__ for each in type(error).__mro__)
        print("@" + name, kinds + ":", str(error).replace(chr(10), " "))
"""
_ASK = "[{'role': 'user', 'content': 'q'}]"
_SEEN = f"[{{'role': 'user', 'content': [{{'type': 'image_url', 'image_url': {{'url': '{PICTURE}'}}}}]}}]"
_CLAUDE = "{'type': 'web_search_20250305', 'name': 'web_search'}"
_FORCED = "{'type': 'tool', 'name': 'web_search'}"


def _chat(package: str, host: str, make: str, raises: str) -> Sdk:
    """A vendor that speaks Chat Completions and has no search that could be narrowed."""
    call = "c.chat.completions.create(model='m', messages={})"
    return Sdk(package, host, make, call.format(_ASK), "", call.format(_SEEN), raises, "no_rule")


SDKS = (
    Sdk(
        "anthropic", "api.anthropic.com", "import anthropic; c = anthropic.Anthropic(api_key='k')",
        f"c.messages.create(model='m', max_tokens=9, messages={_ASK})",
        f"c.messages.create(model='m', max_tokens=9, messages={_ASK}, tools=[{_CLAUDE}])",
        f"c.messages.create(model='m', max_tokens=9, messages={_ASK}, tools=[{_CLAUDE}], tool_choice={_FORCED})",
        "PermissionDeniedError",
    ),
    Sdk(
        "openai", "api.openai.com", "import openai; c = openai.OpenAI(api_key='k')",
        "c.responses.create(model='m', input='q')",
        "c.responses.create(model='m', input='SEARCH', tools=[{'type': 'web_search'}])",
        "c.responses.create(model='m', input='q', tools=[{'type': 'web_search'}], tool_choice='required')",
        "PermissionDeniedError",
    ),
    Sdk(
        "google-genai", "generativelanguage.googleapis.com", "from google import genai; c = genai.Client(api_key='k')",
        "c.models.generate_content(model='m', contents='q')", "",
        "c.models.generate_content(model='m', contents='q', config={'tools': [{'google_search': {}}],"
        " 'system_instruction': 'search'})",
        "ClientError",
    ),
    Sdk(
        "mistralai", "api.mistral.ai", "from mistralai.client import Mistral; c = Mistral(api_key='k')",
        f"c.chat.complete(model='m', messages={_ASK})", "",
        "c.beta.conversations.start(model='m', inputs='q', tools=[{'type': 'web_search'}],"
        " completion_args={'tool_choice': 'required'})",
        "SDKError",
    ),
    _chat("groq", "api.groq.com", "import groq; c = groq.Groq(api_key='k')", "PermissionDeniedError"),
    _chat(
        "fireworks-ai", "api.fireworks.ai", "import fireworks; c = fireworks.Fireworks(api_key='k')",
        "PermissionDeniedError",
    ),
    Sdk(
        "cohere", "api.cohere.com", "import cohere; c = cohere.ClientV2(api_key='k')",
        f"c.chat(model='m', messages={_ASK})", "", f"c.chat(model='m', messages={_SEEN})", "ForbiddenError", "no_rule",
    ),
    Sdk(
        "perplexityai", "api.perplexity.ai", "import perplexity; c = perplexity.Perplexity(api_key='k')",
        "", "c.search.create(query='q')", "c.search.create(query='q')", "PermissionDeniedError",
    ),
    Sdk(
        "exa-py", "api.exa.ai", "import exa_py; c = exa_py.Exa('k')",
        "", "c.search('q')", "c.search('q')", "ValueError",
    ),
    Sdk(
        "tavily-python", "api.tavily.com", "import tavily; c = tavily.TavilyClient('tvly-k')",
        "", "c.search('q')", "c.search('q')", "ForbiddenError",
    ),
    Sdk(
        "firecrawl-py", "api.firecrawl.dev", "import firecrawl; c = firecrawl.Firecrawl(api_key='fc-k')",
        "", "c.search('q')", "c.search('q')", "WebsiteNotSupportedError", narrows=False,
    ),
    Sdk(
        "parallel-web", "api.parallel.ai", "import parallel; c = parallel.Parallel(api_key='k')",
        "", "c.search(search_queries=['q'], objective='q')", "c.search(search_queries=['q'], objective='q')",
        "PermissionDeniedError",
    ),
    Sdk(
        "openrouter", "openrouter.ai", "import openrouter; c = openrouter.OpenRouter(api_key='k')",
        f"c.chat.send(model='m', messages={_ASK})", "", f"c.chat.send(model='m', messages={_SEEN})",
        "ForbiddenResponseError", "no_rule",
    ),
    Sdk(
        "boto3", "bedrock-runtime.us-east-1.amazonaws.com",
        "import boto3; c = boto3.client('bedrock-runtime', region_name='us-east-1', aws_access_key_id='k',"
        " aws_secret_access_key='s')",
        "c.converse(modelId='m', messages=[{'role': 'user', 'content': [{'text': 'q'}]}])", "",
        "c.converse(modelId='m', messages=[{'role': 'user', 'content': [{'text': 'q'}]}],"
        " toolConfig={'tools': [{'systemTool': {'name': 'nova_grounding'}}]})",
        "ClientError", "web_search_",
    ),
    Sdk(
        "xai-sdk", "api.x.ai",
        "import xai_sdk; from xai_sdk.chat import user; c = xai_sdk.Client(api_key='k', timeout=10)",
        "", "", "c.chat.create(model='m', messages=[user('q')]).sample()", "_InactiveRpcError", "",
    ),
    Sdk(
        "langchain-anthropic", "api.anthropic.com",
        "from langchain_anthropic import ChatAnthropic; c = ChatAnthropic(model='m', api_key='k', max_retries=0)",
        "c.invoke('q')", f"c.bind_tools([{_CLAUDE}]).invoke('q')",
        f"c.bind_tools([{_CLAUDE}], tool_choice='web_search').invoke('q')", "PermissionDeniedError",
    ),
    Sdk(
        "langchain-openai", "api.openai.com",
        "from langchain_openai import ChatOpenAI; c = ChatOpenAI(model='m', api_key='k', use_responses_api=True)",
        "c.invoke('q')", "c.bind_tools([{'type': 'web_search'}]).invoke('SEARCH')",
        "c.bind_tools([{'type': 'web_search'}], tool_choice='web_search').invoke('q')", "PermissionDeniedError",
    ),
    Sdk(
        "langchain-google-genai", "generativelanguage.googleapis.com",
        "from langchain_google_genai import ChatGoogleGenerativeAI as G; c = G(model='m', api_key='k', max_retries=0)",
        "c.invoke('q')", "",
        "c.bind_tools([{'google_search': {}}]).invoke([('system', 'search'), ('human', 'q')])",
        "ChatGoogleGenerativeAIError",
    ),
    Sdk(
        "langchain-tavily", "api.tavily.com",
        "from langchain_tavily import TavilySearch; c = TavilySearch(tavily_api_key='tvly-k')",
        "", "c.invoke({'query': 'q'})", "raise c.invoke({'query': 'q'})['error']", "ValueError",
    ),
)  # fmt: skip
