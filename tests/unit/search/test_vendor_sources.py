"""What `scripts/vendors` reads out of an SDK: endpoints of each kind of client, types of tools, keys of addresses."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"vendors_{name}", ROOT / f"scripts/vendors/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


read = script("read")


@pytest.mark.parametrize(
    ("source", "endpoint"),
    [
        ('class A:\n def a(self): return self._post("/v1/messages?beta=true", body=1)', ("POST", "/v1/messages")),
        ('class A:\n def a(self, i): return self._get(path_template("/files/{i}", i=i))', ("GET", "/files/{}")),
        ('class A:\n def a(self, i): return self._delete(f"/files/{i}")', ("DELETE", "/files/{}")),
        ('class A:\n def a(self): return self._get_api_list("/models", page=1)', ("GET", "/models")),
        ('req = self._build_request(method="PATCH", path="/v1/agents/{id}", body=1)', ("PATCH", "/v1/agents/{}")),
        ('r = self._client_wrapper.httpx_client.request("v1/chat", method="POST", json={})', ("POST", "/v1/chat")),
        (
            'def f(self):\n path = "{model}:generate".format_map(u)\n self._api_client.request("post", path, r)',
            ("POST", "/{}:generate"),
        ),
        (
            'OPTIONS = [{"method": "post", "uri": "/v1/{name=projects/*}:predict", "body": "*"}]',
            ("POST", "/v1/{}:predict"),
        ),
        ('self.Get = channel.unary_unary("/x_api.Chat/Get", a=1)', ("POST", "/x_api.Chat/Get")),
    ],
)
def test_each_kind_of_generated_client_is_read(tmp_path: Path, source: str, endpoint: tuple[str, str]):
    (tmp_path / "client.py").write_text(source)
    assert set(read.read(tmp_path).endpoints) == {endpoint}


def test_tools_and_addresses(tmp_path: Path):
    (tmp_path / "web_tool_param.py").write_text(
        "class WebToolParam(TypedDict):\n    type: Required[Literal['web_20270101']]\n    image_url: str\n    name: str\n"
        "class Answer(BaseModel):\n    page_url: str\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/client.py").write_text('self._post("/only/in/tests")')
    named = read.read(tmp_path)
    assert set(named.tools) == {"web_20270101"}
    assert set(named.addresses) == {"image_url"}
    assert named.endpoints == {}


def test_a_service_model_of_aws(tmp_path: Path):
    model = {
        "operations": {
            "Ask": {"http": {"method": "POST", "requestUri": "/model/{id}/ask?x"}, "input": {"shape": "In"}}
        },
        "shapes": {
            "In": {"members": {"deep": {"shape": "Deep"}}},
            "Deep": {"members": {"callbackUrl": {"shape": "S"}}},
            "S": {},
        },
    }
    (tmp_path / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
    named = read.read(tmp_path)
    assert set(named.endpoints) == {("POST", "/model/{}/ask")}
    assert set(named.addresses) == {"callbackUrl"}
