"""What is started follows from what the user has given."""

import json
from pathlib import Path

import pytest

from knts.local.home import Home
from knts.local.plan import Ollama, Plan, function_names, plan
from knts.local.servers import PackagedEmbedder, PackagedModel, Typesense, Valkey
from knts.local.settings import LocalSettings
from knts.local.supervisor import Program
from knts.settings import read

OWN = {
    "REDIS_URL": "redis://r/0",
    "REDIS_CACHE_URL": "redis://c/0",
    "TYPESENSE_URL": "http://t",
    "TYPESENSE_API_KEY": "their-key",
}


def planned(tmp_path: Path, env: dict[str, str], ollama: Ollama | None = None) -> Plan:
    settings = read(LocalSettings, env)
    return plan(settings, Home(tmp_path), ollama or Ollama(), env, lambda _: None)


def test_everything_is_embedded_where_nothing_is_given(tmp_path: Path) -> None:
    made = planned(tmp_path, {})
    kinds = [[type(unit) for unit in stage] for stage in made.stages[:2]]
    assert kinds == [[Valkey, Valkey], [Typesense, PackagedModel, PackagedEmbedder]]
    assert made.env["REDIS_URL"] != made.env["REDIS_CACHE_URL"]
    assert made.env["OLLAMA_MODEL"] == "smollm2:135m"
    assert made.env["K_SINK"] == "http://127.0.0.1:8081/default/kn-ts"
    assert made.page == "http://127.0.0.1:8080"


def test_the_users_own_servers_are_used(tmp_path: Path) -> None:
    made = planned(tmp_path, OWN, Ollama("http://o", "llama3"))
    assert [[unit.name for unit in stage] for stage in made.stages[:2]] == [[], ["embedder"]]
    assert {name: made.env[name] for name in OWN} == OWN
    assert (made.env["OLLAMA_URL"], made.env["OLLAMA_MODEL"]) == ("http://o", "llama3")


@pytest.mark.parametrize(
    ("given", "model", "url"),
    [
        ({}, "all-minilm:22m", None),
        ({"KNTS_EMBEDDINGS": "off"}, "", ""),
        ({"OLLAMA_EMBED_MODEL": "bge-m3"}, "bge-m3", "http://o"),
        ({"OLLAMA_EMBED_MODEL": "bge-m3", "OLLAMA_EMBED_URL": "http://e/api"}, "bge-m3", "http://e"),
        ({"OLLAMA_EMBED_MODEL": "bge-m3", "KNTS_EMBEDDINGS": "packaged"}, "all-minilm:22m", None),
    ],
)
def test_embeddings_come_from_the_packaged_model_unless_another_is_named(
    tmp_path: Path, given: dict[str, str], model: str, url: str | None
) -> None:
    made = planned(tmp_path, OWN | given, Ollama("http://o", "llama3"))
    embedders = [unit for unit in made.stages[1] if isinstance(unit, PackagedEmbedder)]
    assert made.env["OLLAMA_EMBED_MODEL"] == model
    assert made.env.get("OLLAMA_EMBED_URL", "") == (embedders[0].url if url is None else url)
    assert bool(embedders) == (url is None)


def test_each_function_is_told_its_name_and_port_and_no_other_listens_beyond_loopback(tmp_path: Path) -> None:
    made = planned(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    programs = [unit for unit in made.stages[3] if isinstance(unit, Program)]
    assert [unit.name for unit in programs] == function_names()
    for unit in programs:
        assert unit.env["FUNCTION_TARGET"] == unit.name
        assert unit.url == f"http://127.0.0.1:{unit.env['PORT']}"
        assert unit.env["KNTS_HOST"] == "127.0.0.1"
        assert unit.env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert len({unit.env["PORT"] for unit in programs}) == len(programs)


def test_the_broker_is_told_where_each_service_is(tmp_path: Path) -> None:
    made = planned(tmp_path, {"KNTS_BROKER_PORT": "9191"})
    for unit in made.stages[2]:
        assert isinstance(unit, Program)
        assert json.loads(unit.env["KNTS_SUBSCRIBERS"]) == made.functions
        assert Path(unit.env["KNTS_MANIFESTS"]).is_dir()
        assert unit.env["KNTS_BROKER_PORT"] == "9191"


def test_a_function_may_be_reached_elsewhere(tmp_path: Path) -> None:
    made = planned(tmp_path, {"KNTS_SUBSCRIBERS": '{"search": "http://127.0.0.1:9000"}'})
    (broker,) = made.stages[2]
    assert isinstance(broker, Program)
    assert json.loads(broker.env["KNTS_SUBSCRIBERS"]) == made.functions | {"search": "http://127.0.0.1:9000"}


def test_a_broker_elsewhere_takes_the_place_of_the_development_broker(tmp_path: Path) -> None:
    elsewhere = "http://broker.example/team/kn-ts"
    made = planned(tmp_path, {"K_SINK": elsewhere, "KNTS_FUNCTIONS_HOST": "10.0.0.5"})
    assert made.stages[2] == []
    assert (made.env["K_SINK"], made.said()["broker"]) == (elsewhere, elsewhere)
    programs = {unit.name: unit for unit in made.stages[3] if isinstance(unit, Program)}
    assert {unit.env["KNTS_HOST"] for name, unit in programs.items() if name != "ingress"} == {"10.0.0.5"}
    assert made.functions["search"] == f"http://10.0.0.5:{programs['search'].env['PORT']}"
    assert programs["ingress"].env["KNTS_HOST"] == "127.0.0.1"  # it serves nobody else while no keys are configured


def test_what_is_written_for_the_command_line_holds_no_secret(tmp_path: Path) -> None:
    made = planned(tmp_path, {})
    said = json.dumps(made.said())
    assert made.env["KNTS_SIGNING_KEY"] not in said
    assert made.env["TYPESENSE_API_KEY"] not in said
    assert json.loads(said)["page"] == made.page


@pytest.mark.parametrize("given", ["a-key-of-mine"])
def test_the_users_signing_key_is_used(tmp_path: Path, given: str) -> None:
    assert planned(tmp_path, {"KNTS_SIGNING_KEY": given}).env["KNTS_SIGNING_KEY"] == given
    assert not (tmp_path / "secrets" / "signing-key").exists()


@pytest.mark.parametrize("given", ["", "an-operators-key"])
def test_only_the_dead_letters_know_the_operators_key(tmp_path: Path, given: str) -> None:
    made = planned(tmp_path, {"KNTS_OPERATOR_KEY": given} if given else {})
    units = [unit for stage in made.stages for unit in stage if isinstance(unit, Program)]
    [dead_letter] = [unit for unit in units if unit.name == "dead-letter"]
    key = dead_letter.env["KNTS_OPERATOR_KEY"]
    assert key == (given or (tmp_path / "secrets" / "operator-key").read_text())
    assert [unit.name for unit in units if key in unit.env.values()] == ["dead-letter"]
    assert key not in json.dumps(made.said())
