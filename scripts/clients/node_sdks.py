"""The vendors' Node SDKs: an everyday call, and a call that is denied while search is off."""

from dataclasses import dataclass

_PICTURE = "https://evil.example.net/x.png"  # nobody allows it, so no vendor may be asked to fetch it
_ASK = "[{role: 'user', content: 'q'}]"
_SEEN = f"[{{role: 'user', content: [{{type: 'image_url', image_url: {{url: '{_PICTURE}'}}}}]}}]"


@dataclass(frozen=True)
class NodeSdk:
    """A vendor's client.

    Attributes:
        package: of npm's registry.
        host: of the vendor.
        make: JavaScript that makes the client `c` of the package `m`.
        usual: JavaScript of an everyday call.
        denied: JavaScript of a call that is denied while search is off.
        raises: the exception that the SDK has for a request that is not permitted.
        reason: that its message holds.
        more: packages that it takes with it.
    """

    package: str
    host: str
    make: str
    usual: str
    denied: str
    raises: str
    reason: str = "web_search_disabled"
    more: tuple[str, ...] = ()

    def script(self, mode: str) -> str:
        """Return JavaScript that makes the call of a mode, and prints `@NAME passes`, or its exception."""
        name, call = ("denied", self.denied) if mode == "off" else ("usual", self.usual)
        return _SCRIPT.format(package=self.package, make=self.make, call=call, name=name)


_SCRIPT = """
const m = await import('{package}');
try {{
  {make}
  await {call};
  console.log('@{name} passes');
}} catch (e) {{
  console.log('@{name}', e.constructor.name + ': ' + String(e.message).replaceAll('\\n', ' '));
}}
"""
_CLAUDE = "model: 'm', max_tokens: 9, messages: " + _ASK
_GPT = "p.responses('gpt-5'), prompt: 'q', maxRetries: 0"
SDKS = (
    NodeSdk(
        "@anthropic-ai/sdk", "api.anthropic.com", "const c = new m.default({apiKey: 'k', maxRetries: 0});",
        f"c.messages.create({{{_CLAUDE}}})",
        f"c.messages.create({{{_CLAUDE}, tools: [{{type: 'web_search_20250305', name: 'web_search'}}],"
        " tool_choice: {type: 'tool', name: 'web_search'}})",
        "PermissionDeniedError",
    ),
    NodeSdk(
        "openai", "api.openai.com", "const c = new m.default({apiKey: 'k', maxRetries: 0});",
        "c.responses.create({model: 'm', input: 'q'})",
        "c.responses.create({model: 'm', input: 'q', tools: [{type: 'web_search'}], tool_choice: 'required'})",
        "PermissionDeniedError",
    ),
    NodeSdk(
        "@google/genai", "generativelanguage.googleapis.com", "const c = new m.GoogleGenAI({apiKey: 'k'});",
        "c.models.generateContent({model: 'm', contents: 'q'})",
        "c.models.generateContent({model: 'm', contents: 'q', config: {tools: [{googleSearch: {}}],"
        " systemInstruction: 'search'}})",
        "ApiError",
    ),
    NodeSdk(
        "@mistralai/mistralai", "api.mistral.ai", "const c = new m.Mistral({apiKey: 'k'});",
        f"c.chat.complete({{model: 'm', messages: {_ASK}}})",
        "c.beta.conversations.start({model: 'm', inputs: 'q', tools: [{type: 'web_search'}],"
        " completionArgs: {toolChoice: 'required'}})",
        "SDKError",
    ),
    NodeSdk(
        "groq-sdk", "api.groq.com", "const c = new m.default({apiKey: 'k', maxRetries: 0});",
        f"c.chat.completions.create({{model: 'm', messages: {_ASK}}})",
        f"c.chat.completions.create({{model: 'm', messages: {_SEEN}}})", "PermissionDeniedError", "no_rule",
    ),
    NodeSdk(
        "cohere-ai", "api.cohere.com", "const c = new m.CohereClientV2({token: 'k'});",
        f"c.chat({{model: 'm', messages: {_ASK}}})",
        f"c.chat({{model: 'm', messages: {_SEEN.replace('image_url: {', 'imageUrl: {')}}})",
        "ForbiddenError", "no_rule",
    ),
    NodeSdk("exa-js", "api.exa.ai", "const c = new m.default('k');", "c.search('q')", "c.search('q')", "ExaError"),
    NodeSdk(
        "@tavily/core", "api.tavily.com", "const c = m.tavily({apiKey: 'tvly-k'});", "", "c.search('q')", "Error",
    ),
    NodeSdk(
        "ai", "api.openai.com",
        "const {createOpenAI} = await import('@ai-sdk/openai'); const p = createOpenAI({apiKey: 'k'});",
        f"m.generateText({{model: {_GPT}}})",
        f"m.generateText({{model: {_GPT}, tools: {{web_search: p.tools.webSearch({{}})}}, toolChoice: 'required'}})",
        "APICallError", more=("@ai-sdk/openai@3",),
    ),
)  # fmt: skip
